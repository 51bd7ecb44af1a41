"""A look-up by workflow id: a table of Faust, with a changelog, that may be deleted."""
