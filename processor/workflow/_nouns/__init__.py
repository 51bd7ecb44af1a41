"""Each noun of workflow code: its verbs, and what a fact of it does to the code that waits."""
