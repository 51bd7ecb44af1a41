"""What a shard writes into its log about one run, and the claim that says who may write.

Everything but a claim stands under the claim rule: it counts if and only if the claim that it
names by its ``epoch`` is the last one before it. No key is used twice for a value, so that a ghost,
or what comes late from a process that is no longer the owner, can replace nothing.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

from processor.core.data.cause import Cause, RecordedCause
from processor.core.data.fields import Int32, RunId, WorkflowId
from processor.core.data.frozen import frozen
from processor.core.event import Event
from processor.core.nouns.activity import AttemptState

__all__ = (
    "LEVEL_FIRST",
    "AttemptRecord",
    "Claim",
    "Delivered",
    "Epoch",
    "Events",
    "FirstEvent",
    "Positions",
    "Purged",
    "RecordTime",
    "Source",
    "Turn",
    "attempt_key",
    "claim_key",
    "purged_key",
    "turn_key",
    "turn_of_key",
)

_NO_RUNS: Final = (b"mark", b"answered")

LEVEL_FIRST: Final = 2
"""The level of a namespace that was never upgraded: no release had level 1 alone."""

Source: TypeAlias = Literal["commands", "results", "timers", "eager", "takeover", "successor"]
"""Where the input came from. It was read from commands, results (activity-results) or timers, or is
eager (a report, a timer or a message of the shard's own process), takeover, or successor (the run
that follows another one).
"""

Epoch: TypeAlias = int
"""Offset of the claim that the record was written under."""

RecordTime: TypeAlias = int
"""When the shard made the record, in milliseconds since the epoch."""

Delivered: TypeAlias = int
"""The effects of every record below this log offset had been delivered."""

FirstEvent: TypeAlias = int
"""Number of the first event of the turn in the run's history, which begins with 0."""

Events: TypeAlias = tuple[Event, ...]
"""The facts, in order; branches that are written most stand first, because some writers look them
up in order.
"""


class Positions(NamedTuple):
    """How far each input has been read. Everything below these offsets is in the log."""

    commands: int = 0
    """Next offset of the commands partition."""
    results: int = 0
    """Next offset of the activity-results partition."""
    timers: int = 0
    """Next offset of the timers partition."""

    def past(self, source: Source, offset: int) -> Positions:
        """Return the positions when that record of an input has been read."""
        match source:
            case "commands":
                return Positions(offset + 1, self.results, self.timers)
            case "results":
                return Positions(self.commands, offset + 1, self.timers)
            case _:
                return Positions(self.commands, self.results, offset + 1)


@frozen
class Turn:
    """What one input did to one run: one record of the events topic. It counts if and only if no
    claim between its epoch and itself was made: its epoch is the offset of the last Claim before it
    in the partition.
    """

    workflow_id: WorkflowId
    run_id: RunId
    epoch: Epoch
    first: FirstEvent
    time_ms: int
    """When the shard made the turn, in milliseconds since the epoch: what its code sees."""
    source: Source
    positions: Positions
    delivered: Delivered
    cause: RecordedCause | None
    events: Events


@frozen
class AttemptRecord:
    """The state of an open activity: one record of the events topic, under the claim rule. It is no
    part of the history; the last one that counts holds, until the activity or its run is closed.
    """

    workflow_id: WorkflowId
    run_id: RunId
    epoch: Epoch
    time_ms: RecordTime
    source: Source
    positions: Positions
    delivered: Delivered
    cause: Cause | None
    name: str
    """Name of the activity."""
    state: AttemptState
    """Where the activity stands from now on."""


@frozen
class Purged:
    """A run is gone: its turns are deleted, or about to be. One record of the events topic, under
    the claim rule; it outlives what it deletes.
    """

    workflow_id: WorkflowId
    run_id: RunId
    epoch: Epoch
    time_ms: RecordTime
    source: Source
    positions: Positions
    delivered: Delivered
    cause: Cause | None
    first_run_id: str
    """First run of its chain."""
    workflow: str
    """Name of its workflow."""
    status: str
    """How it had ended."""
    started_ms: int
    """When it had begun, in milliseconds since the epoch."""
    closed_ms: int
    """When it had ended, in milliseconds since the epoch."""
    events: int
    """How many events its history had."""
    latest: bool
    """Whether it was the latest run of its workflow id."""


@frozen
class Claim:
    """A process announces on the events topic that it owns the shard; the record's offset is its
    epoch. This record never gets another version.
    """

    owner: str
    """Identity of the process, for people."""
    nonce: str
    """Makes the claim's key its own, so that compaction keeps it."""
    level: Int32
    """Activated level of the namespace: no record of a later level is written."""
    time_ms: RecordTime


def turn_key(run_id: str, first: int, epoch: int) -> bytes:
    assert first >= 0, f"run {run_id}: events are counted from 0 on"
    return f"{run_id}/{first}/{epoch}".encode()


def turn_of_key(key: bytes) -> tuple[str, int] | None:
    """Return the run and the first event of a turn's key; None for another record's."""
    parts = key.split(b"/")
    if len(parts) != 3 or not parts[1].isdigit() or parts[0] in _NO_RUNS:
        return None
    return parts[0].decode(), int(parts[1])


def attempt_key(run_id: str, id: int, number: int, epoch: int) -> bytes:
    """``number`` is another one for each record that is appended in an epoch."""
    assert number >= 0, f"run {run_id}: records are counted from 0 on"
    return f"{run_id}/attempt-{id}/{number}/{epoch}".encode()


def purged_key(run_id: str, epoch: int) -> bytes:
    assert run_id, "a run has an id"
    return f"{run_id}/purged/{epoch}".encode()


def claim_key(nonce: str) -> bytes:
    assert nonce, "a claim is told from others by its nonce"
    return f"claim/{nonce}".encode()
