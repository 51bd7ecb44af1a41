"""Effects: what leaves a shard because of a turn, once the log has acknowledged the turn.

Derived from what stands in the log alone, so that a new owner derives them again.
"""

from __future__ import annotations

from dataclasses import field

from processor.core.data.address import Caller, ReplyTo
from processor.core.data.failure import Failure
from processor.core.data.fields import Attempt, Int32, RequestId, RunId
from processor.core.data.frozen import frozen
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.inputs import TimerKind
from processor.core.operation import Request
from processor.core.records.answers import Closed, ReplyBody
from processor.policy import Status

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
    """One attempt of an activity to run: one record of an activities topic. The idempotency key of
    the activity is run_id/id, the same for each attempt.
    """

    workflow_id: str
    """The instance that asked for it."""
    run_id: str
    """The run that asked for it."""
    workflow: str
    """Name of the workflow, for logs and metrics."""
    id: RequestId
    attempt: Attempt
    name: str
    """Name of the activity."""
    arguments: bytes | None
    """Encoded list of arguments."""
    queue: str
    """Queue that it was sent to."""
    eager: bool
    """Whether it runs in the process that owns the shard."""
    scheduled_ms: int
    """When this attempt was scheduled, in milliseconds since the epoch."""
    start_to_close_ms: int | None
    """How long the attempt may run, in milliseconds."""
    heartbeat_ms: int | None
    """How long the attempt may be silent, in milliseconds."""
    deadline_ms: int | None
    """When schedule-to-close ends it, whatever happens, in milliseconds since the epoch."""
    heartbeat_details: bytes | None = None
    """Encoded details of the last heartbeat of the attempt before."""
    headers: Headers = NO_HEADERS


@frozen
class CancelAttempt(Effect):
    """Stop an eager attempt; a queued one learns it from the answer to its next heartbeat.

    ``waits``: its run waits until it has stopped, and takes its outcome.
    """

    run_id: str
    id: int
    waits: bool = False


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
    """A command to the instance ``workflow_id``, on whichever shard it lives.

    ``namespace``: that of the instance; None means the sender's own.
    """

    workflow_id: str
    body: Request
    caller: Caller | None = None
    namespace: str | None = None


@frozen
class Forget(Effect):
    """What this key of the log holds has been replaced: it may be deleted."""

    key: bytes


@frozen
class RunResult(Effect):
    """How a run ended: one record of the results topic, keyed by workflow id, exactly once."""

    workflow_id: str
    """The instance; the key of the record."""
    run_id: RunId
    first_run_id: str
    """First run of its chain."""
    workflow: str
    """Name of the workflow."""
    status: str
    """How the run ended: completed, failed, cancelled, terminated, timed_out, continued. A string,
    so that a new status breaks no consumer.
    """
    result: bytes | None
    """Encoded return value of a completed run, or output of a terminated one; None where it has
    none.
    """
    failure: Failure | None
    """Why the run failed."""
    reason: str | None
    """Why it was cancelled or terminated."""
    closed_ms: int
    """When it ended, in milliseconds since the epoch."""
    successor_run_id: str | None = None
    """Run that follows it; None: none does."""
    headers: Headers = NO_HEADERS

    def told(self) -> Closed:
        """Return what whoever waits for the end is told."""
        why = self.successor_run_id if self.status == Status.CONTINUED else self.reason
        return Closed(self.run_id, self.status, self.result, self.failure, why, self.headers)


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
    """An answer to whoever asked: one record of the replies topic, keyed by client id."""

    to: ReplyTo
    """Who asked."""
    body: ReplyBody


@frozen
class DeadLetter(Effect):
    """Something that could not be used, with where it came from and why: one record of the
    dead-letters topic.
    """

    topic: str
    """Topic that it was read from, without the namespace."""
    partition: Int32
    """Partition of that topic; -1 where it is not known."""
    offset: int
    """Offset in that partition; -1 where it is not known."""
    key: bytes | None
    """Key of the record."""
    value: bytes | None
    """Value of the record."""
    reason: str
    """Why it could not be used."""
