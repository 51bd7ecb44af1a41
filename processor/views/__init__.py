"""Views of the log: by which runs are found, and tables of users over what happens to runs.

A function under ``table`` makes a row of a row and an event: ``docs/tables.md``.
"""

from __future__ import annotations

from processor.views.tables.definition import Table, table
from processor.views.tables.events import (
    AttributesChanged,
    CustomStatusChanged,
    RunBegan,
    RunEnded,
    RunEvent,
    ValueChanged,
)

__all__ = (
    "AttributesChanged",
    "CustomStatusChanged",
    "RunBegan",
    "RunEnded",
    "RunEvent",
    "Table",
    "ValueChanged",
    "table",
)
