"""Views of the log, by which runs are found: a pure fold, a language, and a store of rows."""
