"""The run itself: how it begins, what it hands on, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from processor.core.data.address import Caller
from processor.core.data.failure import Failure
from processor.core.data.fields import Reason
from processor.core.data.frozen import frozen
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.entity_id import is_entity_id
from processor.core.event import Decision, Event, Fact
from processor.core.nouns.lineage import Carried, Lineage, Plan
from processor.core.records.answers import Accepted, CallOutcome, Closed
from processor.core.records.effects import ClearTimer, Effect, RunResult, SetTimer
from processor.policy import Status

__all__ = (
    "BEGIN",
    "Closing",
    "Run",
    "RunParked",
    "RunUnparked",
    "StartSuccessor",
    "Successor",
    "Summary",
    "WorkflowCancelRequested",
    "WorkflowCancelled",
    "WorkflowCompleted",
    "WorkflowContinued",
    "WorkflowFailed",
    "WorkflowStarted",
    "WorkflowTerminated",
    "WorkflowTimedOut",
    "accepted",
)


BEGIN: Final = 0
"""The id of the timer that begins the code of a run which waits for its time."""


# --- what a run begins with -----------------------------------------------------------------------


@frozen
class WorkflowStarted(Fact):
    """The run began. The first event of every run."""

    workflow: str
    """Name of the workflow."""
    arguments: bytes | None
    """Encoded list of arguments."""
    seed: bytes
    """16 random bytes, from which everything random in the run is drawn."""
    execution_timeout_ms: int | None = None
    """How long the run may take once it begins, in milliseconds; None means no limit."""
    memo: bytes | None = None
    """Encoded value that the starter attached for people and searches."""
    headers: Headers = NO_HEADERS
    flags: tuple[str, ...] = ()
    """Behaviour that the run was begun under and stays with; a reader that does not know one of
    them cannot replay the run.
    """
    lineage: Lineage | None = None
    """Where the run comes from; None: a start of its own."""
    plan: Plan | None = None
    """How it is to be run; None: without any of that."""

    def apply(self, run: Run, now_ms: int) -> None:
        run.started = self
        run.started_ms = now_ms
        run.memo = self.memo
        if self.lineage is not None and self.lineage.carried is not None:
            run.carry(self.lineage.carried)
        if self.begins_ms is not None:
            run.begin_at(self.begins_ms)

    def effects(self, run: Run, now_ms: int) -> Sequence[Effect]:
        due_ms, begins_ms = self.deadline_ms(now_ms), self.begins_ms
        deadline = () if due_ms is None else (run.deadline(due_ms),)
        return deadline if begins_ms is None else (*deadline, run.beginning(begins_ms))

    @property
    def caller(self) -> Caller | None:
        """Who waits for the end of the run."""
        return None if self.lineage is None else self.lineage.caller

    @property
    def begins_ms(self) -> int | None:
        """When the code begins; None: at once."""
        return None if self.plan is None else self.plan.start_at_ms

    def deadline_ms(self, started_ms: int) -> int | None:
        """Return when the execution time-out ends the run: that of its chain, if it has one."""
        if self.plan is not None and self.plan.deadline_ms is not None:
            return self.plan.deadline_ms
        limit_ms = self.execution_timeout_ms
        return None if limit_ms is None else max(started_ms, self.begins_ms or 0) + limit_ms


@frozen
class Successor:
    """The run that follows. Its start is appended next; a takeover writes what is missing."""

    run_id: str
    """Id of the run, derived from the run or the request before."""
    started: WorkflowStarted
    """Its whole start."""


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

    ``started`` is how it began, with the search attributes that it has now.
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
    memo: bytes | None = None

    @property
    def workflow(self) -> str:
        return "" if self.started is None else self.started.workflow

    @property
    def attributes(self) -> bytes | None:
        """The encoded search attributes that it has now."""
        plan = None if self.started is None else self.started.plan
        return None if plan is None else plan.attributes

    @property
    def first_run_id(self) -> str:
        lineage = None if self.started is None else self.started.lineage
        first = None if lineage is None else lineage.first_run_id
        return self.run_id if first is None else first

    @property
    def caller(self) -> Caller | None:
        """Who waits for the end of the run."""
        return None if self.started is None else self.started.caller

    @property
    def deadline_ms(self) -> int | None:
        """When the execution time-out ends the run."""
        return None if self.started is None else self.started.deadline_ms(self.started_ms)

    def deadline(self, due_ms: int) -> SetTimer:
        return SetTimer(self.workflow_id, self.run_id, "execution", 0, 0, due_ms)

    def beginning(self, due_ms: int) -> SetTimer:
        """Return the timer that begins the code. The code's own timers have ids from 1 on."""
        return SetTimer(self.workflow_id, self.run_id, "timer", BEGIN, 0, due_ms)

    def begin_at(self, due_ms: int) -> None:
        """Note when the code begins."""
        raise NotImplementedError("timers are another part of the state")

    def carry(self, carried: Carried) -> None:
        """Note what a start brings along: updates, outcomes of those before, and business keys."""
        raise NotImplementedError("these are other parts of the state")

    def handed_on(self) -> Carried:
        """Return what the next run of the chain is told: the newest outcomes, and business keys."""
        raise NotImplementedError("these are other parts of the state")

    def clear(self) -> None:
        """Forget what is open: the run is closed."""
        raise NotImplementedError("what is open is another part of the state")

    def armed(self) -> Iterator[Effect]:
        """Yield what sets the tables up for a run of which only the state is left."""
        if self.deadline_ms is not None:
            yield self.deadline(self.deadline_ms)

    def told(self, caller: Caller, outcome: CallOutcome) -> Effect:
        """Return what tells another run the answer to its call."""
        raise NotImplementedError("calls are another part of the state")

    def tell(self, kind: str, name: str, outcome: CallOutcome) -> Sequence[Effect]:
        """Return what tells the runs that wait for this."""
        raise NotImplementedError("who waits is another part of the state")

    def have_heard(self, kind: str, name: str) -> None:
        """Forget the runs that were told."""
        raise NotImplementedError("who waits is another part of the state")

    def leave(self, end: RunResult) -> Iterator[Effect]:
        """Yield what tells the runs that still wait that this one has ended."""
        raise NotImplementedError("who waits is another part of the state")

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
    attributes: bytes | None = None

    def is_meant(self, run_id: str | None, first_run_id: str | None) -> bool:
        """Return whether a command that names a run, or a chain, or neither, means this one."""
        return run_id in (None, self.run_id) and first_run_id in (None, self.first_run_id)

    def accepted(self, *, created: bool = True) -> Accepted:
        """Return the answer that names this run. ``created``: whether something was changed."""
        assert self.status.is_open or self.closed_ms is not None, f"{self.run_id} has closed"
        return accepted(self, created=created)


