"""Timers of the workflow code, the one that begins it, and those of delayed signals.

A delayed signal is of an entity: it is kept until it is due, and arrives then as any other does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from processor.checks import TIME_MS_MAX
from processor.core.data.address import Caller
from processor.core.data.bounds import check_range
from processor.core.data.fields import OnlyChain, OnlyRun, RequestId
from processor.core.data.frozen import frozen
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.entity_id import is_entity_id
from processor.core.event import Decision, Drafting, Event, Fact
from processor.core.nouns.external import EventReceived, RaiseEvent
from processor.core.nouns.run import BEGIN, Run, Summary
from processor.core.operation import OperationOnRun
from processor.core.records.answers import Refused, ReplyBody
from processor.core.records.effects import ClearTimer, Effect, SetTimer

__all__ = (
    "EventDelayed",
    "OpenTimers",
    "RaiseEventAt",
    "StartNow",
    "TimerCancelled",
    "TimerFired",
    "TimerStarted",
)

_DELAYED: Final = 1 << 52
"""The timer of a delayed signal has this id and the number of its event: no code has so many."""


@dataclass
class OpenTimers(Run):
    """``timers``: when each open one is due, by its id. ``delayed``: the signals of some."""

    timers: dict[int, int] = field(default_factory=dict)
    delayed: dict[int, EventDelayed] = field(default_factory=dict)
    delayed_bytes: int = 0

    def delay(self, signal: EventDelayed) -> None:
        """Keep a signal until its timer fires."""
        assert signal.id not in self.delayed, f"signal {signal.id} is delayed once"
        self.delayed[signal.id] = signal
        self.delayed_bytes += signal.event.size

    def fired(self, id: int) -> Sequence[Fact]:
        """Return what happens when a timer comes due."""
        signal = self.delayed.get(id)
        return (TimerFired(id),) if signal is None else (TimerFired(id), signal.event)

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
        signal = run.delayed.pop(self.id, None)
        if signal is not None:
            run.delayed_bytes -= signal.event.size

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
class EventDelayed(Fact):
    """A delayed signal arrived. It is an EventReceived when its timer fires."""

    id: RequestId
    """Id of its timer: 2**52, and the number of this event in the history."""
    due_ms: int
    """When it is due, in milliseconds since the epoch."""
    name: str
    """Name of the operation."""
    payload: bytes | None = None
    """Encoded arguments; None where it has none."""
    headers: Headers = NO_HEADERS

    @property
    def event(self) -> EventReceived:
        """What arrives when it is due."""
        return EventReceived(self.name, self.payload, self.headers)

    def apply(self, run: OpenTimers, now_ms: int) -> None:
        run.timers[self.id] = self.due_ms
        run.delay(self)

    def effects(self, run: OpenTimers, now_ms: int) -> Sequence[Effect]:
        return (SetTimer(run.workflow_id, run.run_id, "timer", self.id, 0, self.due_ms),)


@frozen
class RaiseEventAt(RaiseEvent):
    """Send a signal that is kept until a time. Only an entity takes it."""

    due_ms: int = 0
    """When it is due, in milliseconds since the epoch."""

    by_hand = False

    def check(self) -> None:
        RaiseEvent.check(self)
        check_range("due_ms", self.due_ms, 0, TIME_MS_MAX)

    def _fact(self, number: int, now_ms: int) -> Fact:
        """Return what its arrival is, as the event of that number in the history."""
        if self.due_ms <= now_ms:
            return EventReceived(self.name, self.payload, self.headers)
        id = _DELAYED + number
        return EventDelayed(id, self.due_ms, self.name, self.payload, self.headers)

    def refusal(self, workflow_id: str, caller: Caller | None) -> Refused | None:
        if is_entity_id(workflow_id):
            return None
        reason = f"{workflow_id!r} is no entity, and only entities take delayed signals"
        return Refused("CommandRejected", f"{reason}. Let the sender wait")

    def begins_with(self, caller: Caller | None, now_ms: int) -> Sequence[Event]:
        return (self._fact(1, now_ms),)

    def _received(self, draft: Drafting) -> Fact:
        return self._fact(draft.run.events, draft.now_ms)


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
