"""The rows that a group of records leaves in the tables, each once, and how rows are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from processor.codec.records import decode
from processor.core.data.cause import ClientRequest, NamedRequest
from processor.core.event import Event
from processor.core.nouns.activity import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    AttemptState,
)
from processor.core.nouns.run import (
    RunParked,
    RunUnparked,
    Summary,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from processor.core.records.answers import Accepted, Refused
from processor.core.records.effects import (
    ActivityTask,
    CancelAttempt,
    ClearTimer,
    Effect,
    Forget,
    SetTimer,
)
from processor.core.records.marks import (
    Answered,
    ClientWindow,
    KnownAnswer,
    Mark,
    NamedWindow,
    SourceWindow,
)
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import AttemptRecord, Purged, Turn, turn_key, turn_of_key
from processor.errors import StoreCorrupt
from processor.shard.ports import Changes, ClaimRow, Confirmed, OpenAttempt, Replaced
from processor.shard.requests import Known, UnderClaim
from processor.store.keyvalue import KeyValue, Mutation

__all__ = (
    "MARK",
    "Rows",
    "activity_key",
    "claim_of",
    "due_key",
    "history_key",
    "is_latest",
    "known_of",
    "offset_key",
    "pack",
    "reader",
    "replaced_key",
    "replaced_of",
)

MARK: Final = b"mark"
"""The row of ``meta`` with the key of the last mark."""

pack: Final = msgspec.msgpack.Encoder().encode


def reader(type: Any) -> Callable[[bytes], Any]:
    """Return what reads rows of a type. ``StoreCorrupt`` where they cannot be read."""
    decoder = msgspec.msgpack.Decoder(type).decode

    def read(value: bytes) -> Any:
        try:
            return decoder(value)
        except msgspec.DecodeError as error:
            raise StoreCorrupt(f"a row of the state tables cannot be read: {error}") from error

    return read


class _AnswerRow(msgspec.Struct, omit_defaults=True):
    """A ``KnownAnswer``: MessagePack has no names for the classes of a union."""

    heard_at: int
    client: str = ""
    number: int = 0
    request_id: str = ""
    error: str = ""
    message: str = ""
    run_id: str = ""
    created: bool = False
    first_run_id: str | None = None


_KNOWN: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "s": reader(SourceWindow),
    "c": reader(ClientWindow),
    "n": reader(NamedWindow),
    "a": reader(_AnswerRow),
}
_claim: Final = reader(ClaimRow)
_summary: Final = reader(Summary)


_NO_STATES: Final[Mapping[int, AttemptState]] = {}

_First: TypeAlias = tuple[ActivityTask, int, AttemptState | None]
"""An activity that begins, the offset of its turn, and where it stands if that is known.

