"""decide: (state, input, now) -> turns. What one input does to one instance.

Facts come first, then the workflow code sees them, then what it asked for is recorded. An input
that changes nothing (a duplicate, a late report) yields no turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from processor.core import commands, events
from processor.core.commands import Command
from processor.core.derive import effects_of
from processor.core.effects import Accepted, Effect, HeartbeatSeen, Refused, Reply, ReplyBody
from processor.core.events import Event, RunParked, WorkflowStarted
from processor.core.evolve import evolve
from processor.core.failure import Failure
from processor.core.inputs import (
    ActivityReport,
    AwaitResult,
    CancelRun,
    ClientCommand,
    RaiseEvent,
    StartRun,
    TerminateRun,
    TimerDue,
)
from processor.core.options import ActivityOptions
from processor.core.replay import Instance, wakes_code
from processor.core.retry import retry_at
from processor.core.runner import CodeError, Runners
from processor.core.state import OpenActivity, RunState, Summary
from processor.errors import ProcessorError
from processor.policy import Status

__all__ = ("STARTS_MAX", "Context", "Draft", "Outcome", "decide", "unpark")

STARTS_MAX = 5
"""How often one attempt may be started (its worker died each time) until it counts as poison."""


@dataclass(slots=True)
class Context:
    """What deciding needs from outside. ``place`` says whether an activity runs eagerly."""

    now_ms: int
    runners: Runners
    place: Callable[[str, ActivityOptions], bool]


class Draft:
    """A turn in the making: its events, already folded into the state, and their effects."""

    __slots__ = ("context", "effects", "events", "first", "instance", "now_ms")

    def __init__(self, instance: Instance, context: Context) -> None:
        self.instance = instance
        self.context = context
        self.now_ms = max(context.now_ms, instance.state.updated_ms)
        self.first = instance.state.events
        self.events: list[Event] = []
        self.effects: list[Effect] = []

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
        try:
            if isinstance(instance.runner, CodeError):
                raise instance.runner
            asked = instance.runner.activate(self.now_ms, facts, None)
        except CodeError as error:
            instance.runner = error
            instance.pending += [fact for fact in facts if wakes_code(fact)]
            self.add(RunParked(error.kind, error.error, error.where, error.traceback))
        else:
            self.record(asked)

    def record(self, asked: list[Command]) -> None:
        for command in asked:
            self.add(_recorded(command, self.context))


@dataclass(slots=True)
class Outcome:
    """The turns that an input causes (nearly always one or none), and answers to its sender."""

    turns: list[Draft] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    refused: Refused | None = None
    awaited: AwaitResult | None = None
    """What the sender of a start asks for with it."""

    def answer(self, command: ClientCommand, body: ReplyBody) -> Outcome:
        if isinstance(body, Refused):
            self.refused = body
        if command.reply_to is not None:
            self.replies.append(Reply(command.reply_to, command.request_id, body))
        return self


def decide(
    input: ClientCommand | ActivityReport | TimerDue,
    instance: Instance | None,
    latest: Summary | None,
    run_id: str,
    context: Context,
) -> Outcome:
    """Return what ``input`` does.

    ``instance`` is the open run of the input's workflow id, if there is one, and ``latest`` the
    summary of its latest run, open or closed. ``run_id`` names the run that a start would make.
    """
    match input:
        case ActivityReport():
            return _report(input, instance, context)
        case TimerDue():
            return _timer(input, instance, context)
        case ClientCommand(body=StartRun() as start):
            return _start(input, start, instance, latest, run_id, context)
        case ClientCommand():
            return _command(input, instance, latest, context)
        case _:
            assert_never(input)


def unpark(instance: Instance, context: Context) -> Draft | None:
    """Try a parked run's code again; None when it still cannot go on."""
    runner = instance.runner
    if isinstance(runner, CodeError):
        return None
    draft = Draft(instance, context)
    try:
        asked = runner.activate(draft.now_ms, instance.pending, None)
    except CodeError as error:
        instance.runner = error
        return None
    instance.pending = []
    draft.add(events.RunUnparked())
    draft.record(asked)
    return draft


# --- commands of clients and of other shards --------------------------------------------------


