"""Workflow code as a script, and a run's history by hand: what tables of the core are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from processor.core.data.failure import Failure
from processor.core.data.options import ActivityOptions
from processor.core.draft import Context, RunBounds
from processor.core.event import Decision, Event
from processor.core.evolve import evolve
from processor.core.nouns.activity import ActivityScheduled, AttemptState, attempted
from processor.core.nouns.external import EventReceived
from processor.core.nouns.run import WorkflowStarted
from processor.core.records.turn import Positions, Turn
from processor.core.replay import Instance
from processor.core.runner import Asked, CodeError, Defaults, Kept
from processor.core.state import RunState
from processor.errors import WorkflowNotRegistered

NOW = 1_000_000
ID, RUN = "order-1", "run-1"
SEED = b"16 random bytes."
BOUNDS = RunBounds(10_000, 1_000_000, 10)
STARTED = WorkflowStarted("order", b"[]", SEED)
DOWN = Failure("application", "Down", "it is down")

LINE = "orders.py:9"
"""Where all code of scripts asks."""

Answer = list[Decision] | CodeError
Happened = Event | AttemptState


@dataclass
class Scripted:
    """Answers each activation with the next entry of ``answers``; notes what it was given.

    ``keeps``: it has snapshots, which hold how many activations there were.
    """

    answers: list[Answer]
    seen: list[Event] = field(default_factory=list)
    turns: list[tuple[int, int]] = field(default_factory=list)
    keeps: bool = False
    activations: int = 0
    closed: bool = False
    unread_events: list[EventReceived] = field(default_factory=list)

    def activate(
        self,
        now_ms: int,
        number: int,
        facts: Sequence[Event],
        recorded: Sequence[Event] | None,
    ) -> list[Asked]:
        self.seen += facts
        self.turns.append((now_ms, number))
        answer = self.answers[self.activations] if self.activations < len(self.answers) else []
        self.activations += 1
        if isinstance(answer, Exception):
            raise answer
        return [(decision, LINE) for decision in answer]

    def snapshot(self) -> bytes | None:
        return b"%d" % self.activations if self.keeps else None

    def accepts(self, name: str, arguments: bytes | None) -> bool:
        return True

    def unread(self) -> tuple[int, int]:
        return len(self.unread_events), 0

    def left(self) -> Sequence[EventReceived]:
        return self.unread_events

    def waiting(self) -> list[str]:
        return []

    def undo(self, facts: Sequence[Event]) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True


@dataclass
class Runners:
    """Knows the workflow ``order`` alone. Payloads differ where their bytes do, ``alike`` do not.

    ``made`` are the runners that it has handed out, ``resumed`` what some of them go on from.
    """

    answers: list[Answer] = field(default_factory=list)
    strict: bool = False
    flags: tuple[str, ...] = ()
    defaults: dict[str, Defaults] = field(default_factory=dict)
    keeps: bool = False
    alike: set[bytes | None] = field(default_factory=set)
    made: list[Scripted] = field(default_factory=list)
    resumed: list[Kept] = field(default_factory=list)

    def start(
        self, workflow_id: str, run_id: str, started: WorkflowStarted, now_ms: int
    ) -> Scripted:
        return self._made(started, 0)

    def resume(
        self, workflow_id: str, run_id: str, started: WorkflowStarted, kept: Kept
    ) -> Scripted:
        self.resumed.append(kept)
        return self._made(started, int(kept) if isinstance(kept, bytes) else 0)

    def difference(self, recorded: bytes | None, now: bytes | None) -> str:
        return "" if {recorded, now} <= self.alike else f"{recorded!r} became {now!r}"

    def _made(self, started: WorkflowStarted, activations: int) -> Scripted:
        if started.workflow != "order":
            raise WorkflowNotRegistered(f"no {started.workflow}")
        made = Scripted(list(self.answers), keeps=self.keeps, activations=activations)
        self.made.append(made)
        return made


def context(
    *answers: Answer,
    now_ms: int = NOW,
    place: Callable[[str, ActivityOptions, int], bool] = lambda name, options, taken: True,
    not_activated: frozenset[type[Event]] = frozenset(),
    keeps: bool = False,
    defaults: dict[str, Defaults] | None = None,
) -> Context:
    runners = Runners(list(answers), keeps=keeps, defaults=defaults or {})
    return Context(now_ms, runners, place, lambda: SEED, bytes(16), BOUNDS, not_activated)


def state(*history: Happened, started: WorkflowStarted = STARTED, now_ms: int = NOW) -> RunState:
    """Return the fold of a history, and of where attempts stand, that begins with the start."""
    folded = RunState(ID, RUN)
    for each in (started, *history):
        if isinstance(each, AttemptState):
            assert attempted(folded, each, b"key"), "the activity is open"
        else:
            evolve(folded, each, now_ms)
    return folded


def instance(
    *history: Happened,
    asks: Sequence[Answer] = (),
    started: WorkflowStarted = STARTED,
    now_ms: int = NOW,
) -> Instance:
    return Instance(state(*history, started=started, now_ms=now_ms), Scripted(list(asks)))


def scheduled(id: int = 1, **options: Any) -> ActivityScheduled:
    """Return an activity that is queued."""
    return ActivityScheduled(id, "pay", b"[]", False, ActivityOptions(**options))


def attempt(number: int = 1, **how: Any) -> AttemptState:
    """Return where activity 1, which is queued, stands."""
    return AttemptState(**{"id": 1, "attempt": number, "eager": False, "dispatched_ms": NOW, **how})


def turn(first: int, *happened: Event, now_ms: int = NOW) -> Turn:
    return Turn(ID, RUN, 0, first, now_ms, "commands", Positions(), 0, None, happened)
