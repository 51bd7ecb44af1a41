"""Results and published records, exactly once, in transactions."""
