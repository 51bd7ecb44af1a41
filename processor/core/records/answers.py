"""Answers: what whoever asked is told."""

from __future__ import annotations

from typing import TypeAlias

from processor.core.data.failure import Failure
from processor.core.data.frozen import frozen
from processor.core.data.headers import NO_HEADERS, Headers

__all__ = ("Accepted", "CallOutcome", "Closed", "HeartbeatSeen", "Page", "Refused", "ReplyBody")


@frozen
class Accepted:
    """The command was applied. ``created`` is False where an existing run was used.

    ``first_run_id`` is the first run of its chain, None where it is the run itself.
    """

    run_id: str
    created: bool = True
    first_run_id: str | None = None


@frozen
class Refused:
    """``error`` is the name of the exception class that the client raises."""

    error: str
    message: str


@frozen
class Closed:
    """``reason`` is that of a cancelled or terminated run."""

    run_id: str
    status: str
    result: bytes | None = None
    failure: Failure | None = None
    reason: str | None = None
    headers: Headers = NO_HEADERS


@frozen
class Page:
    """``content`` is JSON; ``after`` is where the next page begins, None on the last one."""

    content: bytes
    after: str | None = None


@frozen
class HeartbeatSeen:
    """Answers a worker that asked whether an attempt is still wanted: beside it, or before it."""

    run_id: str
    id: int
    attempt: int
    cancelled: bool


ReplyBody: TypeAlias = Accepted | Refused | Closed | Page | HeartbeatSeen

CallOutcome: TypeAlias = Accepted | Refused | Closed
"""How a call of one instance to another may be answered."""
