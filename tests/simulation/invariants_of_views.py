"""What must hold of a view: its rows are the fold of the log, without ghosts and purged runs.

What it tells of a run, in the place of its shard, is what the shard tells. A table of a user's is
told once that a run has begun, and how it has ended.
"""

from __future__ import annotations

import json
from typing import Any

from processor import views
from processor.codec.json_views import (
    history_page,
    lineage_view,
    open_view,
    summary_view,
    to_json,
)
from processor.codec.records import decode_entry
from processor.core.nouns.run import Summary
from processor.core.questions import DescribeRun, ReadHistory
from processor.core.records.answers import Page
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import Turn
from processor.schedules.cron import next_ms
from processor.shard.recovery.states import stored_state
from processor.shard.turns.instances import recorded
from processor.simulation.partitions import LogPartition
from processor.store.tables import StateTables
from processor.views.fold import Row
from processor.views.place import LogEntry, LogPlace
from processor.views.reading import OfRun, answered
from processor.views.rows import Rows, open_rows
from processor.views.search import feed
from processor.views.tables.stored import UserTables

from .checked import Checked
from .reading import Reading

__all__ = ("check_table", "check_view")

_NOW_MS = 1 << 40


def check_view(checked: Checked, reading: Reading, log: LogPartition, tables: StateTables) -> None:
    """The rows that the log makes are of the runs that the tables know, and say the same."""
    rows = open_rows(None, reading.partition, "simulated", histories=True)
    try:
        feed(rows, log.read, log.end)
        found = {run_id for (run_id,) in rows.connection.execute("SELECT run_id FROM runs")}
        for run_id in sorted(found | reading.runs.keys()):
            row, summary = rows.row(run_id), tables.run(run_id)
            if summary is not None and summary.purged_ms is not None:
                summary = None
            same = _said(row) == _said(summary)
            checked.that("the rows of a view are the fold of the log", same, row, summary)
            if summary is not None:
                _check_answers(checked, rows, tables, summary)
        kept = rows.connection.execute("SELECT sum(n) FROM counts").fetchone()[0] or 0
        checked.that("a view counts its rows", kept == len(found), kept, len(found))
    finally:
        rows.close()


@views.table("seen", key=lambda event: event.run_id)
def _seen(row: list[str] | None, event: views.RunEvent) -> list[str]:
    told = row or []
    match event:
        case views.RunBegan():
            told.append(event.workflow)
        case views.RunEnded():
            told.append(event.status.value)
        case _:
            pass
    return told


def check_table(checked: Checked, reading: Reading, log: LogPartition, tables: StateTables) -> None:
    """Each run that is there has begun once, and ended once if it has. Some records come twice."""
    table = UserTables({"seen": _seen}).open("seen", None, reading.partition, "simulated", "")
    try:
        entries = [
            LogEntry(record.offset, record.value and decode_entry(record.value, record.offset))
            for record in log.read(0, log.end)
        ]
        table.take(entries[: len(entries) // 2])
        table.take(entries)
        whole, place = set[str](), LogPlace()
        for entry in entries:
            place, record = place.after(entry)
            if isinstance(record, Turn | Snapshot) and record.first == 0:
                whole.add(record.run_id)
        checked.that("a table does not stand still", not table.error, table.error)
        for run_id in sorted(reading.runs):
            summary = tables.run(run_id)
            if summary is None or summary.purged_ms is not None:
                continue
            row = [*table.page(run_id, None, None, 1)]
            told = json.loads(row[0].value) if row and row[0].key == run_id else []
            expected = [summary.workflow] if run_id in whole else []
            expected += [] if summary.status.is_open else [summary.status.value]
            checked.that("a table is told of a run once", told == expected, run_id, told, expected)
    finally:
        table.close()


def _check_answers(checked: Checked, rows: Rows, tables: StateTables, summary: Summary) -> None:
    workflow_id, run_id = summary.workflow_id, summary.run_id
    state = stored_state(tables, workflow_id, run_id, summary.events)
    assert state is not None and state.started is not None, f"the history of {run_id} is there"
    shown: dict[str, Any] = {**summary_view(summary), "shard": rows.partition}
    if summary.status.is_open:
        shown |= open_view(state, (), (), lambda cron: next_ms(cron, _NOW_MS))
    shown |= lineage_view(state.started)
    told = _told(rows, workflow_id, DescribeRun(run_id))
    same = told == json.loads(to_json(shown))
    checked.that("a view describes runs as their shard does", same, told, shown)
    page = history_page(run_id, recorded(tables, run_id, summary.base))
    told = _told(rows, workflow_id, ReadHistory(run_id))
    same = told == json.loads(page.content)
    checked.that("a view has the histories of its shard", same, told, page.content)


def _told(rows: Rows, workflow_id: str, body: OfRun) -> dict[str, Any]:
    page = answered(rows, workflow_id, body, rows.position, _NOW_MS)
    assert isinstance(page, Page), f"a view tells of {workflow_id}: {page}"
    told: dict[str, Any] = json.loads(page.content)
    del told["view"]
    return told


def _said(run: Row | Summary | None) -> object:
    """Return what a row and a summary both say of a run."""
    if run is None:
        return None
    ids = run.workflow_id, run.run_id, run.first_run_id, run.workflow
    return *ids, run.status, run.started_ms, run.closed_ms, run.events, run.attributes
