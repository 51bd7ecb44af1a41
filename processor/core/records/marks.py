"""What a shard writes into its log about itself: which requests have counted, and what was told."""

from __future__ import annotations

from collections.abc import Sequence

from processor.core.data.address import ReplyTo
from processor.core.data.cause import Cause, ClientRequest, NamedRequest, Origin
from processor.core.data.frozen import frozen
from processor.core.records.answers import Accepted, Refused
from processor.core.records.effects import DeadLetter, Effect, Reply
from processor.core.records.turn import Positions, Source

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


@frozen
class SourceWindow:
    """The last message that has counted of a shard that sends messages.

    ``heard_at``, here and below: the offset of the record that said so, which gives the order in
    which things are forgotten.
    """

    origin: Origin
    heard_at: int


@frozen
class ClientWindow:
    """Which requests of a client have counted: up to ``highest``, without the ``missing`` ones.

    Of what is below ``floor``, nothing is known any more.
    """

    client: str
    highest: int
    floor: int
    missing: tuple[int, ...] = ()
    heard_ms: int = 0
    heard_at: int = 0


@frozen
class NamedWindow:
    """A request of a stranger that has counted."""

    id: str
    heard_ms: int
    heard_at: int


@frozen
class KnownAnswer:
    """What a request was told lately that left no turn: sent again, it is told the same."""

    cause: ClientRequest | NamedRequest
    answer: Accepted | Refused
    heard_at: int


@frozen
class Mark:
    """Covers everything below it in the log: positions, and which messages and requests counted.

    ``published``: what the records below this log offset publish was there. Lists begin with what
    has been silent longest. Runs that were purged before ``forgotten_ms`` are not known any more.
    """

    epoch: int
    time_ms: int
    source: Source
    positions: Positions
    delivered: int
    published: int
    sources: tuple[SourceWindow, ...] = ()
    clients: tuple[ClientWindow, ...] = ()
    named: tuple[NamedWindow, ...] = ()
    answers: tuple[KnownAnswer, ...] = ()
    forgotten_ms: int = 0


@frozen
class Answered:
    """A command that could have changed something and left no turn.

    Without this record, a takeover would decide it once more, and maybe otherwise. ``letter`` goes
    to dead-letters where nobody waits for the answer.
    """

    workflow_id: str
    epoch: int
    time_ms: int
    source: Source
    positions: Positions
    delivered: int
    cause: Cause | None
    reply_to: ReplyTo | None
    answer: Accepted | Refused
    letter: DeadLetter | None = None

    @property
    def effects(self) -> Sequence[Effect]:
        """What leaves the shard because of a command that left no turn."""
        reply = () if self.reply_to is None else (Reply(self.reply_to, self.answer),)
        return reply if self.letter is None else (*reply, self.letter)


def mark_key(number: int, epoch: int) -> bytes:
    """``number`` is another one for each record that is appended in an epoch."""
    assert number >= 0, "records are counted from 0 on"
    return f"mark/{number}/{epoch}".encode()


def answered_key(number: int, epoch: int) -> bytes:
    assert number >= 0, "records are counted from 0 on"
    return f"answered/{number}/{epoch}".encode()
