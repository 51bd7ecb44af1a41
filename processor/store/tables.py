"""The state tables of one shard, each row derived from the turns that the log acknowledged.

    family      key                              value
    meta        name                             the checkpoint; the identity of the log
    latest      workflow id                      run id of its latest run
    runs        run id                           Summary
    history     run id, first event number       the turn as it is in the log
    activities  run id, activity id              OpenAttempt: attempts that run now
    timers      due time, run id, kind, id, n    SetTimer: timers that are set
    parked      workflow id                      (empty): runs that wait for fixed code

Rows are MessagePack, but for history. One batch holds a group of turns and the checkpoint, so
that the tables are always the exact fold of the log below ``next_offset``.

Groups wait in memory for a while, and then become one batch: a run that takes six turns meanwhile
has one row in ``runs`` to write, not six, and an attempt that is over leaves no row behind. Nothing
is lost with them that the log does not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from processor.core.effects import ActivityTask, CancelAttempt, ClearTimer, Effect, SetTimer
from processor.core.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    Event,
    RunParked,
    RunUnparked,
    WorkflowStarted,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from processor.core.inputs import Origin
from processor.core.state import Summary
from processor.core.turn import Positions
from processor.errors import StoreCorrupt
from processor.shard.ports import NEVER_MS, Checkpoint, Confirmed, OpenAttempt
from processor.store.keyvalue import KeyValue, Mutation

__all__ = ("StateTables", "read_row")

_GROUP_TURNS = 500
_GROUP_BYTES = 4_000_000

_CHECKPOINT = b"checkpoint"
_IDENTITY = b"identity"

_pack = msgspec.msgpack.Encoder().encode
_summary = msgspec.msgpack.Decoder(Summary).decode
_timer = msgspec.msgpack.Decoder(SetTimer).decode
_attempt = msgspec.msgpack.Decoder(OpenAttempt).decode
_stored_checkpoint = msgspec.msgpack.Decoder(
    tuple[int, int, Positions, int, list[Origin], int]
).decode


class StateTables:
    """Tables over a store. ``identity`` names the log: tables of another log are corrupt."""

    def __init__(self, store: KeyValue, identity: str) -> None:
        self._store = store
        self._group: list[Confirmed] = []
        self._group_bytes = 0
        self._group_checkpoint: Checkpoint | None = None
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
        if value is None:
            return Checkpoint()
        next_offset, epoch, positions, delivered, seen, time_ms = _decoded(
            _stored_checkpoint, value
        )
        origins = {origin.shard: origin for origin in seen}
        return Checkpoint(next_offset, epoch, positions, delivered, origins, time_ms)

    def write(self, group: Sequence[Confirmed], checkpoint: Checkpoint) -> None:
        for confirmed in group:
            turn = confirmed.turn
            self._group_runs[turn.run_id] = confirmed.summary
            if turn.first == 0:
                self._group_latest[turn.workflow_id] = turn.run_id
            self._group_bytes += len(confirmed.value)
        self._group += group
        self._group_checkpoint = checkpoint
        if len(self._group) >= _GROUP_TURNS or self._group_bytes >= _GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        checkpoint = self._group_checkpoint
        if checkpoint is None:
            return
        rows = _Rows()
        for confirmed in self._group:
            rows.take(confirmed)
        mutations = rows.mutations()
        for run_id, summary in self._group_runs.items():
            mutations.append(("runs", run_id.encode(), _pack(summary)))
        stored = (
            checkpoint.next_offset,
            checkpoint.epoch,
            checkpoint.positions,
            checkpoint.delivered,
            list(checkpoint.seen.values()),
            checkpoint.time_ms,
        )
        mutations.append(("meta", _CHECKPOINT, _pack(stored)))
        self._store.write(mutations)
        self._group, self._group_bytes, self._group_checkpoint = [], 0, None
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
        return None if value is None else _decoded(_summary, value)

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
        for key, value in self._store.scan("history", _history_key(run_id, first)):
            if not key.startswith(prefix):
                return
            yield int.from_bytes(key[-8:], "big"), value

    def parked(self) -> Iterator[str]:
        self.flush()
        for key, _ in self._store.scan("parked", b""):
            yield key.decode()

    def open_attempts(self, run_id: str | None = None) -> Iterator[OpenAttempt]:
        self.flush()
        prefix = b"" if run_id is None else run_id.encode() + b"\0"
        for key, value in self._store.scan("activities", prefix):
            if not key.startswith(prefix):
                return
            yield _decoded(_attempt, value)

    def timers(self, after_ms: int, limit: int, until_ms: int = NEVER_MS) -> list[SetTimer]:
        self.flush()
        rows: list[SetTimer] = []
        for _, value in self._store.scan("timers", _due_key(after_ms + 1)):
            timer = _decoded(_timer, value)
            if timer.due_ms > until_ms:
                break
            if len(rows) >= limit and timer.due_ms != rows[-1].due_ms:
                break
            rows.append(timer)
        return rows

    def close(self) -> None:
        self._store.close()


def read_row(family: str, value: bytes) -> Any:
    """Return a row as plain values, for people (``processor tables``)."""
    if family in ("runs", "timers", "activities"):
        return msgspec.msgpack.decode(value)
    if family == "meta":
        try:
            return msgspec.msgpack.decode(value)
        except msgspec.DecodeError:
            return value.decode(errors="replace")
    return value.decode(errors="replace")


class _Rows:
    """The rows that a group of turns leaves, each once."""

    def __init__(self) -> None:
        self._rows: list[Mutation] = []
        self._timers: dict[bytes, bytes | None] = {}
        self._parked: dict[str, bytes | None] = {}
        self._attempts: dict[tuple[str, int], ActivityTask | None] = {}
        self._begun: set[tuple[str, int]] = set()

    def mutations(self) -> list[Mutation]:
        rows = self._rows
        for (run_id, id), task in self._attempts.items():
            packed = None if task is None else _pack(_open_attempt(task))
            rows.append(("activities", _activity_key(run_id, id), packed))
        rows += [("timers", key, packed) for key, packed in self._timers.items()]
        rows += [("parked", id.encode(), value) for id, value in self._parked.items()]
        return rows

    def take(self, confirmed: Confirmed) -> None:
        turn = confirmed.turn
        key = _history_key(turn.run_id, turn.first)
        self._rows.append(("history", key, confirmed.value))
        for event in turn.events:
            if not isinstance(event, ActivityScheduled):  # the most frequent: see its effect
                self._take_event(event, turn.workflow_id, turn.run_id)
        for effect in confirmed.effects:
            self._take_effect(effect)

    def _take_event(self, event: Event, workflow_id: str, run_id: str) -> None:
        match event:
            case ActivityCompleted() | ActivityFailed():
                self._end_attempt(run_id, event.id)
            case WorkflowStarted():
                self._rows.append(("latest", workflow_id.encode(), run_id.encode()))
            case RunParked():
                self._parked[workflow_id] = b""
            case RunUnparked() | WorkflowTerminated() | WorkflowTimedOut():
                self._parked[workflow_id] = None
            case _:
                pass

    def _take_effect(self, effect: Effect) -> None:
        match effect:
            case ActivityTask():
                self._begin_attempt(effect)
            case CancelAttempt():
                self._end_attempt(effect.run_id, effect.id)
            case SetTimer():
                self._timers[_timer_key(effect)] = _pack(effect)
            case ClearTimer():
                self._timers[_timer_key(effect)] = None
            case _:
                pass

    def _begin_attempt(self, task: ActivityTask) -> None:
        place = task.run_id, task.id
        if task.attempt == 1:
            self._begun.add(place)
        self._attempts[place] = task

    def _end_attempt(self, run_id: str, id: int) -> None:
        """Delete the row of an attempt, or leave it out if no store has seen it."""
        place = run_id, id
        if place in self._begun:
            self._attempts.pop(place, None)
        else:
            self._attempts[place] = None


def _open_attempt(task: ActivityTask) -> OpenAttempt:
    return OpenAttempt(task.workflow_id, task.run_id, task.id, task.attempt, task.name, task.eager)


def _history_key(run_id: str, first: int) -> bytes:
    return run_id.encode() + b"\0" + first.to_bytes(8, "big")


def _activity_key(run_id: str, id: int) -> bytes:
    return run_id.encode() + b"\0" + id.to_bytes(8, "big")


def _due_key(due_ms: int) -> bytes:
    return max(due_ms, 0).to_bytes(8, "big")


def _timer_key(timer: SetTimer | ClearTimer) -> bytes:
    name = f"{timer.run_id}\0{timer.kind}\0{timer.id}\0{timer.attempt}"
    return _due_key(timer.due_ms) + name.encode()


def _decoded(decode: Any, value: bytes) -> Any:
    try:
        return decode(value)
    except msgspec.DecodeError as error:
        raise StoreCorrupt(f"a row of the state tables cannot be read: {error}") from error
