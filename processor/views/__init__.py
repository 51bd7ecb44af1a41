"""Views of the log, by which runs are found: a pure fold, a language, and a store of rows."""

from processor.views.asking import Found, RunCount, RunGroup, count, find, view_of
from processor.views.language import Query, parsed
from processor.views.rows import LogEntry, Rows, open_rows

__all__ = (
    "Found",
    "LogEntry",
    "Query",
    "Rows",
    "RunCount",
    "RunGroup",
    "count",
    "find",
    "open_rows",
    "parsed",
    "view_of",
)
