"""The nouns of workflows: each file has its events, and its part of the state of a run."""
