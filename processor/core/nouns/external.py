"""External events: what clients and other instances tell a run."""

from __future__ import annotations

from collections.abc import Sequence

from processor.core.effects import DeadLetter, Effect
from processor.core.event import Decision, Fact, Whose
from processor.core.frozen import frozen
from processor.core.headers import NO_HEADERS, Headers

__all__ = ("EventReceived", "EventRejected")


@frozen
class EventReceived(Fact):
    """An external event; kept until the code waits for its name, in order of arrival.

    ``key`` is the idempotency key that its sender gave it.
    """

    name: str
    payload: bytes | None = None
    headers: Headers = NO_HEADERS
    key: str | None = None

    def apply(self, run: Whose, now_ms: int) -> None:
        pass


@frozen
class EventRejected(Decision):
    """An external event did not fit the type that the code waits for; it went to dead-letters."""

    name: str
    payload: bytes | None
    reason: str

    identity = ("name",)
    payloads = ("payload",)

    def apply(self, run: Whose, now_ms: int) -> None:
        pass

    def effects(self, run: Whose, now_ms: int) -> Sequence[Effect]:
        key = run.workflow_id.encode()
        reason = f"event {self.name!r} of {run.workflow_id}: {self.reason}"
        return (DeadLetter("commands", -1, -1, key, self.payload, reason),)
