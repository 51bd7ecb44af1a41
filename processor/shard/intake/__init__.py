"""What a shard takes in: how much at once, in which order, and each request once."""
