"""From an input to its turn: the run in memory, the decision, the record; else it is given up."""
