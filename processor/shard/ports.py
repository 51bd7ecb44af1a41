"""What a shard needs from outside: six narrow protocols, each with several adapters.

Methods that may block say so and are called only while a shard is being taken over (or, for
``Log.read``, when somebody else wrote to the log, or too many messages of a shard to itself wait,
which is rare); all others return at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, TypeAlias

from processor.checks import RECORD_BYTES_MAX
from processor.codec.records import Envelope
from processor.core.data.cause import Origin
from processor.core.data.options import ActivityOptions
from processor.core.data.undelivered import Undelivered
from processor.core.inputs import ActivityReport, Input, TimerDue
from processor.core.nouns.activity import AttemptState
from processor.core.nouns.run import Summary
from processor.core.records.effects import (
    ActivityTask,
    DeadLetter,
    Effect,
    Message,
    Publish,
    Reply,
    RunResult,
    SetTimer,
)
from processor.core.records.turn import LEVEL_FIRST, Positions, Source
from processor.shard.dedup import Known, Row, UnderClaim
from processor.shard.messages.border import Border

__all__ = (
    "NEVER_MS",
    "NO_PLACE",
    "TOMBSTONES_MS",
    "Activities",
    "Changes",
    "Checkpoint",
    "ClaimRow",
    "Clock",
    "Confirmed",
    "Inbox",
    "InboxRecord",
    "Log",
    "LogReader",
    "LogRecord",
    "OpenAttempt",
    "Outbox",
    "OutputRecord",
    "Replaced",
    "Sendable",
    "ShardPorts",
    "Tables",
)


NEVER_MS: Final = 1 << 62
"""Later than any due time."""

NO_PLACE: Final = -1
"""The offset of a command that came through no topic: the shard sent it to itself."""

TOMBSTONES_MS: Final = 7 * 24 * 3600 * 1000
"""``delete.retention.ms`` of ``events`` as we make it."""


class LogRecord(NamedTuple):
    offset: int
    key: bytes
    value: bytes | None


class LogReader(Protocol):
    """One partition of ``events``, to read."""

    def read(self, first: int, end: int) -> Iterator[LogRecord]:
        """Yield what is kept of [first, end); ``first`` is not below the bounds. Blocks."""

    def bounds(self) -> tuple[int, int]:
        """Return the first offset that is kept and the end. Blocks."""


class Log(LogReader, Protocol):
    """One partition of ``events``. ``id``: the log id, which no other namespace has; 16 bytes."""

    @property
    def id(self) -> bytes: ...

    def append(self, key: bytes, value: bytes | None) -> None:
        """Queue one record; records are appended in the order of the calls, however long it takes.

        Raises ``PayloadTooLarge`` for what the log can never take.
        """

    @property
    def waiting(self) -> bool:
        """Whether ``acknowledged`` may have something to say."""

    def acknowledged(self) -> Sequence[int]:
        """Drain the offsets of acknowledged appends, in their order; -1 where it is unknown."""

    def read_along(self, first: int, end: int) -> Iterator[LogRecord | None]:
        """Yield what ``read`` does, and None where nothing has arrived yet: it does not block."""


class InboxRecord(NamedTuple):
    """One input with its place; a ``DeadLetter`` where the record cannot be taken.

    ``envelope`` is what stands before the body of a command that cannot, where that can be read;
    ``error`` is the name of the error for whoever waits for the answer.
    """

    source: Source
    offset: int
    input: Input | DeadLetter
    envelope: Envelope | None = None
    error: str = "CommandRejected"


class Inbox(Protocol):
    """The three input partitions of one shard."""

    def open(self, positions: Positions) -> None:
        """Begin to read there. Blocks. Raises ``LogTruncated`` where an input lost records."""

    @property
    def waiting(self) -> bool:
        """Whether ``take`` may have something to say."""

    def take(self, count: int) -> Sequence[InboxRecord]:
        """Return up to ``count`` records that have arrived, in order within each input."""

    def close(self) -> None:
        """Stop reading."""


Sendable = ActivityTask | Message | TimerDue | DeadLetter
OutputRecord = RunResult | Publish


class Outbox(Protocol):
    """Where effects go."""

    def send(self, effect: Sendable, token: int | None, origin: Origin | None = None) -> None:
        """Send until it is acknowledged; ``token`` then appears in ``delivered``.

        ``origin`` goes with a ``Message``, so that its target can drop a second copy.
        """

    @property
    def waiting(self) -> bool:
        """Whether ``delivered`` may have something to say."""

    def delivered(self) -> Sequence[int]:
        """Drain the tokens of acknowledged sends.

        An earlier owner that wakes up late in its takeover may fence what this one publishes. Then
        the adapter begins again from the committed position, or raises ``ShardLost`` here, so that
        the shard is claimed again; publishing must not stop silently.
        """

    @property
    def stuck(self) -> int:
        """How many turns have tasks whose queue does not exist; others need not wait for them."""

    @property
    def unsent_bytes(self) -> int:
        """About how much memory takes what was sent and is not acknowledged, but for such tasks."""

    def reply(self, reply: Reply) -> None:
        """Send without waiting; a client that misses it asks again."""

    def publish(self, offset: int, records: Sequence[OutputRecord]) -> None:
        """Publish the records of the turn at ``offset`` exactly once, in the order of the calls."""

    def published(self) -> int:
        """Return the log offset below which everything is published. Blocks."""

    def published_floor(self, released: int) -> int:
        """Return below which log offset everything is published, as far as is known by now.

        That is ``released`` where nothing waits: what is below it was handed over, or had nothing
        to publish.
        """

    def undelivered(self, run_id: str) -> Undelivered | None:
        """Return what a run published that is in dead letters, as far as this process knows."""

    def close(self) -> None:
        """Give up what is not sent yet; the next owner sends it."""


class Clock(Protocol):
    def now_ms(self) -> int:
        """Return milliseconds since the epoch."""


class Activities(Protocol):
    """The eager activities of this process."""

    def place(self, name: str, options: ActivityOptions, taken: int) -> bool:
        """Return whether this activity is to run here, beside what takes so many free slots."""

    def reserve(self, count: int) -> None:
        """Take slots for attempts that are about to start."""

    def release(self, count: int) -> None:
        """Give back slots that were reserved and will not be used."""

    def start(self, task: ActivityTask, report: Callable[[ActivityReport], None]) -> None:
        """Run the attempt in its reserved slot and report its outcome, once.

        With the outcome the slot is reserved again, for what the workflow asks for next.
        """

    def room(self) -> int:
        """Return how many commands to take in now, if each of them may need a slot.

        Where the slots are held by what is about to start, or just over, one is free in a moment:
        a command that waits for it is better off than an activity that goes through its queue.
        Where they are held by what goes on running, waiting would not help.
        """

    def cancel(self, run_id: str, id: int, waits: bool = False) -> None:
        """Ask a running attempt to stop; nothing happens where there is none.

        Its outcome is dropped, unless its run ``waits`` for what comes of it.
        """


@dataclass(frozen=True)
class Checkpoint:
    """How far the tables are: they are the fold of the log below ``next_offset``.

    ``epoch`` is the last claim below it (-1: none), ``level`` the highest one that any claim had.
    ``delivered``: see ``Turn``. ``published``: that of the last mark. ``time_ms`` is when they
    were.
    """

    next_offset: int = 0
    epoch: int = -1
    level: int = LEVEL_FIRST
    positions: Positions = field(default_factory=Positions)
    delivered: int = 0
    published: int = 0
    time_ms: int = 0


@dataclass(slots=True)
class Confirmed:
    """An acknowledged record on its way into the tables.

    ``summary`` is that of its run just after it; None for a record of the shard's own.
    """

    key: bytes
    value: bytes
    record: UnderClaim
    summary: Summary | None = None
    effects: Sequence[Effect] = ()
    offset: int = -1


_GHOSTS_MAX: Final = 64
"""Ghosts under one claim that are looked after, so that the claim can go when they are gone."""


class ClaimRow(NamedTuple):
    """A claim that the log still holds, and the ghosts that it exposes.

    It may go when these are gone: without it, they would count. ``more``: there are others, too
    many to be looked after; then it stays for ever.
    """

    offset: int
    key: bytes
    ghosts: tuple[int, ...] = ()
    more: bool = False

    def exposing(self, offsets: Iterable[int]) -> ClaimRow:
        """Return the claim with more ghosts under it."""
        known = (*self.ghosts, *offsets)
        more = self.more or len(known) > _GHOSTS_MAX
        return self._replace(ghosts=known[:_GHOSTS_MAX], more=more)


Replaced: TypeAlias = tuple[int, bytes]
"""A key of the log that is not needed once all up to an offset is covered by a mark."""


@dataclass(slots=True)
class Changes:
    """What changes in the tables beside the records: all of it, or nothing.

    ``requests`` are rows of what has counted, ``claims`` those of claims by offset (None: gone).
    ``replaced`` are keys of the log that nobody needs from now on. ``forgotten`` have their
    tombstones, as ``Tables.replaced`` returned them, and ``tombstones`` are keys that have one.
    """

    requests: Sequence[Row] = ()
    claims: dict[int, ClaimRow | None] = field(default_factory=dict)
    replaced: list[bytes] = field(default_factory=list)
    forgotten: list[Replaced] = field(default_factory=list)
    tombstones: list[bytes] = field(default_factory=list)


class OpenAttempt(NamedTuple):
    """A row of the ``activities`` table: an activity without an outcome.

    ``offset`` is that of the record that says ``state``, and ``key`` its key, empty where it is
    the turn that scheduled the activity.
    """

    workflow_id: str
    run_id: str
    name: str
    offset: int
    key: bytes
    state: AttemptState


class Tables(Protocol):
    """The state tables of one shard: a cache of the fold of its log, on local disk."""

    def checkpoint(self) -> Checkpoint: ...

    def write(self, group: Sequence[Confirmed], checkpoint: Checkpoint, changes: Changes) -> None:
        """Apply records and move the checkpoint, atomically.

        Reads see the records at once, and what is forgotten once it is on disk. They may stay in
        memory until ``flush``.
        """

    def flush(self) -> None:
        """Put on disk what was written. Whoever closes without it folds that from the log again."""

    def latest(self, workflow_id: str) -> Summary | None:
        """Return the latest run of a workflow id."""

    def run(self, run_id: str) -> Summary | None: ...

    def runs(self, after: str) -> Iterator[Summary]:
        """Yield the latest runs in the order of workflow ids, from the one after ``after``."""

    def history(self, run_id: str, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield a run's encoded turns in order, each with its first event's number."""

    def turn(self, run_id: str, first: int) -> bytes | None:
        """Return the encoded turn of a run that begins with an event."""

    def parked(self) -> Iterable[str]:
        """Yield the workflow ids of parked runs."""

    def open_attempts(self, run_id: str | None = None) -> Iterator[OpenAttempt]:
        """Yield the activities without an outcome, of one run or of all."""

    def requests(self) -> Iterable[Known]:
        """Yield what is known to have counted."""

    def claims(self) -> Iterable[ClaimRow]:
        """Yield the claims that the log still holds, the last one last."""

    def replaced(self, below: int, limit: int) -> list[Replaced]:
        """Return keys of the log that nobody needs once all below an offset is covered."""

    def is_replaced(self, offset: int, key: bytes) -> bool:
        """Return whether a key waits for its tombstone until that offset is covered."""

    def timers(self, after_ms: int, limit: int, until_ms: int = NEVER_MS) -> list[SetTimer]:
        """Return timers due after ``after_ms`` and not after ``until_ms``, earliest first.

        At most about ``limit``, but always all of those that share a due time.
        """

    def close(self) -> None: ...


@dataclass(slots=True)
class ShardPorts:
    """All that one shard is connected to.

    ``entropy`` returns 16 random bytes. ``tombstones_ms``: how long the log keeps tombstones.
    ``keeps_tasks``: whether tasks of queues outlive the process that sent them. ``log_topic``: the
    full name of the log's topic, for messages. ``record_bytes_max``: what the log takes.
    ``is_own`` says whether a workflow id is of this shard. ``producer`` says what sends records and
    why, "" where there is no choice. ``border``: which messages leave the namespace.
    """

    log: Log
    inbox: Inbox
    outbox: Outbox
    tables: Tables
    activities: Activities
    clock: Clock
    entropy: Callable[[], bytes]
    is_own: Callable[[str], bool]
    tombstones_ms: int = TOMBSTONES_MS
    keeps_tasks: bool = True
    log_topic: str = "events"
    record_bytes_max: int = RECORD_BYTES_MAX
    producer: Callable[[], str] = str
    border: Border = field(default_factory=Border)
