"""What is looked for while a test waits, so that no wait lasts for ever, and what is said then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from processor.client.descriptions import RunDescription, hindrances, standing
from processor.core.records.effects import ActivityTask, RunResult
from processor.http.calling import MISSING
from processor.readable import readable
from processor.simulation.partitions import Output
from processor.testing.errors import ActivityNotRegistered, NoEndInSight, NothingLeft
from processor.workflow._nouns.http import HTTP

__all__ = (
    "Bounds",
    "Watch",
    "looping",
    "nothing_left",
    "retried",
    "tried_again",
    "unregistered",
    "where_it_stands",
)

_LISTED_MAX = 50


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one wait may let happen: attempts of one activity, or runs of one chain, that
    fail, and steps of the world.
    """

    attempts_max: int
    steps_max: int


@dataclass(slots=True)
class Watch:
    """One wait. ``end`` is called once, as soon as it is known that the wait comes to nothing.

    ``awaited`` is the workflow id that is waited for (None: a sleep, which retries do not
    prolong). ``outputs`` is what the shard publishes, ends of runs among it. ``steps`` are those of
    the world, ``is_stuck`` says whether the run waits for code. ``task`` is the attempt too many
    that ended the wait, ``run`` the run too many, ``nothing``: nothing is left to happen.
    """

    bounds: Bounds
    awaited: str | None
    known: Callable[[str], object]
    outputs: Sequence[Output]
    steps: Callable[[], int]
    is_stuck: Callable[[], bool]
    end: Callable[[], None]
    ended: bool = False
    task: ActivityTask | None = None
    run: RunResult | None = None
    nothing: bool = False
    _retries: Counter[tuple[str, int]] = field(default_factory=Counter)
    _failed: Counter[str] = field(default_factory=Counter)
    _seen: int = 0
    _steps_end: int = 0

    def __post_init__(self) -> None:
        self._seen = len(self.outputs)
        self._steps_end = self.steps() + self.bounds.steps_max

    def look(self, nothing_left: bool) -> None:
        """End the wait for what cannot come. ``nothing_left``: nothing can happen any more."""
        self.nothing = nothing_left and self.awaited is not None
        if self.nothing or self.steps() > self._steps_end or self.is_stuck():
            self._end()
        elif self.awaited is not None:
            self._look_at_chains()

    def _look_at_chains(self) -> None:
        """End the wait at a run too many that failed, and that another one follows."""
        for _, _, record in self.outputs[self._seen :]:
            if isinstance(record, RunResult) and record.status == "failed":
                if record.successor_run_id is not None:
                    self._failed[record.first_run_id] += 1
                    if self._failed[record.first_run_id] >= self.bounds.attempts_max:
                        self.run = record
                        self._end()
        self._seen = len(self.outputs)

    def attempt_begins(self, task: ActivityTask) -> None:
        """End the wait for a run that calls what is not there, or at an attempt too many."""
        if self.awaited is None or self.ended:
            return
        if task.workflow_id == self.awaited and self.known(task.name) is None:
            self._end()
        elif task.attempt > 1:
            self._retries[task.run_id, task.id] += 1
            if self._retries[task.run_id, task.id] >= self.bounds.attempts_max:
                self.task = task
                self._end()

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self.end()


def unregistered(task: ActivityTask, registered: Iterable[str]) -> ActivityNotRegistered:
    """Return what is raised for a call of an activity that the environment does not have."""
    known = sorted(map(readable, registered))
    listed = ", ".join(known[:_LISTED_MAX]) + (", ..." if len(known) > _LISTED_MAX else "")
    remedy = f"Register it: Environment(activities=[{readable(task.name)}])"
    if task.name == HTTP:  # nobody registers it: it is there where httpx is
        remedy = MISSING
    return ActivityNotRegistered(
        f"workflow {task.workflow!r} (run {task.run_id} of {task.workflow_id!r}) calls activity "
        f"{task.name!r}, which is not registered in this environment. {remedy}, or let a function "
        f"stand in for it: Environment(mocks={{{task.name!r}: function}}). Registered are: "
        f"{listed or 'none'}"
    )


def retried(task: ActivityTask, run: RunDescription, attempts_max: int) -> NoEndInSight:
    """Return what is raised when one activity was tried too often in one wait."""
    error = "not known any more: the activity is over"
    for activity in run.pending.get("activities", ()):
        if activity["id"] == task.id and (failure := activity["last_failure"]):
            error = f"{failure['type']}: {failure['message']}"
    return NoEndInSight(
        f"activity {task.name!r} of run {task.run_id} of {task.workflow_id!r} has failed in all of "
        f"{attempts_max:,} attempts, and its retries have no end in sight. Its last error is "
        f"{error}. Let the activity or its mock succeed, or end its retries: "
        "RetryPolicy(maximum_attempts=...) or schedule_to_close=...; for more attempts in one "
        "wait, Environment(attempts_max=...)"
    )


def tried_again(run: RunResult, attempts_max: int) -> NoEndInSight:
    """Return what is raised when the runs of one chain failed too often in one wait."""
    failure = run.failure
    assert failure is not None, "a run that failed says why"
    return NoEndInSight(
        f"workflow {run.workflow!r} of {run.workflow_id!r} has failed in all of {attempts_max:,} "
        f"runs in one wait (its first run is {run.first_run_id}, the last of these is "
        f"{run.run_id}), and its retries have no end in sight. Its last error is {failure.type}: "
        f"{failure.message}. Let the workflow succeed, or end its retries: "
        "retry=RetryPolicy(maximum_attempts=...) or execution_timeout=...; for more runs in one "
        "wait, Environment(attempts_max=...)"
    )


def looping(steps_max: int, now: datetime, what: str) -> NoEndInSight:
    """Return what is raised when too much happened in one wait."""
    return NoEndInSight(
        f"{what} after {steps_max:,} steps in one wait, at {now.isoformat()} of virtual time. "
        "Does its code loop without an end? Send what ends it, bound the wait with within=..., "
        "or allow more steps in one wait with Environment(steps_max=...)"
    )


def nothing_left(run: RunDescription) -> NothingLeft:
    """Return what is raised when nothing can happen any more."""
    return NothingLeft(
        f"{where_it_stands(run)}, and nothing is left that could wake it: no timer, no activity. "
        "Send what it waits for (raise_event; complete, for an activity that was left open), or "
        "give it a time-out"
    )


def where_it_stands(run: RunDescription) -> str:
    """Return which run it is, what it is doing, and what keeps it from going on."""
    stands = standing(run)
    held_up = () if run.parked else hindrances(run, now_ms=0)
    more = "".join(f"; {text}" for text in held_up if text not in stands)
    return f"run {run.run_id} of {run.workflow_id!r} {stands.removeprefix('it ')}{more}"