Most are over before anybody needs the row.
"""


def _opened(task: ActivityTask, offset: int, state: AttemptState | None) -> OpenAttempt:
    if state is None:
        state = AttemptState(task.id, task.attempt, task.eager, task.scheduled_ms)
    return OpenAttempt(task.workflow_id, task.run_id, task.name, offset, b"", state)


class Rows:
    """Collects what records change, over a store that holds what was before.

    ``runs`` are the summaries of the runs that the group is about, and ``latest`` those of them
    that are the latest of their workflow ids.
    """

    def __init__(
        self, store: KeyValue, runs: Mapping[str, Summary], latest: Mapping[str, str]
    ) -> None:
        self._store = store
        self._runs: dict[str, Summary | None] = dict(runs)
        self._latest: dict[str, str | None] = dict(latest)
        self._rows: list[Mutation] = []
        self._history: dict[bytes, bytes] = {}
        self._timers: dict[bytes, bytes | None] = {}
        self._parked: dict[str, bytes | None] = {}
        self._attempts: dict[tuple[str, int], OpenAttempt | _First | None] = {}
        self._begun: set[tuple[str, int]] = set()
        self._replaced: dict[bytes, bytes | None] = {}
        self._purged: dict[bytes, bytes | None] = {}
        self._mark: bytes | None = None

    def mutations(self) -> list[Mutation]:
        rows: list[Mutation] = [
            ("runs", run_id.encode(), None if summary is None else pack(summary))
            for run_id, summary in self._runs.items()
        ]
        rows += [
            ("latest", id.encode(), None if run_id is None else run_id.encode())
            for id, run_id in self._latest.items()
        ]
        rows += [("history", key, value) for key, value in self._history.items()]
        rows += self._rows
        for (run_id, id), attempt in self._attempts.items():
            if attempt is not None and not isinstance(attempt, OpenAttempt):
                attempt = _opened(*attempt)
            packed = None if attempt is None else pack(attempt)
            rows.append(("activities", activity_key(run_id, id), packed))
        rows += [("timers", key, packed) for key, packed in self._timers.items()]
        rows += [("parked", id.encode(), value) for id, value in self._parked.items()]
        rows += [("replaced", key, value) for key, value in self._replaced.items()]
        rows += [("purged", key, value) for key, value in self._purged.items()]
        if self._mark is not None:
            rows.append(("meta", MARK, self._mark))
        return rows

    # --- records ------------------------------------------------------------------------------

    def take(self, confirmed: Confirmed) -> None:
        record = confirmed.record
        match record:
            case Turn():
                self._take_turn(record, confirmed, _NO_STATES)
            case AttemptRecord():
                self._take_attempt(record, confirmed)
            case Snapshot():
                states = {each.scheduled.id: each.state for each in record.image.activities}
                self._replace_history(record.run_id, record.first, confirmed.offset)
                self._take_turn(record, confirmed, states)
            case Mark():
                self._take_mark(record, confirmed.key, confirmed.offset)
            case Answered():
                self._replace(confirmed.offset, confirmed.key)
            case Purged():
                self._replace_history(record.run_id, None, confirmed.offset)
                row = offset_key(record.time_ms) + record.run_id.encode()
                self._purged[row] = confirmed.key
                for effect in confirmed.effects:
                    self._take_effect(effect, confirmed.offset)

    def change(self, changes: Changes) -> None:
        """Apply what changes beside the records."""
        for key in changes.replaced:
            self._replace(0, key)
        for name, known in changes.requests:
            row = None if known is None else _packed_known(known)
            self._rows.append(("requests", name.encode(), row))
        for offset, claim in changes.claims.items():
            self._rows.append(
                ("claims", offset_key(offset), None if claim is None else pack(claim))
            )
        for offset, key in changes.forgotten:
            self._forget(offset, key)
        if changes.tombstones:
            self._forget_all(set(changes.tombstones))

    def _take_turn(
        self, turn: Turn | Snapshot, confirmed: Confirmed, states: Mapping[int, AttemptState]
    ) -> None:
        self._history[history_key(turn.run_id, turn.first)] = confirmed.value
        for event in turn.events:
            if not isinstance(event, ActivityScheduled):  # the most frequent: see its effect
                self._take_event(event, turn.workflow_id, turn.run_id)
        for effect in confirmed.effects:
            match effect:
                case ActivityTask():
                    self._begin_attempt(effect, confirmed.offset, states)
                case CancelAttempt():
                    self._end_attempt(effect.run_id, effect.id)
                case _:
                    self._take_effect(effect, confirmed.offset)

    def _take_event(self, event: Event, workflow_id: str, run_id: str) -> None:
        match event:
            case ActivityCompleted() | ActivityFailed():
                self._end_attempt(run_id, event.id)
            case RunParked():
                self._parked[workflow_id] = b""
            case RunUnparked() | WorkflowTerminated() | WorkflowTimedOut():
                self._parked[workflow_id] = None
            case _:
                pass

    def _take_effect(self, effect: Effect, offset: int) -> None:
        match effect:
            case SetTimer():
                self._timers[_timer_key(effect)] = pack(effect)
            case ClearTimer():
                self._timers[_timer_key(effect)] = None
            case Forget():
                self._replace(offset, effect.key)
            case _:
                pass

    def _take_attempt(self, record: AttemptRecord, confirmed: Confirmed) -> None:
        self._attempts[record.run_id, record.state.id] = OpenAttempt(
            record.workflow_id,
            record.run_id,
            record.name,
            confirmed.offset,
            confirmed.key,
            record.state,
        )
        for effect in confirmed.effects:
            self._take_effect(effect, confirmed.offset)

    def _take_mark(self, mark: Mark, key: bytes, offset: int) -> None:
        before = self._mark or self._store.get("meta", MARK)
        if before is not None and before != key:
            self._replace(0, before)
        self._mark = key
        if mark.forgotten_ms:
            self._forget_purged(mark.forgotten_ms, offset)

    def _forget_purged(self, before_ms: int, offset: int) -> None:
        """Forget the runs that were purged before a time."""
        end = offset_key(before_ms)
        rows = {
            key: value
            for key, value in self._store.scan("purged", b"")
            if key < end and self._purged.get(key, value) is not None
        }
        rows.update({row: key for row, key in self._purged.items() if key and row < end})
        for row, key in rows.items():
            run_id = row[8:].decode()
            self._purged[row] = None
            self._replace(offset, key)
            summary = self._summary(run_id)
            self._runs[run_id] = None
            if summary is not None and self._latest_of(summary.workflow_id) == run_id:
                self._latest[summary.workflow_id] = None

    def _summary(self, run_id: str) -> Summary | None:
        if run_id in self._runs:
            return self._runs[run_id]
        value = self._store.get("runs", run_id.encode())
        return None if value is None else _summary(value)

    def _latest_of(self, workflow_id: str) -> str | None:
        if workflow_id in self._latest:
            return self._latest[workflow_id]
        value = self._store.get("latest", workflow_id.encode())
        return None if value is None else value.decode()

    def _begin_attempt(
        self, task: ActivityTask, offset: int, states: Mapping[int, AttemptState]
    ) -> None:
        place = task.run_id, task.id
        if task.attempt == 1:
            self._begun.add(place)
        self._attempts[place] = task, offset, states.get(task.id)

    def _end_attempt(self, run_id: str, id: int) -> None:
        """Delete the row of an activity, or leave it out if no store has seen it."""
        place = run_id, id
        if place in self._begun:
            self._attempts.pop(place, None)
        else:
            self._attempts[place] = None

    # --- what is not needed any more ----------------------------------------------------------

    def _forget(self, offset: int, key: bytes) -> None:
        """Drop what is left of a record whose key has its tombstone."""
        self._replaced[replaced_key(offset, key)] = None
        turn = turn_of_key(key)
        if turn is not None and offset > 0:  # a ghost has no row, but may be called like one
            self._rows.append(("history", history_key(*turn), None))

    def _forget_all(self, keys: set[bytes]) -> None:
        rows = {row for row, _ in self._store.scan("replaced", b"")}
        rows.update(row for row, value in self._replaced.items() if value is not None)
        for row in rows:
            offset, key = replaced_of(row)
            if key in keys:
                self._forget(offset, key)

    def _replace(self, offset: int, key: bytes) -> None:
        self._replaced[replaced_key(offset, key)] = b""

    def _replace_history(self, run_id: str, below: int | None, offset: int) -> None:
        """Give up the turns of a run, all or those below an event, once that offset is covered."""
        begun: list[tuple[int, Turn | Snapshot]] = []
        for first, value in sorted(self._turns(run_id)):
            if below is None or first < below:
                turn = decode(value)
                assert isinstance(turn, Turn | Snapshot), f"{run_id} {first}: {turn} is no turn"
                if isinstance(turn, Snapshot):
                    begun.clear()  # what is older has been given up with it
                begun.append((first, turn))
        for first, turn in begun:
            self._replace(offset, turn_key(run_id, first, turn.epoch))

    def _turns(self, run_id: str) -> Iterator[tuple[int, bytes]]:
        prefix = run_id.encode() + b"\0"
        for key, value in self._store.scan("history", prefix):
            if not key.startswith(prefix):
                break
            yield int.from_bytes(key[-8:], "big"), value
        for key, value in self._history.items():
            if key.startswith(prefix):
                yield int.from_bytes(key[-8:], "big"), value


def is_latest(record: UnderClaim) -> bool:
    """Return whether a record says that its run is the latest of its workflow id.

    A snapshot says so as well: an open run is the latest one, and its beginning may be gone.
    """
    match record:
        case Turn():
            return record.first == 0
        case Snapshot():
            return True
        case Purged():
            return record.latest
        case _:
            return False


# --- keys and values --------------------------------------------------------------------------


def offset_key(offset: int) -> bytes:
    return offset.to_bytes(8, "big")


def history_key(run_id: str, first: int) -> bytes:
    return run_id.encode() + b"\0" + first.to_bytes(8, "big")


def activity_key(run_id: str, id: int) -> bytes:
    return run_id.encode() + b"\0" + id.to_bytes(8, "big")


def due_key(due_ms: int) -> bytes:
    return max(due_ms, 0).to_bytes(8, "big")


def replaced_key(offset: int, key: bytes) -> bytes:
    """Return the row of a key that goes. The turns of a run go in order, the first one first.

    So whatever is gone of a run, its beginning is, and nobody takes the rest for a whole.
    """
    turn = turn_of_key(key)
    return offset_key(offset) + offset_key(0 if turn is None else turn[1]) + key


def replaced_of(row: bytes) -> Replaced:
    return int.from_bytes(row[:8], "big"), row[16:]


def _timer_key(timer: SetTimer | ClearTimer) -> bytes:
    name = f"{timer.run_id}\0{timer.kind}\0{timer.id}\0{timer.attempt}"
    return due_key(timer.due_ms) + name.encode()


def claim_of(value: bytes) -> ClaimRow:
    row: ClaimRow = _claim(value)
    return row


def known_of(name: bytes, value: bytes) -> Known:
    """Return what a row of ``requests`` holds."""
    held: Any = _KNOWN[name[:1].decode()](value)
    if not isinstance(held, _AnswerRow):
        known: Known = held
        return known
    named = bool(held.request_id)
    cause = NamedRequest(held.request_id) if named else ClientRequest(held.client, held.number)
    if held.error:
        return KnownAnswer(cause, Refused(held.error, held.message), held.heard_at)
    accepted = Accepted(held.run_id, held.created, held.first_run_id)
    return KnownAnswer(cause, accepted, held.heard_at)


def _packed_known(known: Known) -> bytes:
    if not isinstance(known, KnownAnswer):
        return pack(known)
    row, cause, answer = _AnswerRow(known.heard_at), known.cause, known.answer
    if isinstance(cause, ClientRequest):
        row.client, row.number = cause.client, cause.number
    else:
        row.request_id = cause.id
    if isinstance(answer, Refused):
        row.error, row.message = answer.error, answer.message
    else:
        row.run_id, row.created = answer.run_id, answer.created
        row.first_run_id = answer.first_run_id
    return pack(row)
