"""A record in the making, and what deciding needs from outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from processor.core.data.options import DEFAULTS, ActivityOptions
from processor.core.event import Event
from processor.core.evolve import evolve
from processor.core.nouns.activity import (
    ActivityScheduled,
    AttemptState,
    OpenActivity,
    attempted,
    effects_of_attempt,
)
from processor.core.nouns.external import EventReceived
from processor.core.nouns.run import RunParked
from processor.core.questions import AwaitResult
from processor.core.records.answers import ReplyBody
from processor.core.records.effects import Effect, Reply
from processor.core.replay import Instance
from processor.core.runner import Asked, CodeError, Runner, Runners
from processor.core.state import RunState
from processor.policy import Status

__all__ = ("Context", "Draft", "Outcome")


@dataclass(slots=True)
class Context:
    """What deciding needs from outside.

    ``place`` says whether an activity runs eagerly, ``entropy`` returns 16 random bytes.
    ``unread_events_max``: more of a run's events may not wait for its code.
    ``not_activated`` are the events that the namespace's level does not have yet. ``begun`` is the
    code of the run that this decision begins.
    """

    now_ms: int
    runners: Runners
    place: Callable[[str, ActivityOptions], bool]
    entropy: Callable[[], bytes]
    unread_events_max: int
    not_activated: frozenset[type[Event]] = frozenset()
    begun: Runner | None = None

    def check(self, asked: Sequence[Asked]) -> None:
        """Raise ``CodeError`` where the code asks for what cannot be recorded yet."""
        for decision, line in asked:
            if type(decision) in self.not_activated:
                raise CodeError(
                    "not_activated",
                    f"{type(decision).__name__} needs a later level of the log's format than this "
                    "namespace has: run `processor upgrade` once all processes have this release. "
                    "The run goes on by itself then",
                    line,
                )


class Draft:
    """A record in the making: its events, already folded into the state, and their effects.

    It is a turn, or (``attempt``) only says where an activity stands; with ``snapshot``, the state
    of the code, it is a turn at which replay may begin.
    """

    __slots__ = (
        "attempt",
        "context",
        "effects",
        "events",
        "first",
        "instance",
        "now_ms",
        "snapshot",
    )

    def __init__(self, instance: Instance, context: Context) -> None:
        assert instance.state.closed_ms is None, f"run {instance.state.run_id} is closed"
        self.instance = instance
        self.context = context
        self.now_ms = max(context.now_ms, instance.state.updated_ms)
        self.first = instance.state.events
        self.events: list[Event] = []
        self.effects: list[Effect] = []
        self.attempt: AttemptState | None = None
        self.snapshot: bytes | None = None

    @property
    def run(self) -> RunState:
        return self.instance.state

    @property
    def unread_max(self) -> int:
        return self.context.unread_events_max

    @property
    def unread_full(self) -> bool:
        """Whether as many events as may wait for the code do; parked, those that came since."""
        runner, pending = self.instance.runner, self.instance.pending
        unread = 0 if isinstance(runner, CodeError) else runner.unread()
        if unread + len(pending) < self.unread_max:
            return False
        return unread + sum(isinstance(fact, EventReceived) for fact in pending) >= self.unread_max

    def add(self, event: Event) -> None:
        state = self.instance.state
        self.effects += event.effects(state, self.now_ms)
        evolve(state, event, self.now_ms)
        self.events.append(event)

    def advance(self, *facts: Event) -> None:
        """Add facts, let the code see them, and add what it asks for."""
        assert facts, "a turn begins with a fact"
        for fact in facts:
            self.add(fact)
        instance = self.instance
        if instance.state.status is Status.PARKED:
            instance.pending += [fact for fact in facts if fact.wakes_code]
            return
        runner = instance.runner
        try:
            if isinstance(runner, CodeError):
                raise runner
            asked = runner.activate(self.now_ms, self.first, facts, None)
            if self.context.not_activated:
                self._check(runner, asked)
            self.record(runner, asked)
        except CodeError as error:
            self.park(error)
            instance.pending += [fact for fact in facts if fact.wakes_code]

    def park(self, error: CodeError) -> None:
        """Let the run wait for other code."""
        assert self.instance.state.parked is None, "a run is parked once"
        self.instance.runner = error
        self.add(RunParked(error.kind, error.error, error.where, error.traceback))

    def asked(self, runner: Runner, facts: Sequence[Event]) -> list[Asked]:
        """Return what the code asks for when it sees these facts."""
        asked = runner.activate(self.now_ms, self.first, facts, None)
        self._check(runner, asked)
        return asked

    def _check(self, runner: Runner, asked: Sequence[Asked]) -> None:
        try:
            self.context.check(asked)
        except CodeError:
            runner.close()
            raise

    def record(self, runner: Runner, asked: Sequence[Asked]) -> None:
        for decision, _ in asked:
            self.add(self._placed(decision) if type(decision) is ActivityScheduled else decision)
        state = self.instance.state
        assert state.events == self.first + len(self.events), "each event is counted once"
        if state.closed_ms is None:
            self.snapshot = runner.snapshot()

    def _placed(self, asked: ActivityScheduled) -> ActivityScheduled:
        """Return an activity that the code asks for with where its first attempt runs."""
        if not self.context.place(asked.name, asked.options or DEFAULTS):
            return asked
        what = asked.id, asked.name, asked.arguments
        return ActivityScheduled(*what, True, asked.options, asked.headers)

    def stands(self, activity: OpenActivity, after: AttemptState) -> None:
        """Say where an activity stands from now on. The key of that is known when it is written."""
        assert not self.events, "a record is a turn or of one attempt"
        assert self.attempt is None, "a record is of one attempt"
        self.effects += effects_of_attempt(self.instance.state, activity, after)
        attempted(self.instance.state, after, b"")
        self.attempt = after


@dataclass(slots=True)
class Outcome:
    """The records that an input causes (nearly always one or none), and what its sender is told.

    ``answer`` is for the sender of a command, ``replies`` are for workers.
    """

    drafts: list[Draft] = field(default_factory=list)
    answer: ReplyBody | None = None
    replies: list[Reply] = field(default_factory=list)
    awaited: AwaitResult | None = None
    """What the sender of a start asks for with it."""

    def answered(self, body: ReplyBody) -> Outcome:
        assert self.answer is None, "an input has one answer"
        self.answer = body
        return self
