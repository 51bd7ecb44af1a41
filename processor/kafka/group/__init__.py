"""The processes that share the shards of a namespace: who owns what, and at which level."""
