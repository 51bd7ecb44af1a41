"""Workflow code as a script, and a run's history by hand: what tables of the core are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from processor.core import events
from processor.core.commands import Command
from processor.core.decide import Context
from processor.core.events import Event, WorkflowStarted
from processor.core.evolve import evolve
from processor.core.failure import Failure
from processor.core.options import ActivityOptions
from processor.core.replay import Instance
from processor.core.runner import CodeError
from processor.core.state import RunState
from processor.core.turn import Positions, Turn
from processor.errors import WorkflowNotRegistered

NOW = 1_000_000
ID, RUN = "order-1", "0-7"
STARTED = WorkflowStarted("order", b"[]", request_id="r1")
DOWN = Failure("application", "Down", "it is down")

Answer = list[Command] | CodeError


@dataclass
class Scripted:
    """Answers each activation with the next entry of ``answers``; notes the facts that it saw."""

    answers: list[Answer]
    seen: list[Event] = field(default_factory=list)
    closed: bool = False

    def activate(
        self, now_ms: int, facts: Sequence[Event], recorded: Sequence[Event] | None
    ) -> list[Command]:
        self.seen += facts
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, CodeError):
            raise answer
        return answer

    def waiting(self) -> list[str]:
        return []

    def close(self) -> None:
        self.closed = True


@dataclass
class Runners:
    """Knows the workflow ``order`` alone."""

    answers: list[Answer] = field(default_factory=list)

    def start(self, workflow_id: str, run_id: str, started: WorkflowStarted) -> Scripted:
        if started.workflow != "order":
            raise WorkflowNotRegistered(f"no {started.workflow}")
        return Scripted(list(self.answers))


def context(
    *answers: Answer,
    now_ms: int = NOW,
    place: Callable[[str, ActivityOptions], bool] = lambda name, options: True,
) -> Context:
    return Context(now_ms, Runners(list(answers)), place)


def state(*history: Event, now_ms: int = NOW) -> RunState:
    """Return the fold of a history that begins with the start."""
    folded = RunState(ID, RUN)
    for event in (STARTED, *history):
        evolve(folded, event, now_ms)
    return folded


def instance(*history: Event, asks: Sequence[Answer] = (), now_ms: int = NOW) -> Instance:
    return Instance(state(*history, now_ms=now_ms), Scripted(list(asks)))


def scheduled(id: int = 1, **options: Any) -> events.ActivityScheduled:
    """Return an activity that is queued."""
    return events.ActivityScheduled(id, "pay", b"[]", False, ActivityOptions(**options))


def turn(first: int, *happened: Event, now_ms: int = NOW) -> Turn:
    return Turn(ID, RUN, 0, first, now_ms, "commands", Positions(), 0, None, happened)
