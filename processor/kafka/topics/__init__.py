"""The topics of a namespace: what they must be, making them so, and dead letters."""
