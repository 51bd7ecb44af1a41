"""The simulated runtime: the shard over ports with a virtual clock, a seeded order, and faults."""
