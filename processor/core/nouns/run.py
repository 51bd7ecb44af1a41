"""The run itself: how it begins, what it hands on, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from processor.core.address import Caller, RunRef
from processor.core.effects import ClearTimer, Effect, RunResult, SetTimer
from processor.core.event import Decision, Event, Fact
from processor.core.failure import Failure
from processor.core.frozen import frozen
from processor.core.headers import NO_HEADERS, Headers
from processor.core.nouns.external import EventReceived
from processor.policy import Status

__all__ = (
    "Carried",
    "Closing",
    "Correlation",
    "Lineage",
    "Plan",
    "RetryOptions",
    "Run",
    "RunParked",
    "RunUnparked",
    "StartSuccessor",
    "Successor",
    "UpdateOutcome",
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
class Correlation:
    """A business key that a run holds."""

    name: str
    key: str


@frozen
class UpdateOutcome:
    """An update that was accepted, and what came of it once it is ``over``."""

    id: str
    name: str
    payload: bytes | None
    over: bool
    result: bytes | None = None
    failure: Failure | None = None


@frozen
class Carried:
    """What a run hands on to the next one of its chain."""

    events: tuple[EventReceived, ...] = ()
    updates: tuple[UpdateOutcome, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    keys: tuple[str, ...] = ()


@frozen
class Lineage:
    """Where a run comes from. ``first_run_id`` None: it is the first one of its chain."""

    first_run_id: str | None = None
    previous_run_id: str | None = None
    attempt: int = 1
    previous_result: bytes | None = None
    previous_failure: Failure | None = None
    parent: RunRef | None = None
    root: RunRef | None = None
    caller: Caller | None = None
    carried: Carried | None = None


@frozen
class RetryOptions:
    """When a failed run is followed by another one. Durations are in milliseconds."""

    initial_interval_ms: int
    coefficient: float
    maximum_interval_ms: int
    maximum_attempts: int | None = None
    non_retryable: tuple[str, ...] = ()


@frozen
class Plan:
    """How a run is to be run beyond its first turn; None everywhere means: as it comes."""

    version: int | None = None
    retry: RetryOptions | None = None
    cron: str | None = None
    start_at_ms: int | None = None
    deadline_ms: int | None = None
    attributes: bytes | None = None


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
        run.parked = self


@frozen
class RunUnparked(Event):
    """Code that gets further than the parked one took the run up again."""

    moves = _moved(Status.RUNNING, Status.PARKED)
    wakes_code = False

    def apply(self, run: Run, now_ms: int) -> None:
        run.parked = None


# --- how it ends ----------------------------------------------------------------------------------


class Closing(Event):
    """Ends a run; exactly one does, and it is the last event. ``ends_as``: the status after it."""

    __slots__ = ()

    ends_as: ClassVar[Status]
    successor: Successor | None

    def apply(self, run: Run, now_ms: int) -> None:
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
