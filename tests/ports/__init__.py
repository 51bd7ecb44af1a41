"""Samples of other systems, written anew as a user of this one would write them.

A port begins at its ``# --- sample`` line and ends at the next one. ``README.md`` lists them all;
``python -m tests.ports.table`` writes its table, and the numbers of lines in the docstrings.
"""
