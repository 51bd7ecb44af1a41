"""What a shard writes into its log, and what may leave because of it."""
