"""How a shard is taken over: survey, claim, fold, and what may be forgotten."""
