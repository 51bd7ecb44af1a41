"""The shard: the single writer of one partition of ``events``, over ports, with no third party."""
