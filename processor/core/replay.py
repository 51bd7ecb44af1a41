"""replay: a run's history through its workflow code, to get back its state and its live code.

Every decision that the code takes is compared with the one in the history. A mismatch names the
event, what the history has, what the code asked for instead, and the line that asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from processor.core import commands, events
from processor.core.commands import Command
from processor.core.events import DECISIONS, Event, RunParked, WorkflowStarted
from processor.core.evolve import evolve
from processor.core.runner import CodeError, Runner, Runners
from processor.core.state import RunState
from processor.core.turn import Turn
from processor.errors import ProcessorError

__all__ = ("Instance", "describe", "matches", "not_runnable", "replay", "wakes_code")

_IGNORED_BY_CODE = (
    events.ActivityStarted,
    events.ActivityHeartbeatRecorded,
    events.ActivityAttemptFailed,
    events.ActivityRetried,
    events.RunParked,
    events.RunUnparked,
)

_RECORDED_AS: dict[type[Command], type[Event]] = {
    commands.ScheduleActivity: events.ActivityScheduled,
    commands.CancelActivity: events.ActivityCancelled,
    commands.StartTimer: events.TimerStarted,
    commands.CancelTimer: events.TimerCancelled,
    commands.RecordSideEffect: events.SideEffectRecorded,
    commands.SetStatus: events.StatusSet,
    commands.RejectEvent: events.EventRejected,
    commands.PublishRecord: events.RecordPublished,
    commands.SendMessage: events.MessageSent,
    commands.CompleteWorkflow: events.WorkflowCompleted,
    commands.FailWorkflow: events.WorkflowFailed,
    commands.CancelWorkflow: events.WorkflowCancelled,
}

_COMPARED = ("id", "name", "topic", "kind", "workflow_id")
"""Fields that identify a decision; others (a delay, a payload) may change with the code."""


@dataclass(slots=True)
class Instance:
    """An open run in memory.

    ``runner`` is its live code, or the error that keeps the code from running. ``pending`` are
    facts that arrived while the run was parked: the code has not seen them yet.
    """

    state: RunState
    runner: Runner | CodeError
    pending: list[Event] = field(default_factory=list)


def wakes_code(event: Event) -> bool:
    """Return whether workflow code can notice this fact."""
    return not isinstance(event, _IGNORED_BY_CODE)


def replay(runners: Runners, turns: Iterable[Turn]) -> Instance:
    """Return the run that these turns (all of its turns, in order) add up to."""
    player: _Player | None = None
    for turn in turns:
        if player is None:
            player = _Player(runners, turn)
        player.play(turn)
    assert player is not None, "a run has at least the turn that started it"
    return Instance(player.state, player.runner, player.pending)


class _Player:
    """Folds the turns of one run into its state and feeds its runner beside it."""

    def __init__(self, runners: Runners, turn: Turn) -> None:
        self.state = RunState(turn.workflow_id, turn.run_id)
        self.pending: list[Event] = []
        self.runner: Runner | CodeError
        started = turn.events[0]
        assert isinstance(started, WorkflowStarted), f"history begins with {started}"
        try:
            self.runner = runners.start(turn.workflow_id, turn.run_id, started)
        except ProcessorError as error:
            self.runner = not_runnable(error)

    def play(self, turn: Turn) -> None:
        state = self.state
        assert turn.first == state.events, f"{turn.run_id}: turn {turn.first} at {state.events}"
        decisions: list[Event] = []
        parks = False
        for event in turn.events:
            evolve(state, event, turn.time_ms)
            if isinstance(event, DECISIONS):
                decisions.append(event)
            elif isinstance(event, RunParked):
                parks = True
            elif wakes_code(event):
                self.pending.append(event)
        if parks or state.parked is not None or isinstance(self.runner, CodeError):
            return
        if self.pending:
            facts, self.pending = self.pending, []
            try:
                taken = self.runner.activate(turn.time_ms, facts, decisions)
                _compare(turn, taken, decisions)
            except CodeError as error:
                self.runner.close()
                self.runner = error


def not_runnable(error: ProcessorError) -> CodeError:
    """Return why a run's code cannot be started: unknown here, or other arguments by now."""
    return CodeError("not_registered", f"{type(error).__name__}: {error}")


def _compare(turn: Turn, taken: Sequence[Command], recorded: Sequence[Event]) -> None:
    number = turn.first + len(turn.events) - len(recorded)
    for index in range(max(len(taken), len(recorded))):
        command = taken[index] if index < len(taken) else None
        event = recorded[index] if index < len(recorded) else None
        if command is None or event is None or not matches(command, event):
            where = command.line if command is not None else ""
            raise CodeError(
                "nondeterminism",
                f"run {turn.run_id} of {turn.workflow_id}: at event {number + index} the history "
                f"has {describe(event)}, but the code now asks for {describe(command)}"
                + (f" at {where}" if where else "")
                + ". Deploy code that repeats the history; the run then goes on",
                where,
            )


def matches(command: Command, event: Event) -> bool:
    """Return whether a decision taken at replay is the recorded one."""
    if _RECORDED_AS[type(command)] is not type(event):
        return False
    return all(getattr(command, name, None) == getattr(event, name, None) for name in _COMPARED)


def describe(decision: Command | Event | None) -> str:
    """Return a decision in words: its type and the fields that identify it."""
    if decision is None:
        return "nothing"
    kind = _RECORDED_AS.get(type(decision), type(decision)).__name__  # type: ignore[arg-type]
    fields = (
        f"{name}={getattr(decision, name)!r}" for name in _COMPARED if hasattr(decision, name)
    )
    return f"{kind}({', '.join(fields)})"
