"""Locks of entities: what an entity knows of its own, and a run of those that it asked for."""