def _start(
    command: ClientCommand,
    start: StartRun,
    instance: Instance | None,
    latest: Summary | None,
    run_id: str,
    context: Context,
) -> Outcome:
    outcome = Outcome()
    if latest is not None and command.request_id and latest.request_id == command.request_id:
        return outcome.answer(command, Accepted(latest.run_id))
    refusal = _refusal(command.workflow_id, start, latest)
    if refusal is not None:
        return outcome.answer(command, refusal)
    if latest is not None and latest.status.is_open and start.conflict == "use-existing":
        return outcome.answer(command, Accepted(latest.run_id, created=False))
    started = WorkflowStarted(
        start.workflow,
        start.arguments,
        start.execution_timeout_ms,
        start.memo,
        command.request_id,
    )
    try:
        runner = context.runners.start(command.workflow_id, run_id, started)
    except ProcessorError as error:
        return outcome.answer(command, Refused(type(error).__name__, str(error)))
    if instance is not None:
        outcome.turns.append(_terminated(instance, "replaced by a new run", context))
    draft = Draft(Instance(RunState(command.workflow_id, run_id), runner), context)
    draft.advance(started)
    outcome.turns.append(draft)
    if start.result_within_ms is not None and command.reply_to is not None:
        outcome.awaited = AwaitResult(run_id, start.result_within_ms)
        return outcome
    return outcome.answer(command, Accepted(run_id))


def _refusal(workflow_id: str, start: StartRun, latest: Summary | None) -> Refused | None:
    if start.reuse not in ("allow", "allow-failed", "reject"):
        return Refused("CommandRejected", f"unknown id reuse policy {start.reuse!r}")
    if start.conflict not in ("fail", "use-existing", "terminate"):
        return Refused("CommandRejected", f"unknown id conflict policy {start.conflict!r}")
    if latest is None:
        return None
    taken = f"workflow id {workflow_id!r} is taken by run {latest.run_id} ({latest.status.value})"
    if latest.status.is_open:
        if start.conflict == "fail":
            return Refused("WorkflowAlreadyStarted", f"{taken}; conflict policy is 'fail'")
    elif start.reuse == "reject":
        return Refused("WorkflowAlreadyStarted", f"{taken}; reuse policy is 'reject'")
    elif start.reuse == "allow-failed" and latest.status is Status.COMPLETED:
        return Refused("WorkflowAlreadyStarted", f"{taken}; reuse policy is 'allow-failed'")
    return None


def _command(
    command: ClientCommand, instance: Instance | None, latest: Summary | None, context: Context
) -> Outcome:
    body = command.body
    assert isinstance(body, RaiseEvent | CancelRun | TerminateRun), f"no turn comes of {body}"
    outcome = Outcome()
    if latest is None or (body.run_id is not None and body.run_id != latest.run_id):
        which = f"no run of workflow id {command.workflow_id!r}"
        which += f" has run id {body.run_id!r}" if body.run_id is not None else ""
        return outcome.answer(command, Refused("WorkflowNotFound", which))
    if instance is None:
        return outcome.answer(command, _closed_already(command.request_id, body, latest))
    accepted = Accepted(instance.state.run_id)
    match body:
        case RaiseEvent():
            if not command.request_id or command.request_id not in instance.state.request_ids:
                draft = Draft(instance, context)
                draft.advance(events.EventReceived(body.name, body.payload, command.request_id))
                outcome.turns.append(draft)
        case CancelRun():
            if instance.state.cancel_reason is None:
                draft = Draft(instance, context)
                draft.advance(events.WorkflowCancelRequested(body.reason))
                outcome.turns.append(draft)
        case TerminateRun():
            outcome.turns.append(_terminated(instance, body.reason, context))
        case _:
            assert_never(body)
    return outcome.answer(command, accepted)


def _closed_already(
    request_id: str, body: RaiseEvent | CancelRun | TerminateRun, latest: Summary
) -> ReplyBody:
    if request_id in latest.request_ids:
        return Accepted(latest.run_id)
    if isinstance(body, RaiseEvent):
        reason = f"run {latest.run_id} of {latest.workflow_id!r} is {latest.status.value}"
        return Refused("CommandRejected", f"{reason}: event {body.name!r} was not taken")
    return Accepted(latest.run_id, created=False)


def _terminated(instance: Instance, reason: str, context: Context) -> Draft:
    draft = Draft(instance, context)
    draft.add(events.WorkflowTerminated(reason))
    return draft


# --- reports of activity attempts -------------------------------------------------------------


