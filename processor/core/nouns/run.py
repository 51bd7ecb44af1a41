"""The run itself: how it begins, what it hands on, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from processor.checks import ID_BYTES_MAX, TEXT_BYTES_MAX
from processor.core.data.bounds import DURATION_MS_MAX, check_range, check_text
from processor.core.data.failure import Failure
from processor.core.data.frozen import frozen
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.event import Decision, Drafting, Event, Fact
from processor.core.nouns.lineage import Lineage, Plan
from processor.core.operation import Operation, OperationOnRun
from processor.core.records.answers import Accepted, Refused, ReplyBody
from processor.core.records.effects import ClearTimer, Effect, RunResult, SetTimer
from processor.policy import CONFLICT_POLICIES, REUSE_POLICIES, Status

__all__ = (
    "CancelRun",
    "Closing",
    "Run",
    "RunParked",
    "RunUnparked",
    "StartRun",
    "StartSuccessor",
    "Successor",
    "Summary",
    "TerminateRun",
    "WorkflowCancelRequested",
    "WorkflowCancelled",
    "WorkflowCompleted",
    "WorkflowFailed",
    "WorkflowStarted",
    "WorkflowTerminated",
    "WorkflowTimedOut",
)


# --- what a run begins with -----------------------------------------------------------------------


@frozen
class WorkflowStarted(Fact):
    """The first event of every run.

    ``seed`` are 16 random bytes: whatever is random in the run is drawn from them. ``flags`` name
    behaviour that the run was begun under and stays with.
    """

    workflow: str
    arguments: bytes | None
    seed: bytes
    execution_timeout_ms: int | None = None
    memo: bytes | None = None
    headers: Headers = NO_HEADERS
    flags: tuple[str, ...] = ()
    lineage: Lineage | None = None
    plan: Plan | None = None

    def apply(self, run: Run, now_ms: int) -> None:
        run.started = self
        run.started_ms = now_ms

    def effects(self, run: Run, now_ms: int) -> Sequence[Effect]:
        limit_ms = self.execution_timeout_ms
        return () if limit_ms is None else (run.deadline(now_ms + limit_ms),)


@frozen
class Successor:
    """The run that follows a closed one, with its whole start: it is appended next."""

    run_id: str
    started: WorkflowStarted


@frozen
class StartSuccessor(Effect):
    """The run that follows a closed one: its start is the next record of the log."""

    workflow_id: str
    run_id: str
    started: WorkflowStarted


# --- the state ------------------------------------------------------------------------------------


@dataclass
class Run:
    """What every noun's part of the state builds on.

    ``events`` counts the history, so it is the number of the next event. ``base`` is the number of
    the event with which replay begins: that of the last snapshot.
    """

    workflow_id: str
    run_id: str
    started: WorkflowStarted | None = None
    status: Status = Status.RUNNING
    started_ms: int = 0
    updated_ms: int = 0
    closed_ms: int | None = None
    events: int = 0
    cancel_reason: str | None = None
    result: bytes | None = None
    failure: Failure | None = None
    parked: RunParked | None = None
    successor: str | None = None
    base: int = 0

    @property
    def workflow(self) -> str:
        return "" if self.started is None else self.started.workflow

    @property
    def first_run_id(self) -> str:
        lineage = None if self.started is None else self.started.lineage
        first = None if lineage is None else lineage.first_run_id
        return self.run_id if first is None else first

    @property
    def deadline_ms(self) -> int | None:
        """When the execution time-out ends the run."""
        limit_ms = None if self.started is None else self.started.execution_timeout_ms
        return None if limit_ms is None else self.started_ms + limit_ms

    def deadline(self, due_ms: int) -> SetTimer:
        return SetTimer(self.workflow_id, self.run_id, "execution", 0, 0, due_ms)

    def clear(self) -> None:
        """Forget what is open: the run is closed."""

    def armed(self) -> Iterator[Effect]:
        """Yield what sets the tables up for a run of which only the state is left."""
        if self.deadline_ms is not None:
            yield self.deadline(self.deadline_ms)

    def left(self) -> Iterator[Effect]:
        """Yield what ends with the run."""
        if self.deadline_ms is not None:
            yield ClearTimer(self.run_id, "execution", 0, 0, self.deadline_ms)


def _moved(to: Status, *before: Status) -> Mapping[Status, Status]:
    return dict.fromkeys(before, to)


@frozen
class Summary:
    """A row of the ``runs`` table: what is known of a run without replaying it.

    ``successor`` is the run that follows it. ``base`` is the event with which replay begins.
    ``purged_ms``: when its history was given up.
    """

    workflow_id: str
    run_id: str
    first_run_id: str
    workflow: str
    status: Status
    started_ms: int
    updated_ms: int
    closed_ms: int | None
    events: int
    custom_status: bytes | None
    cancel_reason: str | None
    result: bytes | None
    failure: Failure | None
    parked: RunParked | None
    memo: bytes | None
    successor: str | None = None
    base: int = 0
    purged_ms: int | None = None

    def is_meant(self, run_id: str | None, first_run_id: str | None) -> bool:
        """Return whether a command that names a run, or a chain, or neither, means this one."""
        return run_id in (None, self.run_id) and first_run_id in (None, self.first_run_id)

    def accepted(self, *, created: bool = True) -> Accepted:
        """Return the answer that names this run. ``created``: whether something was changed."""
        assert self.status.is_open or self.closed_ms is not None, f"{self.run_id} has closed"
        first = None if self.first_run_id == self.run_id else self.first_run_id
        return Accepted(self.run_id, created, first)


# --- what happens to it ---------------------------------------------------------------------------


@frozen
class WorkflowCancelRequested(Fact):
    reason: str

    def apply(self, run: Run, now_ms: int) -> None:
        run.cancel_reason = self.reason


@frozen
class RunParked(Event):
    """The code met a bug or a mismatch. Facts are kept; the code is run again by newer code.

    ``kind``: "bug", "nondeterminism", "never_ends", "not_registered", or "not_activated" (it asks
    for what the namespace's level does not have yet). ``where``: file, line and source.
    """

    kind: str
    error: str
    where: str
    traceback: str

    moves = _moved(Status.PARKED, Status.RUNNING)
    wakes_code = False

    def apply(self, run: Run, now_ms: int) -> None:
        assert run.parked is None, f"run {run.run_id} is parked already"
        run.parked = self


@frozen
class RunUnparked(Event):
    """Code that gets further than the parked one took the run up again."""

    moves = _moved(Status.RUNNING, Status.PARKED)
    wakes_code = False

    def apply(self, run: Run, now_ms: int) -> None:
        assert run.parked is not None, f"run {run.run_id} is not parked"
        run.parked = None


# --- how it ends ----------------------------------------------------------------------------------


class Closing(Event):
    """Ends a run; exactly one does, and it is the last event. ``ends_as``: the status after it."""

    __slots__ = ()

    ends_as: ClassVar[Status]
    successor: Successor | None

    def apply(self, run: Run, now_ms: int) -> None:
        assert run.status is self.ends_as, f"{self} ends no run as {run.status.value}"
        assert run.successor is None, f"run {run.run_id} has one successor"
        run.closed_ms = now_ms
        run.parked = None
        run.clear()
        run.successor = None if self.successor is None else self.successor.run_id

    def _ended(
        self,
        run: Run,
        now_ms: int,
        result: bytes | None = None,
        failure: Failure | None = None,
        reason: str | None = None,
        headers: Headers = NO_HEADERS,
    ) -> list[Effect]:
        """Return what leaves at an end with this outcome."""
        successor = self.successor
        outcome = RunResult(
            run.workflow_id,
            run.run_id,
            run.first_run_id,
            run.workflow,
            self.ends_as.value,
            result,
            failure,
            reason,
            now_ms,
            None if successor is None else successor.run_id,
            headers,
        )
        effects = [*run.left(), outcome]
        if successor is not None:
            effects.append(StartSuccessor(run.workflow_id, successor.run_id, successor.started))
        return effects


@frozen
class WorkflowCompleted(Closing, Decision):
    result: bytes | None
    headers: Headers = NO_HEADERS
    successor: Successor | None = None

    payloads = ("result",)
    ends_as = Status.COMPLETED
    moves = _moved(ends_as, Status.RUNNING)

    def apply(self, run: Run, now_ms: int) -> None:
        Closing.apply(self, run, now_ms)
        assert run.failure is None, f"run {run.run_id} completes or fails"
        run.result = self.result

    def effects(self, run: Run, now_ms: int) -> Sequence[Effect]:
        return self._ended(run, now_ms, result=self.result, headers=self.headers)


@frozen
class WorkflowFailed(Closing, Decision):
    failure: Failure
    headers: Headers = NO_HEADERS
    successor: Successor | None = None

    ends_as = Status.FAILED
    moves = _moved(ends_as, Status.RUNNING)

    def apply(self, run: Run, now_ms: int) -> None:
        Closing.apply(self, run, now_ms)
        assert run.result is None, f"run {run.run_id} completes or fails"
        run.failure = self.failure

    def effects(self, run: Run, now_ms: int) -> Sequence[Effect]:
        return self._ended(run, now_ms, failure=self.failure, headers=self.headers)


@frozen
class WorkflowCancelled(Closing, Decision):
    reason: str
    successor: Successor | None = None

    ends_as = Status.CANCELLED
    moves = _moved(ends_as, Status.RUNNING)

    def apply(self, run: Run, now_ms: int) -> None:
        Closing.apply(self, run, now_ms)
        run.cancel_reason = self.reason

    def effects(self, run: Run, now_ms: int) -> Sequence[Effect]:
        return self._ended(run, now_ms, reason=self.reason)


@frozen
class WorkflowTerminated(Closing):
    reason: str
    successor: Successor | None = None

    ends_as = Status.TERMINATED
    moves = _moved(ends_as, Status.RUNNING, Status.PARKED)

    def apply(self, run: Run, now_ms: int) -> None:
        Closing.apply(self, run, now_ms)
        run.cancel_reason = self.reason

    def effects(self, run: Run, now_ms: int) -> Sequence[Effect]:
        return self._ended(run, now_ms, reason=self.reason)


@frozen
class WorkflowTimedOut(Closing):
    timeout_ms: int
    successor: Successor | None = None

    ends_as = Status.TIMED_OUT
    moves = _moved(ends_as, Status.RUNNING, Status.PARKED)

    def effects(self, run: Run, now_ms: int) -> Sequence[Effect]:
        return self._ended(run, now_ms)


# --- what may be asked of it ----------------------------------------------------------------------


@frozen
class StartRun(Operation):
    """Start a workflow under the command's workflow id. ``reuse`` and ``conflict``: see policy.

    With ``result_within_ms``, who starts a run hears of its end and not of its start, if it ends
    within so long. Whoever asks again meanwhile hears that it has started.
    """

    workflow: str
    arguments: bytes | None = None
    reuse: str = "allow"
    conflict: str = "fail"
    execution_timeout_ms: int | None = None
    memo: bytes | None = None
    headers: Headers = NO_HEADERS
    result_within_ms: int | None = None

    json = "start"
    choices = MappingProxyType({"reuse": REUSE_POLICIES, "conflict": CONFLICT_POLICIES})
    not_json = ("result_within_ms",)

    def check(self) -> None:
        check_text("name of the workflow", self.workflow, ID_BYTES_MAX)
        check_range("execution_timeout_ms", self.execution_timeout_ms, 1, DURATION_MS_MAX)
        check_range("result_within_ms", self.result_within_ms, 0, DURATION_MS_MAX)

    def refusal(self, workflow_id: str, latest: Summary | None) -> Refused | None:
        """Return why there can be no run, from what is known of the latest one of the id."""
        for field, choices in self.choices.items():
            if (given := getattr(self, field)) not in choices:
                words = f"{', '.join(choices[:-1])} or {choices[-1]}"
                reason = f"unknown id {field} policy {given!r}: it is {words}"
                return Refused("CommandRejected", reason)
        if latest is None:
            return None
        which = f"run {latest.run_id} ({latest.status.value})"
        taken = f"workflow id {workflow_id!r} is taken by {which}"
        if latest.status.is_open:
            if self.conflict == "fail" and self.reuse != "use-existing":
                return Refused("WorkflowAlreadyStarted", f"{taken}; conflict policy is 'fail'")
        elif self.reuse == "reject":
            return Refused("WorkflowAlreadyStarted", f"{taken}; reuse policy is 'reject'")
        elif self.reuse == "allow-failed" and latest.status is Status.COMPLETED:
            return Refused("WorkflowAlreadyStarted", f"{taken}; reuse policy is 'allow-failed'")
        return None

    def uses(self, latest: Summary) -> bool:
        """Return whether it is answered with the run that has the id, open or closed."""
        if not latest.status.is_open or self.conflict == "fail":
            return self.reuse == "use-existing"
        return self.conflict == "use-existing"


@frozen
class CancelRun(OperationOnRun):
    reason: str = ""
    run_id: str | None = None
    first_run_id: str | None = None

    json = "cancel"

    def check(self) -> None:
        check_text("reason", self.reason, TEXT_BYTES_MAX, least=0)

    def decide(self, draft: Drafting, latest: Summary) -> ReplyBody | None:
        if draft.run.cancel_reason is None:
            draft.advance(WorkflowCancelRequested(self.reason))
        return None


@frozen
class TerminateRun(OperationOnRun):
    reason: str = ""
    run_id: str | None = None
    first_run_id: str | None = None

    json = "terminate"

    def check(self) -> None:
        check_text("reason", self.reason, TEXT_BYTES_MAX, least=0)

    def decide(self, draft: Drafting, latest: Summary) -> ReplyBody | None:
        draft.add(WorkflowTerminated(self.reason))
        return None
