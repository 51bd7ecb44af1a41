"""Timers of the workflow code, and the one that begins it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from processor.core.data.fields import OnlyChain, OnlyRun, RequestId
from processor.core.data.frozen import frozen
from processor.core.event import Decision, Drafting, Fact
from processor.core.nouns.run import BEGIN, Run, Summary
from processor.core.operation import OperationOnRun
from processor.core.records.answers import Refused, ReplyBody
from processor.core.records.effects import ClearTimer, Effect, SetTimer

__all__ = ("OpenTimers", "StartNow", "TimerCancelled", "TimerFired", "TimerStarted")


@dataclass
class OpenTimers(Run):
    """``timers``: when each open one is due, by its id."""

    timers: dict[int, int] = field(default_factory=dict)

    def begin_at(self, due_ms: int) -> None:
        self.timers[BEGIN] = due_ms

    def armed(self) -> Iterator[Effect]:
        yield from super().armed()
        for id, due_ms in self.timers.items():
            yield SetTimer(self.workflow_id, self.run_id, "timer", id, 0, due_ms)

    def left(self) -> Iterator[Effect]:
        for id, due_ms in self.timers.items():
            yield ClearTimer(self.run_id, "timer", id, 0, due_ms)
        yield from super().left()


@frozen
class TimerStarted(Decision):
    """The code asked to be woken at a time."""

    id: RequestId
    due_ms: int
    """When it is due, in milliseconds since the epoch."""

    identity = ("id",)

    def apply(self, run: OpenTimers, now_ms: int) -> None:
        assert self.id not in run.timers, f"timer {self.id} is started once"
        run.timers[self.id] = self.due_ms

    def effects(self, run: OpenTimers, now_ms: int) -> Sequence[Effect]:
        return (SetTimer(run.workflow_id, run.run_id, "timer", self.id, 0, self.due_ms),)


@frozen
class TimerFired(Fact):
    """A timer of the code came due."""

    id: RequestId

    def apply(self, run: OpenTimers, now_ms: int) -> None:
        assert self.id in run.timers, f"timer {self.id} is open"
        del run.timers[self.id]

    def effects(self, run: OpenTimers, now_ms: int) -> Sequence[Effect]:
        return (ClearTimer(run.run_id, "timer", self.id, 0, run.timers[self.id]),)


@frozen
class TimerCancelled(Decision):
    """The code gave a timer up."""

    id: RequestId

    identity = ("id",)

    def apply(self, run: OpenTimers, now_ms: int) -> None:
        assert self.id in run.timers, f"timer {self.id} is open"
        del run.timers[self.id]

    def effects(self, run: OpenTimers, now_ms: int) -> Sequence[Effect]:
        return (ClearTimer(run.run_id, "timer", self.id, 0, run.timers[self.id]),)


@frozen
class StartNow(OperationOnRun):
    """Let the code of a run begin that waits for its time."""

    run_id: OnlyRun = None
    first_run_id: OnlyChain = None

    word = "start-now"

    def decide(self, draft: Drafting, latest: Summary) -> ReplyBody | None:
        if BEGIN not in draft.run.timers:
            return self._refused(latest, "its code has begun")
        draft.advance(TimerFired(BEGIN))
        return None

    def when_closed(self, latest: Summary) -> ReplyBody:
        return self._refused(latest, f"it is {latest.status.value}")

    def _refused(self, run: Summary, why: str) -> Refused:
        which = f"run {run.run_id} of {run.workflow_id!r} does not wait for its time"
        return Refused("CommandRejected", f"{which}: {why}")
