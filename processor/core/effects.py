"""Effects: what leaves a shard because of a turn, once the log has acknowledged the turn.

Derived from events alone (``decide.effects_of``), so that a new owner derives them again.
"""

from __future__ import annotations

from typing import TypeAlias

from processor.core.failure import Failure
from processor.core.frozen import frozen
from processor.core.inputs import ReplyTo, TimerKind

__all__ = (
    "Accepted",
    "ActivityTask",
    "CancelAttempt",
    "ClearTimer",
    "Closed",
    "DeadLetter",
    "Effect",
    "HeartbeatSeen",
    "Message",
    "Page",
    "Publish",
    "Refused",
    "Reply",
    "ReplyBody",
    "RunResult",
    "SetTimer",
)


@frozen
class ActivityTask:
    """One attempt to run. ``deadline_ms``: when schedule-to-close ends it, whatever happens.

    ``heartbeat_details`` are the last ones of the attempt before. The idempotency key of the
    activity is ``run_id/id``, the same for each attempt.
    """

    workflow_id: str
    run_id: str
    workflow: str
    id: int
    attempt: int
    name: str
    arguments: bytes
    queue: str
    eager: bool
    scheduled_ms: int
    start_to_close_ms: int | None
    heartbeat_ms: int | None
    deadline_ms: int | None
    heartbeat_details: bytes | None


@frozen
class CancelAttempt:
    """Stop an eager attempt; a queued one learns it from the answer to its next heartbeat."""

    run_id: str
    id: int


@frozen
class SetTimer:
    workflow_id: str
    run_id: str
    kind: TimerKind
    id: int
    attempt: int
    due_ms: int


@frozen
class ClearTimer:
    run_id: str
    kind: TimerKind
    id: int
    attempt: int
    due_ms: int


@frozen
class Message:
    """A command to the instance ``workflow_id``, on whichever shard it lives."""

    kind: str
    workflow_id: str
    name: str
    payload: bytes


@frozen
class RunResult:
    """How a run ended; a record on ``results``, exactly once."""

    workflow_id: str
    run_id: str
    workflow: str
    status: str
    result: bytes | None
    failure: Failure | None
    closed_ms: int


@frozen
class Publish:
    """``workflow.publish``: a record on a topic of the user's, exactly once."""

    topic: str
    key: bytes | None
    value: bytes


@frozen
class Accepted:
    """The command was applied. ``created`` is False where an existing run was used."""

    run_id: str
    created: bool = True


@frozen
class Refused:
    """``error`` is the name of the exception class that the client raises."""

    error: str
    message: str


@frozen
class Closed:
    run_id: str
    status: str
    result: bytes | None
    failure: Failure | None


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


@frozen
class Reply:
    to: ReplyTo
    request_id: str
    body: ReplyBody


@frozen
class DeadLetter:
    """Something that could not be used, with where it came from and why."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    reason: str


Effect: TypeAlias = (
    ActivityTask
    | CancelAttempt
    | SetTimer
    | ClearTimer
    | Message
    | RunResult
    | Publish
    | Reply
    | DeadLetter
)
