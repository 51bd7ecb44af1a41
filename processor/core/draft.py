"""A record in the making, and what deciding needs from outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from processor.checks import RECORD_BYTES_MAX
from processor.core.data.address import Caller
from processor.core.data.options import DEFAULTS, ActivityOptions
from processor.core.data.run_id import successor_id
from processor.core.event import Event
from processor.core.evolve import evolve
from processor.core.nouns.activity import (
    ActivityScheduled,
    AttemptState,
    OpenActivity,
    attempted,
    effects_of_attempt,
)
from processor.core.nouns.awaited import AwaitedKind, awaited
from processor.core.nouns.chain import (
    Following,
    closing_bytes,
    continued,
    external_events,
    next_attempt,
    next_by_cron,
    not_followed,
)
from processor.core.nouns.external import EventReceived
from processor.core.nouns.locks.granting import LockRequested
from processor.core.nouns.run import (
    BEGIN,
    Closing,
    RunParked,
    WorkflowCompleted,
    WorkflowContinued,
    WorkflowFailed,
    WorkflowTimedOut,
)
from processor.core.nouns.timer import TimerFired
from processor.core.nouns.update import AwaitUpdate, UpdateAccepted
from processor.core.questions import AwaitResult
from processor.core.records.answers import Refused, ReplyBody
from processor.core.records.effects import Effect, Reply
from processor.core.replay import Instance
from processor.core.runner import Asked, CodeError, EntityCode, Kept, Runner, Runners, Spoiled
from processor.core.state import RunState
from processor.errors import CommandRejected, PayloadCodecError, UpdateRejected
from processor.policy import Status

__all__ = ("Context", "Draft", "Outcome", "RunBounds")

_FOLLOWED: Final = frozenset((WorkflowCompleted, WorkflowFailed, WorkflowContinued))
"""The ends that another run may follow."""


class RunBounds(NamedTuple):
    """Of a run: events that its code has not taken, their bytes, and updates that run at once."""

    events: int
    bytes: int
    updates: int


@dataclass(slots=True)
class Context:
    """What deciding needs from outside.

    ``place`` says whether an activity runs eagerly where this decision takes so many slots already;
    it changes nothing. ``entropy`` returns 16 random bytes. ``log_id`` is that of the shard.
    ``bounds``: no run may have more of that.
    ``not_activated`` are the events that the namespace's level does not have yet. ``begun`` is the
    code of the run that this decision begins, ``spoiled``: the code of the run that it is about is
    not what replay makes any more. ``record_bytes_max``: what a record of the log takes.
    ``next_ms`` returns the first time of a cron string after a time, None where there is none, and
    raises ``ValueError`` for what is no cron string.
    """

    now_ms: int
    runners: Runners
    place: Callable[[str, ActivityOptions, int], bool]
    entropy: Callable[[], bytes]
    log_id: bytes
    bounds: RunBounds
    not_activated: frozenset[type[Event]] = frozenset()
    begun: Runner | None = None
    record_bytes_max: int = RECORD_BYTES_MAX
    spoiled: bool = False
    next_ms: Callable[[str, int], int | None] = lambda cron, after_ms: None

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
    of the code, it is a turn at which replay may begin. ``slots`` are those that it takes once it
    is written: one for each attempt that it lets run eagerly. ``caller`` is the run that asks.
    """

    __slots__ = (
        "attempt",
        "caller",
        "context",
        "effects",
        "events",
        "first",
        "instance",
        "now_ms",
        "slots",
        "snapshot",
    )

    def __init__(self, instance: Instance, context: Context, caller: Caller | None = None) -> None:
        assert instance.state.closed_ms is None, f"run {instance.state.run_id} is closed"
        self.instance = instance
        self.context = context
        self.caller = caller
        self.now_ms = max(context.now_ms, instance.state.updated_ms)
        self.first = instance.state.events
        self.events: list[Event] = []
        self.effects: list[Effect] = []
        self.attempt: AttemptState | None = None
        self.snapshot: Kept | None = None
        self.slots = 0

    @property
    def run(self) -> RunState:
        return self.instance.state

    @property
    def is_idle(self) -> bool:
        """Whether the code can go on from what is kept: that of an entity runs no operation."""
        runner = self.instance.runner
        return not isinstance(runner, CodeError) and runner.snapshot() is not None

    @property
    def updates_max(self) -> int:
        return self.context.bounds.updates

    def validated(self, name: str, arguments: bytes | None) -> bool:
        """Return whether the validator of an update let it pass; False: it is asked later.

        Raises ``UpdateRejected`` and ``SchemaMismatch``, and ``CommandRejected`` where nobody can
        be asked.
        """
        runner = self.instance.runner
        if isinstance(runner, CodeError):
            raise CommandRejected(
                f"it was not taken: send it again when the run goes on. Its code cannot go on: "
                f"{runner.error}"
            )
        try:
            return runner.accepts(name, arguments)
        except PayloadCodecError as error:  # another worker may have the key
            raise CommandRejected(f"it was not taken, and may be sent again: {error}") from None
        except (Spoiled, CodeError) as error:
            self.context.spoiled = True
            raise UpdateRejected(str(error)) from None

    def full(self, event: EventReceived | UpdateAccepted | LockRequested, times: int = 1) -> str:
        """Return which bound keeps one more event from waiting for the code; "" where none does.

        ``times``: as if the bounds were so many times as high.
        """
        runner, most = self.instance.runner, self.context.bounds
        events, size = (0, 0) if isinstance(runner, CodeError) else runner.unread()
        if self.run.delayed:
            events, size = events + len(self.run.delayed), size + self.run.delayed_bytes
        if self.instance.pending:
            came = external_events(self.instance.pending)
            events, size = events + len(came), size + sum(each.size for each in came)
        if events >= most.events * times:
            return f"{events:,} events that its code has not taken (unread_events_max)"
        if events and size + event.size > most.bytes * times:
            return f"{size:,} bytes of events that its code has not taken (unread_bytes_max)"
        return ""

    def let_wait(self, kind: AwaitedKind, name: str) -> Refused | None:
        """Let the run that asks wait for something, if one does; return why it cannot."""
        if self.caller is None:
            return None
        waits = awaited(self.run, self.caller, kind, name)
        if isinstance(waits, Refused):
            return waits
        self.add(waits)
        return None

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
                self._check(runner, asked, facts)
            self.record(runner, asked)
        except CodeError as error:
            self.park(error)
            instance.pending += [fact for fact in facts if fact.wakes_code]

    def park(self, error: CodeError) -> None:
        """Let the run wait for other code."""
        assert self.instance.state.parked is None, "a run is parked once"
        self.instance.lose(error)
        self.add(RunParked(error.kind, error.error, error.where, error.traceback))

    def asked(self, runner: Runner, facts: Sequence[Event]) -> list[Asked]:
        """Return what the code asks for when it sees these facts."""
        asked = runner.activate(self.now_ms, self.first, facts, None)
        self._check(runner, asked, facts)
        return asked

    def _check(self, runner: Runner, asked: Sequence[Asked], facts: Sequence[Event]) -> None:
        try:
            self.context.check(asked)
        except CodeError:
            runner.undo(facts)
            raise

    def record(self, runner: Runner, asked: Sequence[Asked]) -> None:
        for decision, _ in asked:
            if type(decision) is ActivityScheduled:
                self.add(self._placed(decision))
            elif type(decision) in _FOLLOWED:
                self.add(self._followed(decision, runner))
            else:
                self.add(decision)
        state = self.instance.state
        assert state.events == self.first + len(self.events), "each event is counted once"
        if state.closed_ms is None:
            self.snapshot = runner.snapshot()
            if self.snapshot is not None:
                holds = isinstance(self.snapshot, EntityCode) or not state.callers
                if not holds or state.has_more_than_an_image:
                    self.snapshot = None

    def _placed(self, asked: ActivityScheduled) -> ActivityScheduled:
        """Return an activity that the code asks for with where its first attempt runs."""
        eager = self.places(asked.name, asked.options or DEFAULTS)
        if eager == asked.eager:
            return asked
        what = asked.id, asked.name, asked.arguments
        return ActivityScheduled(*what, eager, asked.options, asked.headers)

    def _followed(self, closing: Any, runner: Runner) -> Event:
        """Return the end that the code came to, with the run that follows it, if there is one."""
        kind, started = type(closing), self.instance.state.started
        if kind is not WorkflowContinued:
            plan = None if started is None else started.plan
            if plan is None or (kind is not WorkflowFailed and plan.cron is None):
                end: Event = closing
                return end
        return self.followed(closing, runner.left())

    def followed(self, closing: Closing, unread: Sequence[EventReceived]) -> Event:
        """Return an end with the run that follows it, if there is one.

        ``unread`` are the events that the code has not taken.
        """
        run, context = self.instance.state, self.context
        run_id = successor_id(context.log_id, run.workflow_id, run.run_id)
        flags = context.runners.flags
        following = Following(self.now_ms, run_id, context.entropy(), unread, flags)
        match closing:
            case WorkflowContinued():
                at_once = self.first == 0 or self.events[0] == TimerFired(BEGIN)
                return continued(run, closing, following, at_once=at_once)
            case WorkflowFailed():
                next = next_attempt(run, closing, following)
                next = next or next_by_cron(run, closing, following, context.next_ms)
                failed = WorkflowFailed(closing.failure, successor=next)
                size, limit = closing_bytes(self.events, failed), context.record_bytes_max
                if next is not None and size > limit:
                    return not_followed(failed, size, limit)
                return failed
            case WorkflowCompleted() | WorkflowTimedOut():
                next = next_by_cron(run, closing, following, context.next_ms)
                return replace(closing, successor=next)
            case _:
                raise AssertionError(f"no run follows one that ends with {closing}")

    def places(self, name: str, options: ActivityOptions) -> bool:
        """Return whether an attempt runs eagerly; then it takes a slot."""
        eager = self.context.place(name, options, self.slots)
        self.slots += eager
        return eager

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
    awaited: AwaitResult | AwaitUpdate | None = None
    """What the sender of a start or of an update asks for with it."""

    def answered(self, body: ReplyBody) -> Outcome:
        assert self.answer is None, "an input has one answer"
        self.answer = body
        return self
