"""Who is meant, who asks, and where answers go."""

from __future__ import annotations

from processor.core.data.frozen import frozen

__all__ = ("Address", "Caller", "ReplyTo", "RunRef")


@frozen
class RunRef:
    """One run of another instance."""

    workflow_id: str
    run_id: str


@frozen
class Address:
    """An instance; ``namespace`` is None for the sender's own."""

    namespace: str | None
    workflow_id: str


@frozen
class Caller:
    """The run that waits for the answer to its call number ``call``."""

    address: Address
    run_id: str
    call: int


@frozen
class ReplyTo:
    """Where the sender reads its replies: a partition of ``replies`` and its own client id.

    By ``request`` the sender knows which of its requests was answered.
    """

    partition: int
    client: str
    request: int = 0
