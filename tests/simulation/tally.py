"""Workflow code whose state can be written down: a tally, which goes on from snapshots.

It stands for what entities will be. Each ``add`` is an operation: it may take an activity, publish,
set a timer, and tell another tally. When one has ended, the state is all that the next one needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from processor.core.data.address import Address
from processor.core.event import Decision, Event
from processor.core.nouns.activity import ActivityCompleted, ActivityScheduled
from processor.core.nouns.call import MessageSent
from processor.core.nouns.external import EventReceived
from processor.core.nouns.record import RecordPublished
from processor.core.nouns.run import WorkflowCompleted, WorkflowStarted
from processor.core.nouns.timer import TimerStarted
from processor.core.runner import Asked, Kept, Runner, Runners

from . import deeds

__all__ = ("TALLY", "TallyRunners", "told", "total")

TALLY: Final = "tally"
_TIMER_MS: Final = 90_000


def total(numbers: Sequence[int]) -> int:
    """Return what a tally comes to."""
    return sum(2 * number if number % 3 == 0 else number for number in numbers)


def told(numbers: Sequence[int]) -> list[int]:
    """Return what a tally tells the next one of."""
    return [number for number in numbers if number % 2 == 0]


class _State(msgspec.Struct):
    """``left`` operations are to come; ``to`` is the tally that is told, if there is one."""

    left: int
    to: str
    sum: int = 0
    last_id: int = 0
    busy: int | None = None
    waiting: list[int] = []


class TallyRunner:
    def __init__(self, workflow_id: str, state: _State) -> None:
        self._workflow_id = workflow_id
        self._state = state
        self._asked: list[Asked] = []
        self._now_ms = 0

    def activate(
        self,
        now_ms: int,
        number: int,
        facts: Sequence[Event],
        recorded: Sequence[Event] | None,
    ) -> list[Asked]:
        self._asked, self._now_ms = [], now_ms
        for fact in facts:
            match fact:
                case EventReceived(name="add"):
                    self._state.waiting.append(msgspec.json.decode(fact.payload or b"0"))
                case ActivityCompleted():
                    assert fact.id == self._state.busy
                    self._state.busy = None
                    self._ended(msgspec.json.decode(fact.result or b"0"))
                case _:
                    pass
            self._go_on()
        return self._asked

    def _go_on(self) -> None:
        state = self._state
        while state.waiting and state.busy is None and state.left:
            number = state.waiting.pop(0)
            payload = b"%d" % number
            self._ask(RecordPublished("records", payload, payload))
            if number % 2 == 0 and state.to:
                to = Address(None, state.to)
                self._ask(MessageSent(to, "event", "add", "", payload))
            if number % 5 == 0:
                self._ask(TimerStarted(self._next_id(), self._now_ms + _TIMER_MS))
            if number % 3 == 0:
                state.busy = self._next_id()
                name = deeds.double.name
                self._ask(ActivityScheduled(state.busy, name, b"[%d]" % number, False))
            else:
                self._ended(number)

    def _ask(self, decision: Decision) -> None:
        self._asked.append((decision, ""))

    def _ended(self, added: int) -> None:
        state = self._state
        state.sum += added
        state.left -= 1
        if not state.left:
            self._ask(WorkflowCompleted(b"%d" % state.sum))

    def _next_id(self) -> int:
        self._state.last_id += 1
        return self._state.last_id

    def snapshot(self) -> bytes | None:
        return None if self._state.busy is not None else msgspec.json.encode(self._state)

    def unread(self) -> tuple[int, int]:
        return len(self._state.waiting), 0

    def left(self) -> list[EventReceived]:
        return []

    def waiting(self) -> list[str]:
        return []

    def undo(self, facts: Sequence[Event]) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""


class TallyRunners:
    """Knows tallies, and leaves other workflows to other runners."""

    def __init__(self, others: Runners) -> None:
        self._others = others
        self.strict = others.strict
        self.flags = others.flags
        self.defaults = others.defaults

    def start(self, workflow_id: str, run_id: str, started: WorkflowStarted, now_ms: int) -> Runner:
        if started.workflow != TALLY:
            return self._others.start(workflow_id, run_id, started, now_ms)
        left, to = msgspec.json.decode(started.arguments or b"[]")
        return TallyRunner(workflow_id, _State(left, to))

    def resume(self, workflow_id: str, run_id: str, started: WorkflowStarted, kept: Kept) -> Runner:
        if started.workflow != TALLY:
            return self._others.resume(workflow_id, run_id, started, kept)
        assert isinstance(kept, bytes), "a tally goes on from bytes"
        return TallyRunner(workflow_id, msgspec.json.decode(kept, type=_State))

    def difference(self, recorded: bytes | None, now: bytes | None) -> str:
        return self._others.difference(recorded, now)


def arguments(count: int, to: str) -> list[Any]:
    """Return what a tally of so many operations is started with."""
    return [count, to]