def _report(report: ActivityReport, instance: Instance | None, context: Context) -> Outcome:
    activity = _attempt(instance, report.run_id, report.id, report.attempt)
    outcome = Outcome()
    poison = activity is not None and _is_poison(report, activity)
    if report.reply_to is not None:
        seen = HeartbeatSeen(report.run_id, report.id, report.attempt, activity is None or poison)
        outcome.replies.append(Reply(report.reply_to, "", seen))
    if activity is None:
        return outcome
    assert instance is not None
    draft = Draft(instance, context)
    match report.kind:
        case "completed":
            result = report.payload if report.payload is not None else b"null"
            draft.advance(events.ActivityCompleted(report.id, report.attempt, result))
        case "failed":
            assert report.failure is not None, "a failed report has a failure"
            _attempt_failed(draft, activity, report.failure)
        case "started":
            if report.worker == activity.worker:
                return outcome
            if poison:
                _attempt_failed(draft, activity, _poison(activity))
            else:
                draft.add(events.ActivityStarted(report.id, report.attempt, report.worker))
        case "heartbeat":
            beat = events.ActivityHeartbeatRecorded(report.id, report.attempt, report.payload)
            draft.add(beat)
        case _:
            assert_never(report.kind)
    outcome.turns.append(draft)
    return outcome


def _attempt(instance: Instance | None, run_id: str, id: int, attempt: int) -> OpenActivity | None:
    """Return the activity if this attempt is the one that runs now."""
    if instance is None or instance.state.run_id != run_id:
        return None
    activity = instance.state.activities.get(id)
    if activity is None or activity.attempt != attempt or activity.retry_at_ms is not None:
        return None
    return activity


def _is_poison(report: ActivityReport, activity: OpenActivity) -> bool:
    """Return whether another worker is about to start what has ended all that started it."""
    is_start = report.kind == "started" and report.worker != activity.worker
    return is_start and activity.starts >= STARTS_MAX


def _poison(activity: OpenActivity) -> Failure:
    return Failure(
        "activity_timed_out",
        "ActivityTimedOut",
        f"activity {activity.name!r} was started {STARTS_MAX} times in attempt "
        f"{activity.attempt} and never ended: it seems to end its worker",
        retryable=False,
        timeout_kind="lost",
        activity=activity.name,
        attempts=activity.attempt,
    )


def _attempt_failed(draft: Draft, activity: OpenActivity, failure: Failure) -> None:
    retry_at_ms = retry_at(activity, failure, draft.now_ms)
    if retry_at_ms is None:
        draft.advance(events.ActivityFailed(activity.id, activity.attempt, failure))
    else:
        draft.add(events.ActivityAttemptFailed(activity.id, activity.attempt, failure, retry_at_ms))


# --- timers -----------------------------------------------------------------------------------


def _timer(due: TimerDue, instance: Instance | None, context: Context) -> Outcome:
    outcome = Outcome()
    if instance is None or instance.state.run_id != due.run_id:
        return outcome
    draft = Draft(instance, context)
    state = instance.state
    activity = state.activities.get(due.id)
    match due.kind:
        case "timer":
            if due.id in state.timers:
                draft.advance(events.TimerFired(due.id))
        case "execution":
            assert state.deadline_ms is not None, "the execution timer has a deadline"
            draft.add(events.WorkflowTimedOut(state.deadline_ms - state.started_ms))
        case "retry":
            waits = activity is not None and activity.retry_at_ms == due.due_ms
            if activity is not None and waits and activity.attempt == due.attempt:
                eager = context.place(activity.name, activity.options)
                draft.add(events.ActivityRetried(due.id, activity.attempt + 1, eager))
        case "schedule_to_start" | "start_to_close" | "schedule_to_close" | "heartbeat":
            if activity is not None and activity.armed.get(due.kind) == due.due_ms:
                _timed_out(draft, activity, due)
        case _:
            assert_never(due.kind)
    if draft.events:
        outcome.turns.append(draft)
    return outcome


def _timed_out(draft: Draft, activity: OpenActivity, due: TimerDue) -> None:
    words = due.kind.replace("_", "-")
    failure = Failure(
        "activity_timed_out",
        "ActivityTimedOut",
        f"activity {activity.name!r}: {words} time-out in attempt {activity.attempt}",
        details=activity.heartbeat_details,
        retryable=due.kind != "schedule_to_close",
        timeout_kind=due.kind,
        activity=activity.name,
        attempts=activity.attempt,
        cause=activity.last_failure,
    )
    _attempt_failed(draft, activity, failure)


# --- what the code asked for ------------------------------------------------------------------


def _recorded(command: Command, context: Context) -> Event:
    """Return the event that records a command."""
    match command:
        case commands.ScheduleActivity():
            eager = context.place(command.name, command.options)
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
                command.kind, command.workflow_id, command.name, command.payload
            )
        case commands.FailWorkflow():
            return events.WorkflowFailed(command.failure)
        case commands.CancelWorkflow():
            return events.WorkflowCancelled(command.reason)
        case _:
            assert_never(command)
