"""Timers of the workflow code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from processor.core.data.frozen import frozen
from processor.core.event import Decision, Fact
from processor.core.nouns.run import Run
from processor.core.records.effects import ClearTimer, Effect, SetTimer

__all__ = ("TimerCancelled", "TimerFired", "TimerStarted", "Timers")


@dataclass
class Timers(Run):
    """``timers``: when each open one is due, by its id."""

    timers: dict[int, int] = field(default_factory=dict)

    def clear(self) -> None:
        self.timers.clear()
        super().clear()

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
    id: int
    due_ms: int

    identity = ("id",)

    def apply(self, run: Timers, now_ms: int) -> None:
        assert self.id not in run.timers, f"timer {self.id} is started once"
        run.timers[self.id] = self.due_ms

    def effects(self, run: Timers, now_ms: int) -> Sequence[Effect]:
        return (SetTimer(run.workflow_id, run.run_id, "timer", self.id, 0, self.due_ms),)


@frozen
class TimerFired(Fact):
    id: int

    def apply(self, run: Timers, now_ms: int) -> None:
        assert self.id in run.timers, f"timer {self.id} is open"
        del run.timers[self.id]

    def effects(self, run: Timers, now_ms: int) -> Sequence[Effect]:
        return (ClearTimer(run.run_id, "timer", self.id, 0, run.timers[self.id]),)


@frozen
class TimerCancelled(Decision):
    id: int

    identity = ("id",)

    def apply(self, run: Timers, now_ms: int) -> None:
        assert self.id in run.timers, f"timer {self.id} is open"
        del run.timers[self.id]

    def effects(self, run: Timers, now_ms: int) -> Sequence[Effect]:
        return (ClearTimer(run.run_id, "timer", self.id, 0, run.timers[self.id]),)
