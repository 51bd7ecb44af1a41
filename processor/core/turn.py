"""The two kinds of record in ``events``: the turn, and the claim that says who may write turns."""

from __future__ import annotations

from typing import Literal, NamedTuple

from processor.core.events import Event
from processor.core.frozen import frozen
from processor.core.inputs import Origin

__all__ = ("Claim", "Positions", "Source", "Turn", "claim_key", "turn_key")

Source = Literal["commands", "activity-results", "timers", "eager", "takeover", "mark"]


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
            case "activity-results":
                return Positions(self.commands, offset + 1, self.timers)
            case _:
                return Positions(self.commands, self.results, offset + 1)


@frozen
class Turn:
    """What one input did to one run.

    ``epoch`` is the offset of the claim that it was written under: a turn counts if and only if
    that is the last claim before it in the log. ``first`` is the number of its first event in the
    run's history (the first event of all is number 0). ``delivered``: the effects of every turn
    below this log offset had been delivered when this one was written. ``origin``: the message of
    another shard that it answers, for deduplication.

    A turn without events is a mark: it belongs to no run and carries only positions.
    """

    workflow_id: str
    run_id: str
    epoch: int
    first: int
    time_ms: int
    source: Source
    positions: Positions
    delivered: int
    origin: Origin | None
    events: tuple[Event, ...]


@frozen
class Claim:
    """A process announces that it owns the shard; the record's offset is its epoch."""

    owner: str
    nonce: str
    time_ms: int


def turn_key(run_id: str, first: int, epoch: int) -> bytes:
    """Return the compaction key of a turn: no ghost of another epoch can ever replace it."""
    return f"{run_id}/{first}/{epoch}".encode()


def claim_key(nonce: str) -> bytes:
    return f"claim/{nonce}".encode()
