"""The ports of a shard over a real broker: its log, its inputs, and what leaves it."""
