"""Effects: what leaves a shard because of a turn, once the log has acknowledged the turn.

Derived from what stands in the log alone, so that a new owner derives them again.
"""

from __future__ import annotations

from dataclasses import field

from processor.core.data.address import Caller, ReplyTo
from processor.core.data.failure import Failure
from processor.core.data.frozen import frozen
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.inputs import TimerKind
from processor.core.operation import Operation
from processor.core.records.answers import ReplyBody

__all__ = (
    "ActivityTask",
    "CancelAttempt",
    "ClearTimer",
    "DeadLetter",
    "Effect",
    "Forget",
    "Message",
    "Publish",
    "Reply",
    "RunResult",
    "SetTimer",
)


class Effect:
    __slots__ = ()


@frozen
class ActivityTask(Effect):
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
    arguments: bytes | None
    queue: str
    eager: bool
    scheduled_ms: int
    start_to_close_ms: int | None
    heartbeat_ms: int | None
    deadline_ms: int | None
    heartbeat_details: bytes | None = None
    headers: Headers = NO_HEADERS


@frozen
class CancelAttempt(Effect):
    """Stop an eager attempt; a queued one learns it from the answer to its next heartbeat."""

    run_id: str
    id: int


@frozen
class SetTimer(Effect):
    workflow_id: str
    run_id: str
    kind: TimerKind
    id: int
    attempt: int
    due_ms: int


@frozen
class ClearTimer(Effect):
    run_id: str
    kind: TimerKind
    id: int
    attempt: int
    due_ms: int


@frozen
class Message(Effect):
    """A command to the instance ``workflow_id``, on whichever shard it lives."""

    workflow_id: str
    body: Operation
    caller: Caller | None = None


@frozen
class Forget(Effect):
    """What this key of the log holds has been replaced: it may be deleted."""

    key: bytes


@frozen
class RunResult(Effect):
    """How a run ended; a record on ``results``, exactly once."""

    workflow_id: str
    run_id: str
    first_run_id: str
    workflow: str
    status: str
    result: bytes | None
    failure: Failure | None
    reason: str | None
    closed_ms: int
    successor_run_id: str | None = None
    headers: Headers = NO_HEADERS


@frozen
class Publish(Effect):
    """``workflow.publish``: a record on a topic of the user's, exactly once.

    ``workflow_id`` and ``run_id`` say whose it is, where it cannot be delivered.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = NO_HEADERS
    workflow_id: str = field(default="", compare=False)
    run_id: str = field(default="", compare=False)


@frozen
class Reply(Effect):
    to: ReplyTo
    body: ReplyBody


@frozen
class DeadLetter(Effect):
    """Something that could not be used, with where it came from and why."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    reason: str
