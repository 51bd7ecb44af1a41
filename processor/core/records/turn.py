"""What a shard writes into its log about one run, and the claim that says who may write.

Everything but a claim stands under the claim rule: it counts if and only if the claim that it
names by its ``epoch`` is the last one before it. No key is used twice for a value, so that a ghost,
or what comes late from a process that is no longer the owner, can replace nothing.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from processor.core.data.cause import Cause
from processor.core.data.frozen import frozen
from processor.core.event import Event
from processor.core.nouns.activity import AttemptState

__all__ = (
    "LEVEL_FIRST",
    "AttemptRecord",
    "Claim",
    "Positions",
    "Purged",
    "Source",
    "Turn",
    "attempt_key",
    "claim_key",
    "purged_key",
    "turn_key",
    "turn_of_key",
)

_NO_RUNS: Final = (b"mark", b"answered")

LEVEL_FIRST: Final = 1
"""The level of a namespace that was never upgraded."""

Source = Literal["commands", "results", "timers", "eager", "takeover", "successor"]


class Positions(NamedTuple):
    """The next offset to read of each input; everything below it is in the log."""

    commands: int = 0
    results: int = 0
    timers: int = 0

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
    """What one input did to one run.

    ``epoch`` is the offset of the claim that it was written under. ``first`` is the number of its
    first event in the run's history (the first event of all is number 0). ``delivered``: the
    effects of every record below this log offset had been delivered when this one was written.
    ``cause``: the request or message that the input was, for deduplication.
    """

    workflow_id: str
    run_id: str
    epoch: int
    first: int
    time_ms: int
    source: Source
    positions: Positions
    delivered: int
    cause: Cause | None
    events: tuple[Event, ...]


@frozen
class AttemptRecord:
    """Where an open activity stands from now on. It is no part of the history.

    The last one that counts holds, until the activity or its run is closed.
    """

    workflow_id: str
    run_id: str
    epoch: int
    time_ms: int
    source: Source
    positions: Positions
    delivered: int
    cause: Cause | None
    name: str
    state: AttemptState


@frozen
class Purged:
    """A run is gone: its turns are deleted, or about to be. Outlives what it deletes.

    ``latest``: whether it was the latest run of its workflow id.
    """

    workflow_id: str
    run_id: str
    epoch: int
    time_ms: int
    source: Source
    positions: Positions
    delivered: int
    cause: Cause | None
    first_run_id: str
    workflow: str
    status: str
    started_ms: int
    closed_ms: int
    events: int
    latest: bool


@frozen
class Claim:
    """A process announces that it owns the shard; the record's offset is its epoch.

    ``level`` is the activated level of the namespace: nothing of a later level is written.
    """

    owner: str
    nonce: str
    level: int
    time_ms: int


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
