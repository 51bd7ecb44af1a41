"""What must hold of a view: its rows are the fold of the log, without ghosts and purged runs."""

from __future__ import annotations

from processor.core.nouns.run import Summary
from processor.simulation.partitions import LogPartition
from processor.store.tables import StateTables
from processor.views.fold import Row
from processor.views.rows import open_rows
from processor.views.search import feed

from .checked import Checked
from .reading import Reading

__all__ = ("check_view",)


def check_view(checked: Checked, reading: Reading, log: LogPartition, tables: StateTables) -> None:
    """The rows that the log makes are of the runs that the tables know, and say the same."""
    rows = open_rows(None, reading.partition, "simulated")
    try:
        feed(rows, log.read, log.end)
        found = {run_id for (run_id,) in rows.connection.execute("SELECT run_id FROM runs")}
        for run_id in sorted(found | reading.runs.keys()):
            row, summary = rows.row(run_id), tables.run(run_id)
            if summary is not None and summary.purged_ms is not None:
                summary = None
            same = _said(row) == _said(summary)
            checked.that("the rows of a view are the fold of the log", same, row, summary)
        kept = rows.connection.execute("SELECT sum(n) FROM counts").fetchone()[0] or 0
        checked.that("a view counts its rows", kept == len(found), kept, len(found))
    finally:
        rows.close()


def _said(run: Row | Summary | None) -> object:
    """Return what a row and a summary both say of a run."""
    if run is None:
        return None
    ids = run.workflow_id, run.run_id, run.first_run_id, run.workflow
    return *ids, run.status, run.started_ms, run.closed_ms, run.events, run.attributes
