"""The tables of a view in SQLite: rows of runs, search attributes, counts, and histories."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from processor.attributes import Attributes
from processor.views.place import PLACE_COLUMNS
from processor.views.words import micros

__all__ = ("COLUMNS", "INDEXES", "SCHEMA", "attribute_rows", "shown")

COLUMNS: Final = (
    *("run", "workflow_id", "run_id", "first_run_id", "workflow", "status"),
    *("started_ms", "begins_ms", "closed_ms", "duration_ms", "events", "attempt"),
    *("parent_workflow_id", "parent_run_id", "root_workflow_id", "root_run_id", "shard"),
    *("problem", "attributes", "parked", "failing"),
)

SCHEMA: Final = (
    f"""CREATE TABLE IF NOT EXISTS meta (
        one INTEGER PRIMARY KEY, version INTEGER, log TEXT, built TEXT, histories INTEGER,
        {PLACE_COLUMNS})""",
    """CREATE TABLE IF NOT EXISTS runs (
        run INTEGER PRIMARY KEY, workflow_id TEXT NOT NULL, run_id TEXT NOT NULL UNIQUE,
        first_run_id TEXT NOT NULL, workflow TEXT NOT NULL, status TEXT NOT NULL,
        started_ms INTEGER NOT NULL, begins_ms INTEGER NOT NULL, closed_ms INTEGER,
        duration_ms INTEGER, events INTEGER NOT NULL, attempt INTEGER NOT NULL,
        parent_workflow_id TEXT, parent_run_id TEXT, root_workflow_id TEXT, root_run_id TEXT,
        shard INTEGER NOT NULL, problem TEXT, attributes BLOB, parked TEXT, failing TEXT)""",
    """CREATE TABLE IF NOT EXISTS attributes (
        run INTEGER NOT NULL, name TEXT NOT NULL, item INTEGER NOT NULL, kind TEXT NOT NULL,
        value NOT NULL, PRIMARY KEY (run, name, item)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS counts (
        status TEXT NOT NULL, workflow TEXT NOT NULL, n INTEGER NOT NULL,
        PRIMARY KEY (status, workflow)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS turns (
        run INTEGER NOT NULL, first INTEGER NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (run, first))""",
    """CREATE TABLE IF NOT EXISTS attempts (
        run INTEGER NOT NULL, activity INTEGER NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (run, activity))""",
)
"""``turns`` and ``attempts`` are records as the log has them: the turns of a run by their first
events, and where its open activities stand. They are empty where histories are not kept.

``kind`` of an attribute: b(ool), n(umber), t(ext), d(ate, in microseconds), l(ist of text: a row
for each member, once). SQLite compares a number with a number and a text with a text, so that one
column holds them all.
"""

INDEXES: Final = (
    "CREATE INDEX IF NOT EXISTS by_start ON runs (started_ms)",
    "CREATE INDEX IF NOT EXISTS by_status ON runs (status, started_ms)",
    "CREATE INDEX IF NOT EXISTS by_workflow ON runs (workflow, started_ms)",
    "CREATE INDEX IF NOT EXISTS by_both ON runs (workflow, status, started_ms)",
    "CREATE INDEX IF NOT EXISTS by_id ON runs (workflow_id)",
    "CREATE INDEX IF NOT EXISTS by_close ON runs (closed_ms) WHERE closed_ms IS NOT NULL",
    """CREATE INDEX IF NOT EXISTS by_parent ON runs (parent_workflow_id)
        WHERE parent_workflow_id IS NOT NULL""",
    "CREATE INDEX IF NOT EXISTS by_problem ON runs (problem) WHERE problem IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS by_attribute ON attributes (name, value, run, kind)",
)


def attribute_rows(run: int, attributes: Attributes) -> Iterator[tuple[int, str, int, str, Any]]:
    """Yield the rows of a run's attributes."""
    for name, value in attributes.items():
        match value:
            case bool():
                yield run, name, 0, "b", int(value)
            case int() | float():
                yield run, name, 0, "n", value
            case datetime():
                yield run, name, 0, "d", micros(value)
            case str():
                yield run, name, 0, "t", value
            case _:
                for item, each in enumerate(dict.fromkeys(value)):
                    yield run, name, item, "l", each


def shown(kind: str | None, value: Any, moment: Any) -> Any:
    """Return a value of an attribute as it was given; ``moment`` reads a time."""
    match kind:
        case "b":
            return bool(value)
        case "d":
            return moment(value)
        case _:
            return value
