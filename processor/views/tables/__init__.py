"""Tables of users: pure functions over what happens to runs, folded from the log."""
