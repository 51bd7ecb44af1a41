"""Answers: what whoever asked is told."""

from __future__ import annotations

from typing import TypeAlias

from processor.core.data.failure import Failure
from processor.core.data.fields import Attempt, RequestId, RunId
from processor.core.data.frozen import frozen
from processor.core.data.headers import NO_HEADERS, Headers

__all__ = (
    "Accepted",
    "CallOutcome",
    "Closed",
    "HeartbeatSeen",
    "Locked",
    "Page",
    "QueryAnswered",
    "Refused",
    "ReplyBody",
    "StopWanted",
    "UpdateEnded",
    "ValueIs",
)


@frozen
class Accepted:
    """The command was applied."""

    run_id: str
    """Run that it was applied to."""
    created: bool = True
    """False where an existing run was used."""
    first_run_id: str | None = None
    """First run of its chain; None: the run itself."""


@frozen
class Refused:
    """The command was refused, and nothing changed."""

    error: str
    """Name of the exception class that the client raises."""
    message: str
    """What is wrong and what to do."""


@frozen
class Closed:
    """The run is closed."""

    run_id: RunId
    status: str
    """How the run ended: completed, failed, cancelled, terminated, timed_out, continued. A string,
    so that a new status breaks no consumer.
    """
    result: bytes | None = None
    """Encoded return value of a completed run, or output of a terminated one; None where it has
    none.
    """
    failure: Failure | None = None
    """Why the run failed."""
    reason: str | None = None
    """Why it was cancelled or terminated; of a run that was continued: the run that goes on."""
    headers: Headers = NO_HEADERS


@frozen
class Page:
    """An answer to a query."""

    content: bytes
    """JSON."""
    after: str | None = None
    """Where the next page begins; None on the last one."""


@frozen
class HeartbeatSeen:
    """The answer to a worker that asked whether an attempt is still wanted."""

    run_id: RunId
    id: RequestId
    attempt: Attempt
    cancelled: bool
    """Whether the attempt should stop."""


@frozen
class QueryAnswered:
    """The answer of a handler of the run's code."""

    run_id: RunId
    result: bytes | None = None
    """Encoded answer; None where there is none, or it failed."""
    failure: Failure | None = None
    """Why the handler failed."""
    headers: Headers = NO_HEADERS


@frozen
class UpdateEnded:
    """The outcome of an update."""

    run_id: RunId
    id: str
    """Id of the update."""
    result: bytes | None = None
    """Encoded return value of its handler; None where it has none, or failed."""
    failure: Failure | None = None
    """Why it failed, or why its validator refused it."""
    headers: Headers = NO_HEADERS


@frozen
class StopWanted:
    """The answer to a worker whose attempt should stop: its run waits for what comes of it."""

    run_id: RunId
    id: RequestId
    attempt: Attempt


@frozen
class ValueIs:
    """A value that a run has set."""

    run_id: RunId
    number: int
    """Number of the event that set it."""
    value: bytes | None
    """Encoded value."""
    headers: Headers = NO_HEADERS


@frozen
class Locked:
    """The entity is locked for the run that asked."""

    number: int
    """Fencing number of the grant."""


ReplyBody: TypeAlias = (
    Accepted
    | Refused
    | Closed
    | Page
    | HeartbeatSeen
    | QueryAnswered
    | UpdateEnded
    | StopWanted
    | ValueIs
)
"""The answer."""

CallOutcome: TypeAlias = (
    Accepted | Refused | Closed | QueryAnswered | UpdateEnded | ValueIs | Locked
)
"""The answer to a call of one instance to another."""