def accepted(run: Run | Summary, *, created: bool = True) -> Accepted:
    """Return the answer that names a run. ``created``: whether something was changed."""
    first = None if run.first_run_id == run.run_id else run.first_run_id
    return Accepted(run.run_id, created, first)


# --- what happens to it ---------------------------------------------------------------------------


@frozen
class WorkflowCancelRequested(Fact):
    """Somebody asked the run to cancel itself."""

    reason: Reason

    def apply(self, run: Run, now_ms: int) -> None:
        if not is_entity_id(run.workflow_id):  # there, the operation that runs
            run.cancel_reason = self.reason


@frozen
class RunParked(Event):
    """The code met a bug or a mismatch with its history; it waits for newer code."""

    kind: str
    """What happened: bug, nondeterminism, never_ends, not_registered, not_activated (it asks for
    what the namespace's level does not have). A string, so that a new kind breaks no reader.
    """
    error: str
    """Text of the error."""
    where: str
    """File, line and source line."""
    traceback: str
    """Stack as text, for people."""

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
        effects = [*run.left(), outcome, *run.leave(outcome)]
        caller = run.caller
        if caller is not None and (successor is None or successor.started.caller != caller):
            end = Closed(run.run_id, outcome.status, result, failure, reason, headers)
            effects.append(run.told(caller, end))
        if successor is not None:
            effects.append(StartSuccessor(run.workflow_id, successor.run_id, successor.started))
        return effects


@frozen
class WorkflowCompleted(Closing, Decision):
    """The run returned. Ends the run."""

    result: bytes | None
    """Encoded return value; None where it has none."""
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
    """The run raised an error. Ends the run."""

    failure: Failure
    """The error."""
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
class WorkflowContinued(Closing, Decision):
    """The code goes on as another run: continue-as-new. Ends the run."""

    successor: Successor
    """The run that goes on."""

    identity = ("workflow",)
    payloads = ("arguments", "memo")
    ends_as = Status.CONTINUED
    moves = _moved(ends_as, Status.RUNNING)

    @property
    def workflow(self) -> str:
        """Name of the workflow that goes on."""
        return self.successor.started.workflow

    @property
    def arguments(self) -> bytes | None:
        """The arguments of the run that goes on."""
        return self.successor.started.arguments

    @property
    def memo(self) -> bytes | None:
        """The memo of the run that goes on."""
        return self.successor.started.memo

    def effects(self, run: Run, now_ms: int) -> Sequence[Effect]:
        return self._ended(run, now_ms)


@frozen
class WorkflowCancelled(Closing, Decision):
    """The code let a cancellation through. Ends the run."""

    reason: Reason
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
    """The run was ended from outside, without running its code. Ends the run."""

    reason: Reason
    successor: Successor | None = None

    ends_as = Status.TERMINATED
    moves = _moved(ends_as, Status.RUNNING, Status.PARKED)

    def apply(self, run: Run, now_ms: int) -> None:
        Closing.apply(self, run, now_ms)
        run.cancel_reason = self.reason

    def effects(self, run: Run, now_ms: int) -> Sequence[Effect]:
        return self._ended(run, now_ms, result=run.result, reason=self.reason)


@frozen
class WorkflowTimedOut(Closing):
    """The execution time-out passed. Ends the run."""

    timeout_ms: int
    """The time-out, in milliseconds."""
    successor: Successor | None = None

    ends_as = Status.TIMED_OUT
    moves = _moved(ends_as, Status.RUNNING, Status.PARKED)

    def effects(self, run: Run, now_ms: int) -> Sequence[Effect]:
        return self._ended(run, now_ms)
