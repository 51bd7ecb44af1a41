"""External events: what clients and other instances tell a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from processor.checks import ID_BYTES_MAX
from processor.core.data.bounds import check_text, size_of
from processor.core.data.fields import OnlyChain, OnlyRun
from processor.core.data.frozen import frozen
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.event import Decision, Drafting, Fact, Whose
from processor.core.operation import OperationOnRun
from processor.core.records.answers import Refused, ReplyBody
from processor.core.records.effects import DeadLetter, Effect
from processor.policy import Status

__all__ = ("EventReceived", "EventRejected", "RaiseEvent")

_EVENT_BYTES: Final = 20
"""What an event takes beside its name, its value, its headers and its key."""


@frozen
class EventReceived(Fact):
    """An external event arrived; it is kept until the code waits for its name."""

    name: str
    """Name of the event."""
    payload: bytes | None = None
    """Encoded value of the event; None where it has none."""
    headers: Headers = NO_HEADERS
    key: str | None = None
    """Idempotency key that its sender gave it; None where there is none."""

    @property
    def size(self) -> int:
        """How many bytes it takes, at the most."""
        name, size = self.name, len(self.payload or b"") + _EVENT_BYTES
        if self.headers or self.key:
            size += size_of(self.headers) + size_of(self.key)
        return size + (len(name) if name.isascii() else len(name.encode()))

    def apply(self, run: Whose, now_ms: int) -> None:
        pass


@frozen
class RaiseEvent(OperationOnRun):
    """Send an external event to a run."""

    name: str
    """Name of the event."""
    payload: bytes | None = None
    """Encoded value of the event."""
    run_id: OnlyRun = None
    first_run_id: OnlyChain = None
    headers: Headers = NO_HEADERS

    word = "event"

    def check(self) -> None:
        check_text("name of the event", self.name, ID_BYTES_MAX)

    @property
    def asks_for(self) -> str:
        return self.name

    def decide(self, draft: Drafting, latest: Latest) -> ReplyBody | None:
        bound = draft.full(EventReceived(self.name, self.payload, self.headers))
        if bound:
            return self._refused(
                latest,
                f"has {bound}",
                ". Send it again when the code has taken some; code that waits for events in a "
                "loop takes them all",
            )
        draft.advance(self._received(draft))
        return None

    def _received(self, draft: Drafting) -> Fact:
        """Return what its arrival is."""
        return EventReceived(self.name, self.payload, self.headers)

    def when_closed(self, latest: Latest) -> ReplyBody:
        return self._refused(latest, f"is {latest.status.value}")

    def _refused(self, run: Latest, why: str, then: str = "") -> Refused:
        which = f"run {run.run_id} of {run.workflow!r}"
        return Refused("CommandRejected", f"{which} {why}: event {self.name!r} was not taken{then}")


class Latest(Protocol):
    """What an event has to know of the latest run."""

    run_id: str
    workflow: str
    status: Status


@frozen
class EventRejected(Decision):
    """An external event did not fit the type that the code waits for; it went to dead-letters."""

    name: str
    """Name of the event."""
    payload: bytes | None
    """Encoded value of the event."""
    reason: str
    """What did not fit."""

    identity = ("name",)
    payloads = ("payload",)

    def apply(self, run: Whose, now_ms: int) -> None:
        pass

    def effects(self, run: Whose, now_ms: int) -> Sequence[Effect]:
        key = run.workflow_id.encode()
        reason = f"event {self.name!r} of {run.workflow_id}: {self.reason}"
        return (DeadLetter("commands", -1, -1, key, self.payload, reason),)
