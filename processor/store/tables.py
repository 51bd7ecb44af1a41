"""The state tables of one shard, each row derived from what the log acknowledged.

    family      key                              value
    meta        name                             the checkpoint; the last mark; the log's identity
    latest      workflow id                      run id of its latest run
    runs        run id                           Summary
    history     run id, first event number       the turn as it is in the log
    activities  run id, activity id              OpenAttempt: activities without an outcome
    timers      due time, run id, kind, id, n    SetTimer: timers that are set
    parked      workflow id                      (empty): runs that wait for fixed code
    requests    name                             what has counted: see ``shard.requests``
    claims      log offset                       ClaimRow: claims that the log still holds
    replaced    log offset, log key              (empty): may go once that offset is covered
    purged      time, run id                     key of the record that says so

Rows are MessagePack, but for history. One batch holds a group of records and the checkpoint, so
that the tables are always the exact fold of the log below ``next_offset``.

Groups wait in memory for a while, and then become one batch: a run that takes six turns meanwhile
has one row in ``runs`` to write, not six, and an attempt that is over leaves no row behind. Nothing
is lost with them that the log does not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from processor.core.nouns.run import Summary
from processor.core.records.effects import SetTimer
from processor.core.records.turn import Positions
from processor.errors import StoreCorrupt
from processor.shard.ports import (
    NEVER_MS,
    Changes,
    Checkpoint,
    ClaimRow,
    Confirmed,
    OpenAttempt,
    Replaced,
)
from processor.shard.requests import Known
from processor.store.keyvalue import KeyValue
from processor.store.rows import (
    Rows,
    claim_of,
    due_key,
    history_key,
    is_latest,
    known_of,
    offset_key,
    pack,
    reader,
    replaced_key,
    replaced_of,
)

__all__ = ("StateTables", "read_row")

_GROUP_TURNS = 500
_GROUP_BYTES = 4_000_000

_CHECKPOINT = b"checkpoint"
_IDENTITY = b"identity"

_summary = reader(Summary)
_timer = reader(SetTimer)
_attempt = reader(OpenAttempt)
_stored_checkpoint = reader(tuple[int, int, int, Positions, int, int, int])


class StateTables:
    """Tables over a store. ``identity`` names the log: tables of another log are corrupt."""

    def __init__(self, store: KeyValue, identity: str) -> None:
        self._store = store
        self._group: list[Confirmed] = []
        self._group_bytes = 0
        self._group_checkpoint: Checkpoint | None = None
        self._group_changes: list[Changes] = []
        self._group_runs: dict[str, Summary] = {}
        self._group_latest: dict[str, str] = {}
        held = store.get("meta", _IDENTITY)
        if held is None:
            store.write([("meta", _IDENTITY, identity.encode())])
        elif held != identity.encode():
            raise StoreCorrupt(
                f"the state directory belongs to {held.decode(errors='replace')}, not to {identity}"
            )

    def checkpoint(self) -> Checkpoint:
        if self._group_checkpoint is not None:
            return self._group_checkpoint
        value = self._store.get("meta", _CHECKPOINT)
        return Checkpoint() if value is None else Checkpoint(*_stored_checkpoint(value))

    def write(self, group: Sequence[Confirmed], checkpoint: Checkpoint, changes: Changes) -> None:
        for confirmed in group:
            record, summary = confirmed.record, confirmed.summary
            if summary is not None:
                self._group_runs[summary.run_id] = summary
                if is_latest(record):
                    self._group_latest[summary.workflow_id] = summary.run_id
            self._group_bytes += len(confirmed.value)
        self._group += group
        self._group_changes.append(changes)
        self._group_checkpoint = checkpoint
        if len(self._group) >= _GROUP_TURNS or self._group_bytes >= _GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        checkpoint = self._group_checkpoint
        if checkpoint is None:
            return
        rows = Rows(self._store, self._group_runs, self._group_latest)
        for confirmed in self._group:
            rows.take(confirmed)
        for changes in self._group_changes:
            rows.change(changes)
        mutations = rows.mutations()
        mutations.append(("meta", _CHECKPOINT, pack(_checkpoint_row(checkpoint))))
        self._store.write(mutations)
        self._group, self._group_bytes, self._group_checkpoint = [], 0, None
        self._group_changes = []
        self._group_runs, self._group_latest = {}, {}

    def latest(self, workflow_id: str) -> Summary | None:
        run_id = self._group_latest.get(workflow_id)
        if run_id is None:
            stored = self._store.get("latest", workflow_id.encode())
            run_id = None if stored is None else stored.decode()
        return None if run_id is None else self.run(run_id)

    def run(self, run_id: str) -> Summary | None:
        summary = self._group_runs.get(run_id)
        if summary is not None:
            return summary
        value = self._store.get("runs", run_id.encode())
        return None if value is None else _summary(value)

    def runs(self, after: str) -> Iterator[Summary]:
        self.flush()
        first = after.encode() + b"\0" if after else b""
        for _, run_id in self._store.scan("latest", first):
            summary = self.run(run_id.decode())
            if summary is not None:
                yield summary

    def history(self, run_id: str, first: int = 0) -> Iterator[tuple[int, bytes]]:
        if run_id in self._group_runs:
            self.flush()
        prefix = run_id.encode() + b"\0"
        for key, value in self._store.scan("history", history_key(run_id, first)):
            if not key.startswith(prefix):
                return
            yield int.from_bytes(key[-8:], "big"), value

    def turn(self, run_id: str, first: int) -> bytes | None:
        if run_id in self._group_runs:
            self.flush()
        return self._store.get("history", history_key(run_id, first))

    def parked(self) -> Iterator[str]:
        self.flush()
        for key, _ in self._store.scan("parked", b""):
            yield key.decode()

    def open_attempts(self, run_id: str | None = None) -> Iterator[OpenAttempt]:
        if run_id is None or run_id in self._group_runs:
            self.flush()
        prefix = b"" if run_id is None else run_id.encode() + b"\0"
        for key, value in self._store.scan("activities", prefix):
            if not key.startswith(prefix):
                return
            yield _attempt(value)

    def timers(self, after_ms: int, limit: int, until_ms: int = NEVER_MS) -> list[SetTimer]:
        self.flush()
        rows: list[SetTimer] = []
        for _, value in self._store.scan("timers", due_key(after_ms + 1)):
            timer = _timer(value)
            if timer.due_ms > until_ms:
                break
            if len(rows) >= limit and timer.due_ms != rows[-1].due_ms:
                break
            rows.append(timer)
        return rows

    def requests(self) -> Iterator[Known]:
        self.flush()
        for name, value in self._store.scan("requests", b""):
            yield known_of(name, value)

    def claims(self) -> Iterator[ClaimRow]:
        self.flush()
        for _, value in self._store.scan("claims", b""):
            yield claim_of(value)

    def replaced(self, below: int, limit: int) -> list[Replaced]:
        self.flush()
        end = offset_key(below)
        rows: list[Replaced] = []
        for row, _ in self._store.scan("replaced", b""):
            if row[:8] >= end or len(rows) >= limit:
                break
            rows.append(replaced_of(row))
        return rows

    def is_replaced(self, offset: int, key: bytes) -> bool:
        self.flush()
        return self._store.get("replaced", replaced_key(offset, key)) is not None

    def close(self) -> None:
        self._store.close()


def read_row(family: str, value: bytes) -> Any:
    """Return a row as plain values, for people (``processor tables``)."""
    if family in ("runs", "timers", "activities", "requests", "claims"):
        return msgspec.msgpack.decode(value)
    if family == "meta":
        try:
            return msgspec.msgpack.decode(value)
        except msgspec.DecodeError:
            return value.decode(errors="replace")
    return value.decode(errors="replace")


def _checkpoint_row(checkpoint: Checkpoint) -> tuple[object, ...]:
    return (
        checkpoint.next_offset,
        checkpoint.epoch,
        checkpoint.level,
        checkpoint.positions,
        checkpoint.delivered,
        checkpoint.published,
        checkpoint.time_ms,
    )
