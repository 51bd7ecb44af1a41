"""A tiny world around one runner: it answers activities and timers in a seeded random order.

Every turn is kept as (time, number, facts, decisions), so that a run can be replayed against a
fresh runner, which has to ask for exactly the same again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from processor.codec.payloads import JsonPayloads
from processor.config import Settings
from processor.core.data.failure import Failure
from processor.core.event import Decision, Event
from processor.core.nouns.activity import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
)
from processor.core.nouns.external import EventReceived
from processor.core.nouns.run import (
    WorkflowCancelled,
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
)
from processor.core.nouns.timer import TimerCancelled, TimerFired, TimerStarted
from processor.core.nouns.value import SideEffectRecorded
from processor.core.runner import Asked
from processor.injection.interceptors import Injected
from processor.registry import Registry
from processor.workflow import Workflow
from processor.workflow._engine.runner import WorkflowRunner
from processor.workflow._engine.runners import WorkflowRunners

START_MS = 1_700_000_000_000
SEED = bytes(range(16))
PAYLOADS = JsonPayloads()

Answer = Callable[..., Any]


@dataclass
class Turn:
    """``number`` is that of its first event in the history of the run."""

    now_ms: int
    number: int
    facts: list[Event]
    asked: list[Asked]


@dataclass
class World:
    """One run. ``answers``: activity name -> its result, or a Failure, from its arguments."""

    workflow: Workflow[..., Any]
    arguments: tuple[Any, ...] = ()
    answers: dict[str, Answer] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    now_ms: int = START_MS
    seed: bytes = SEED
    workflow_id: str = "order-1"
    run_id: str = "run-1"
    flags: tuple[str, ...] | None = None
    turns: list[Turn] = field(default_factory=list)
    activities: dict[int, ActivityScheduled] = field(default_factory=dict)
    timers: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.runner = self.fresh()

    def fresh(self) -> WorkflowRunner:
        runners = WorkflowRunners(Registry([self.workflow], [], Injected(PAYLOADS)), self.settings)
        if self.flags is None:
            self.flags = runners.flags
        return runners.start(self.workflow_id, self.run_id, self.started, self.begun_ms)

    @property
    def started(self) -> WorkflowStarted:
        arguments = PAYLOADS.encode(self.arguments)
        return WorkflowStarted(self.workflow.name, arguments, self.seed, flags=self.flags or ())

    @property
    def begun_ms(self) -> int:
        """Return the time of the first turn."""
        return self.turns[0].now_ms if self.turns else self.now_ms

    @property
    def number(self) -> int:
        """Return the number of the next event: each fact and each decision is one."""
        last = self.turns[-1] if self.turns else Turn(0, 0, [], [])
        return last.number + len(last.facts) + len(last.asked)

    # --- feeding ------------------------------------------------------------------------------

    def feed(self, *facts: Event, after_ms: int = 0) -> list[Decision]:
        self.now_ms += after_ms
        for fact in facts:
            if isinstance(fact, TimerFired):
                del self.timers[fact.id]
            elif isinstance(fact, ActivityCompleted | ActivityFailed):
                del self.activities[fact.id]
        number = self.number
        asked = self.runner.activate(self.now_ms, number, facts, None)
        self.turns.append(Turn(self.now_ms, number, list(facts), asked))
        decisions = [decision for decision, _ in asked]
        for decision in decisions:
            self._note(decision)
        return decisions

    @property
    def lines(self) -> list[str]:
        """Return the lines that asked for what the last turn decided."""
        return [line for _, line in self.turns[-1].asked]

    def start(self) -> list[Decision]:
        return self.feed(self.started)

    def event(self, name: str, value: Any, after_ms: int = 0) -> list[Decision]:
        fact = EventReceived(name, PAYLOADS.encode(value))
        return self.feed(fact, after_ms=after_ms)

    def complete(self, id: int, result: Any = None) -> list[Decision]:
        return self.feed(ActivityCompleted(id, 1, PAYLOADS.encode(result)))

    def fail(self, id: int, failure: Failure) -> list[Decision]:
        return self.feed(ActivityFailed(id, 1, failure))

    def fire(self, id: int) -> list[Decision]:
        wait_ms = max(self.timers[id] - self.now_ms, 0)
        return self.feed(TimerFired(id), after_ms=wait_ms)

    def cancel(self, reason: str = "enough") -> list[Decision]:
        return self.feed(WorkflowCancelRequested(reason))

    def _note(self, decision: Decision) -> None:
        match decision:
            case ActivityScheduled():
                self.activities[decision.id] = decision
            case TimerStarted():
                self.timers[decision.id] = decision.due_ms
            case ActivityCancelled():
                del self.activities[decision.id]
            case TimerCancelled():
                del self.timers[decision.id]

    # --- running to the end -------------------------------------------------------------------

    def run(self, seed: int = 0) -> Any:
        """Answer what is open, in random order, until the run ends; return its result."""
        random = Random(seed)
        asked = self.start()
        while not self.over(asked):
            assert self.activities or self.timers, f"stuck at {self.runner.waiting()}"
            due = min(self.timers.values(), default=None)
            if self.activities and (due is None or random.random() < 0.7):
                asked = self._answer(random.choice(sorted(self.activities)))
            else:
                asked = self.fire(next(id for id, at in self.timers.items() if at == due))
        return self.result(asked)

    def _answer(self, id: int) -> list[Decision]:
        activity = self.activities[id]
        arguments = PAYLOADS.decoder(list[Any])(activity.arguments)
        result = self.answers[activity.name](*arguments)
        return self.fail(id, result) if isinstance(result, Failure) else self.complete(id, result)

    @staticmethod
    def over(asked: Sequence[Decision]) -> bool:
        ends = WorkflowCompleted | WorkflowFailed | WorkflowCancelled
        return bool(asked) and isinstance(asked[-1], ends)

    @staticmethod
    def result(asked: Sequence[Decision]) -> Any:
        """Return the result of a completed run; its failure or cancellation as it is."""
        end = asked[-1]
        if isinstance(end, WorkflowCompleted):
            return PAYLOADS.decoder(Any)(end.result)
        return end

    def replay(self) -> None:
        """Feed the same facts to a fresh runner and require the same decisions, turn by turn."""
        runner = self.fresh()
        for index, turn in enumerate(self.turns):
            recorded = [
                decision for decision, _ in turn.asked if isinstance(decision, SideEffectRecorded)
            ]
            again = runner.activate(turn.now_ms, turn.number, turn.facts, recorded)
            assert again == turn.asked, f"turn {index} of {self.workflow.name}"
        runner.close()
