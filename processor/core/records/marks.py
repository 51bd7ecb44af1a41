"""What a shard writes into its log about itself: which requests have counted, and what was told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from processor.core.data.address import ReplyAddress
from processor.core.data.cause import ClientRequest, NamedRequest, Origin, RecordedCause
from processor.core.data.fields import WorkflowId
from processor.core.data.frozen import frozen
from processor.core.nouns.call import answer_to
from processor.core.records.answers import Accepted, CallOutcome, Locked, Refused
from processor.core.records.effects import DeadLetter, Effect, Reply
from processor.core.records.turn import Delivered, Epoch, Positions, RecordTime, Source

__all__ = (
    "Answered",
    "ClientWindow",
    "KnownAnswer",
    "Mark",
    "NamedWindow",
    "SourceWindow",
    "answered_key",
    "mark_key",
)


HeardAt: TypeAlias = int
"""Log offset of the record that said so: things are forgotten in the order of these."""


@frozen
class SourceWindow:
    """The last message that has counted of a shard that sends messages."""

    origin: Origin
    """Where it came from."""
    heard_at: HeardAt


@frozen
class ClientWindow:
    """Which requests of a client have counted."""

    client: str
    """The client."""
    highest: int
    """The highest number that has counted."""
    floor: int
    """Of what is below, nothing is known any more."""
    missing: tuple[int, ...] = ()
    """Numbers between floor and highest that have not counted, 64 at the most."""
    heard_ms: int = 0
    """When the last of them came, in milliseconds since the epoch."""
    heard_at: int = 0
    """Log offset of the record that said so last."""


@frozen
class NamedWindow:
    """A request of a stranger that has counted."""

    id: str
    """Its id."""
    heard_ms: int
    """When it came, in milliseconds since the epoch."""
    heard_at: HeardAt


@frozen
class KnownAnswer:
    """What a request was told lately that left no turn, so that it is told the same if it is sent
    again.
    """

    cause: ClientRequest | NamedRequest
    """The request."""
    answer: Accepted | Refused
    """What it was told."""
    heard_at: HeardAt


@frozen
class Mark:
    """What a shard knows beside its runs: one record of the events topic, under the claim rule. It
    covers everything below it in the partition: what is below it is not needed any more to know the
    positions and which requests and messages have counted.
    """

    epoch: Epoch
    time_ms: RecordTime
    source: Source
    positions: Positions
    delivered: Delivered
    published: int
    """Everything of the records below this log offset had been published."""
    sources: tuple[SourceWindow, ...] = ()
    """The last message that counted of each shard that sent any."""
    clients: tuple[ClientWindow, ...] = ()
    """The clients that sent requests, the one that was silent longest first."""
    named: tuple[NamedWindow, ...] = ()
    """Requests of strangers, the oldest first."""
    answers: tuple[KnownAnswer, ...] = ()
    """What requests were told that left no turn, the oldest first."""
    forgotten_ms: int = 0
    """Runs that were purged before this time are not known any more, in milliseconds since the
    epoch.
    """


@frozen
class Answered:
    """A command that could have changed something and left no turn, because it was refused or
    changed nothing: one record of the events topic, under the claim rule. Without it, a takeover
    would decide the command once more, and maybe otherwise.
    """

    workflow_id: WorkflowId
    epoch: Epoch
    time_ms: RecordTime
    source: Source
    positions: Positions
    delivered: Delivered
    cause: RecordedCause | None
    reply_to: ReplyAddress | None
    """Who is told; None: nobody waits."""
    answer: CallOutcome
    """What is told; a client is accepted or refused."""
    letter: DeadLetter | None = None
    """What goes to dead-letters because nobody waits for the answer."""

    @property
    def effects(self) -> Sequence[Effect]:
        """What leaves the shard because of a command that left no turn."""
        to, told = self.reply_to, self.answer
        reply = () if to is None or isinstance(told, Locked) else (Reply(to, told),)
        letter = () if self.letter is None else (self.letter,)
        return (*reply, *answer_to(self.cause, self.answer), *letter)


def mark_key(number: int, epoch: int) -> bytes:
    """``number`` is another one for each record that is appended in an epoch."""
    assert number >= 0, "records are counted from 0 on"
    return f"mark/{number}/{epoch}".encode()


def answered_key(number: int, epoch: int) -> bytes:
    assert number >= 0, "records are counted from 0 on"
    return f"answered/{number}/{epoch}".encode()
