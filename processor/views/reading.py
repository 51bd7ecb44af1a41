"""What a view answers in the place of a shard: lists, descriptions, histories, from kept records.

The functions that make the answers are those of the shard, and so are the records. What only the
shard knows is left out, and named.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from processor.codec.json_views import (
    history_page,
    lineage_view,
    open_view,
    summary_view,
    to_json,
)
from processor.codec.records import decode, decode_as
from processor.core.evolve import evolve
from processor.core.nouns.activity import attempted
from processor.core.questions import DescribeRun, ListRuns, ReadHistory
from processor.core.records.answers import Page, Refused
from processor.core.records.snapshot import Snapshot, state_of
from processor.core.records.turn import AttemptRecord, Turn
from processor.core.state import RunState
from processor.errors import StoreCorrupt
from processor.schedules.cron import next_ms
from processor.views.rows import Rows

__all__ = ("UNKNOWN", "OfRun", "answered", "listed")

OfRun: TypeAlias = DescribeRun | ReadHistory
"""What a view can answer of a run as a shard does."""

_SCANNED_MAX: Final = 5_000
_FOLDED_MAX: Final = 20_000
_PAGE_BYTES: Final = 400_000
"""A page of a list ends after so many workflow ids, turns that are folded for it, or bytes."""

UNKNOWN: Final = ("pending.waiting", "pending.unread", "undelivered", "producer")
"""What only the worker that has the shard knows of a run."""


def answered(rows: Rows, workflow_id: str, body: OfRun, end: int, now_ms: int) -> Page | Refused:
    """Return what the rows of its partition say of a run, as the shard would, with ``view``.

    That is how far the rows are: the log had its end at ``end`` when it was ``now_ms``. Blocks.
    ``Refused`` where there is no such run, or it is purged, or the rows are not there yet.
    """
    connection = rows.connection
    connection.execute("BEGIN")  # rows and position as they were at one moment
    try:
        view = _position(rows, end, now_ms)
        found = _which(connection, workflow_id, body)
        if found is None:
            return _unknown(workflow_id, body, view["behind"])
        number, run_id = found
        if isinstance(body, ReadHistory):
            return history_page(run_id, _turns(connection, number, body.first), view=view)
        state = _state(connection, number, workflow_id, run_id)
    finally:
        connection.execute("ROLLBACK")
    summary, told = summary_view(state.summary()), {**view, "unknown": UNKNOWN}
    shown = {**summary, "shard": rows.partition, "view": told}
    if state.status.is_open:
        shown |= open_view(state, (), (), lambda cron: next_ms(cron, now_ms))
    if state.started is not None:
        shown |= lineage_view(state.started)
    return Page(to_json(shown))


def listed(rows: Rows, body: ListRuns, end: int, now_ms: int) -> Page:
    """Return a page of the latest runs of a partition as its shard would, with ``view``. Blocks."""
    connection = rows.connection
    connection.execute("BEGIN")
    found: list[bytes] = []
    size, folded, after = 0, 0, None
    try:
        view = {**_position(rows, end, now_ms), "unknown": ()}
        latest = connection.execute(
            "SELECT max(run), run_id, workflow_id, workflow, status FROM runs "
            "WHERE workflow_id > ? GROUP BY workflow_id ORDER BY workflow_id",
            (body.after,),
        )
        for scanned, (number, run_id, workflow_id, workflow, status) in enumerate(latest, 1):
            if body.status in (None, status) and body.workflow in (None, workflow):
                summary = summary_view(_state(connection, number, workflow_id, run_id).summary())
                found.append(to_json({**summary, "view": view}))
                turns = "SELECT count(*) FROM turns WHERE run = ?"
                folded += connection.execute(turns, (number,)).fetchone()[0]
                size += len(found[-1])
            is_full = len(found) >= body.limit or size >= _PAGE_BYTES or folded >= _FOLDED_MAX
            if is_full or scanned >= _SCANNED_MAX:
                after = workflow_id
                break
    finally:
        connection.execute("ROLLBACK")
    return Page(b"[%b]" % b",".join(found), after)


def _position(rows: Rows, end: int, now_ms: int) -> dict[str, Any]:
    """Return how far the rows are as answers tell it."""
    rows.look()
    behind = max(end - rows.position, 0)
    time_ms = rows.place.time_ms if behind else now_ms
    return {"position": rows.position, "behind": behind, "time_ms": time_ms}


def _which(connection: sqlite3.Connection, workflow_id: str, body: OfRun) -> tuple[int, str] | None:
    """Return number and id of the run that is meant: the latest one that fits."""
    where, given = "workflow_id = ?", [workflow_id]
    for name in ("run_id", "first_run_id"):
        if (wanted := getattr(body, name)) is not None:
            where += f" AND {name} = ?"
            given.append(wanted)
    found: tuple[int, str] | None = connection.execute(
        f"SELECT run, run_id FROM runs WHERE {where} ORDER BY run DESC LIMIT 1", given
    ).fetchone()
    return found


def _unknown(workflow_id: str, body: OfRun, behind: int) -> Refused:
    named = body.run_id or body.first_run_id
    which = f"the view has no run of workflow id {workflow_id!r}"
    which += f" with run id {named!r}" if named is not None else ""
    if behind:
        return Refused(
            "ShardUnavailable",
            f"no worker answers, and {which}. It is {behind:,} records behind the log, so that the "
            "run may be there: ask again, or see with `processor views status` whether it is fed",
        )
    return Refused("WorkflowNotFound", f"{which} (purged ones are not in it)")


def _turns(
    connection: sqlite3.Connection, number: int, first: int = 0
) -> Iterator[tuple[bytes, Turn | Snapshot]]:
    """Yield the turns of a run that begin with an event or later, with their bytes."""
    turns = connection.execute(
        "SELECT value FROM turns WHERE run = ? AND first >= ? ORDER BY first", (number, first)
    )
    for (value,) in turns:
        turn = decode(value)
        assert isinstance(turn, Turn | Snapshot), f"{turn} is a turn"
        yield value, turn


def _state(connection: sqlite3.Connection, number: int, workflow_id: str, run_id: str) -> RunState:
    """Return what the records of a run add up to."""
    state = RunState(workflow_id, run_id)
    for _, turn in _turns(connection, number):
        if state.events == 0 and isinstance(turn, Snapshot):
            state = state_of(turn)
            continue
        if turn.first != state.events:
            raise StoreCorrupt(
                f"the view lacks the events {state.events} to {turn.first - 1} of run {run_id}: "
                "`processor views rebuild` drops it, and `processor views run` makes it anew"
            )
        for event in turn.events:
            evolve(state, event, turn.time_ms)
        if isinstance(turn, Snapshot):
            state.base = turn.first
    found = connection.execute("SELECT value FROM attempts WHERE run = ?", (number,))
    for (value,) in found:
        attempted(state, decode_as(AttemptRecord, value).state, b"")
    return state
