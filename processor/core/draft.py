"""A record in the making, and what deciding needs from outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from processor.core import commands, events
from processor.core.attempt import AttemptState, OpenActivity
from processor.core.commands import Command
from processor.core.derive import effects_of, effects_of_attempt
from processor.core.effects import Effect
from processor.core.events import Event, RunParked
from processor.core.evolve import attempted, evolve
from processor.core.options import DEFAULTS, ActivityOptions
from processor.core.replay import RECORDED_AS, Instance, wakes_code
from processor.core.runner import CodeError, Runner, Runners
from processor.policy import Status

__all__ = ("Context", "Draft")


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

    def check(self, asked: list[Command]) -> None:
        """Raise ``CodeError`` where the code asks for what cannot be recorded yet."""
        for command in asked:
            if RECORDED_AS[type(command)] in self.not_activated:
                raise CodeError(
                    "not_activated",
                    f"{RECORDED_AS[type(command)].__name__} needs a later level of the log's "
                    "format than this namespace has: run `processor upgrade` once all processes "
                    "have this release. The run goes on by itself then",
                    command.line,
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
        self.instance = instance
        self.context = context
        self.now_ms = max(context.now_ms, instance.state.updated_ms)
        self.first = instance.state.events
        self.events: list[Event] = []
        self.effects: list[Effect] = []
        self.attempt: AttemptState | None = None
        self.snapshot: bytes | None = None

    def add(self, event: Event) -> None:
        state = self.instance.state
        self.effects += effects_of(state, event, self.now_ms)
        evolve(state, event, self.now_ms)
        self.events.append(event)

    def advance(self, *facts: Event) -> None:
        """Add facts, let the code see them, and add what it asks for."""
        for fact in facts:
            self.add(fact)
        instance = self.instance
        if instance.state.status is Status.PARKED:
            instance.pending += [fact for fact in facts if wakes_code(fact)]
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
            instance.pending += [fact for fact in facts if wakes_code(fact)]

    def park(self, error: CodeError) -> None:
        """Let the run wait for other code."""
        self.instance.runner = error
        self.add(RunParked(error.kind, error.error, error.where, error.traceback))

    def asked(self, runner: Runner, facts: Sequence[Event]) -> list[Command]:
        """Return what the code asks for when it sees these facts."""
        asked = runner.activate(self.now_ms, self.first, facts, None)
        self._check(runner, asked)
        return asked

    def _check(self, runner: Runner, asked: list[Command]) -> None:
        try:
            self.context.check(asked)
        except CodeError:
            runner.close()
            raise

    def record(self, runner: Runner, asked: list[Command]) -> None:
        for command in asked:
            self.add(_recorded(command, self.context))
        if self.instance.state.closed_ms is None:
            self.snapshot = runner.snapshot()

    def stands(self, activity: OpenActivity, after: AttemptState) -> None:
        """Say where an activity stands from now on. The key of that is known when it is written."""
        assert not self.events and self.attempt is None, "a record is a turn or of one attempt"
        self.effects += effects_of_attempt(self.instance.state, activity, after)
        attempted(self.instance.state, after, b"")
        self.attempt = after


def _recorded(command: Command, context: Context) -> Event:
    """Return the event that records a command."""
    match command:
        case commands.ScheduleActivity():
            eager = context.place(command.name, command.options or DEFAULTS)
            return events.ActivityScheduled(
                command.id, command.name, command.arguments, eager, command.options
            )
        case commands.CompleteWorkflow():
            return events.WorkflowCompleted(command.result)
        case commands.StartTimer():
            return events.TimerStarted(command.id, command.due_ms)
        case commands.CancelTimer():
            return events.TimerCancelled(command.id)
        case commands.CancelActivity():
            return events.ActivityCancelled(command.id)
        case commands.RecordSideEffect():
            return events.SideEffectRecorded(command.id, command.value)
        case commands.SetStatus():
            return events.StatusSet(command.value)
        case commands.RejectEvent():
            return events.EventRejected(command.name, command.payload, command.reason)
        case commands.PublishRecord():
            return events.RecordPublished(command.topic, command.key, command.value)
        case commands.SendMessage():
            return events.MessageSent(
                command.to, command.kind, command.name, command.reason, command.payload
            )
        case commands.FailWorkflow():
            return events.WorkflowFailed(command.failure)
        case commands.CancelWorkflow():
            return events.WorkflowCancelled(command.reason)
        case _:
            assert_never(command)
