"""decide: (state, input, now) -> turns. What one input does to one instance.

Facts come first, then the workflow code sees them, then what it asked for is recorded. An input
that changes nothing (a duplicate, a late report) yields no turn.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import assert_never

from processor.core import events
from processor.core.answers import Accepted, HeartbeatSeen, Refused, ReplyBody
from processor.core.attempt import AttemptState, OpenActivity
from processor.core.draft import Context, Draft
from processor.core.effects import Reply
from processor.core.failure import Failure
from processor.core.headers import NO_HEADERS, Headers
from processor.core.inputs import (
    ActivityReport,
    AnswerCall,
    AwaitResult,
    CancelRun,
    Change,
    ClientCommand,
    RaiseEvent,
    StartRun,
    TerminateRun,
    TimerDue,
)
from processor.core.replay import Instance, begun
from processor.core.retry import retry_at
from processor.core.runner import CodeError
from processor.core.started import EventReceived, Successor, WorkflowStarted
from processor.core.state import RunState, Summary
from processor.policy import CONFLICT_POLICIES, REUSE_POLICIES, Status

__all__ = (
    "STARTS_MAX",
    "Outcome",
    "accepted",
    "decide",
    "succeed",
    "unpark",
)

STARTS_MAX = 5
"""How often one attempt may be started (its worker died each time) until it counts as poison.

An eager attempt is lost with its process: so many lost ones in a row count as poison, too.
"""


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
        self.answer = body
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
        asked = draft.asked(runner, instance.pending)
    except CodeError as error:
        instance.runner = error
        return None
    instance.pending = []
    draft.add(events.RunUnparked())
    draft.record(runner, asked)
    return draft


def succeed(
    workflow_id: str,
    run_id: str,
    started: WorkflowStarted,
    context: Context,
    broken: CodeError | None = None,
) -> Draft:
    """Begin the run that follows a closed one. It cannot be refused: without its code it parks.

    ``broken`` says that its code cannot be used.
    """
    runner = broken or begun(context.runners, workflow_id, run_id, started, context.now_ms)
    if not isinstance(runner, CodeError):
        context.begun = runner
    draft = Draft(Instance(RunState(workflow_id, run_id), runner), context)
    draft.advance(started)
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
    refusal = _refusal(command.workflow_id, start, latest)
    if refusal is not None:
        return outcome.answered(refusal)
    if latest is not None and _is_used(start, latest):
        return outcome.answered(accepted(latest, created=False))
    started = WorkflowStarted(
        start.workflow,
        start.arguments,
        context.entropy(),
        start.execution_timeout_ms,
        start.memo,
        start.headers,
        context.runners.flags,
    )
    runner = begun(context.runners, command.workflow_id, run_id, started, context.now_ms)
    if not isinstance(runner, CodeError):
        context.begun = runner
    else:
        error, _, message = runner.error.partition(": ")
        if runner.kind != "not_registered":  # it has no name of ours: its arguments never end, say
            error, message = "CommandRejected", runner.error
        return outcome.answered(Refused(error, message))
    if instance is not None:
        successor = Successor(run_id, started)
        outcome.drafts.append(
            _terminated(instance, f"replaced by run {run_id}", context, successor)
        )
    draft = Draft(Instance(RunState(command.workflow_id, run_id), runner), context)
    draft.advance(started)
    outcome.drafts.append(draft)
    if start.result_within_ms is not None and command.reply_to is not None:
        outcome.awaited = AwaitResult(run_id, timeout_ms=start.result_within_ms)
        return outcome
    return outcome.answered(Accepted(run_id))


def _is_used(start: StartRun, latest: Summary) -> bool:
    """Return whether the run that has the id, open or closed, is what a start is answered with."""
    if not latest.status.is_open or start.conflict == "fail":
        return start.reuse == "use-existing"
    return start.conflict == "use-existing"


def _refusal(workflow_id: str, start: StartRun, latest: Summary | None) -> Refused | None:
    if start.reuse not in REUSE_POLICIES:
        reason = f"unknown id reuse policy {start.reuse!r}"
        choices = "it is allow, allow-failed, reject or use-existing"
        return Refused("CommandRejected", f"{reason}: {choices}")
    if start.conflict not in CONFLICT_POLICIES:
        reason = f"unknown id conflict policy {start.conflict!r}"
        return Refused("CommandRejected", f"{reason}: it is fail, use-existing or terminate")
    if latest is None:
        return None
    taken = f"workflow id {workflow_id!r} is taken by run {latest.run_id} ({latest.status.value})"
    if latest.status.is_open:
        if start.conflict == "fail" and start.reuse != "use-existing":
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
    assert isinstance(body, Change) and not isinstance(body, StartRun), f"no turn comes of {body}"
    if isinstance(body, AnswerCall):
        return _answer_call(body, instance, context)
    outcome = Outcome()
    if latest is None or not latest.is_meant(body.run_id, body.first_run_id):
        return outcome.answered(Refused("WorkflowNotFound", _not_found(command, body)))
    if instance is None:
        return outcome.answered(_closed_already(body, latest))
    match body:
        case RaiseEvent():
            if _is_full(instance, context.unread_events_max):
                return outcome.answered(_full(body, latest, context.unread_events_max))
            draft = Draft(instance, context)
            draft.advance(EventReceived(body.name, body.payload, body.headers))
            outcome.drafts.append(draft)
        case CancelRun():
            if instance.state.cancel_reason is None:
                draft = Draft(instance, context)
                draft.advance(events.WorkflowCancelRequested(body.reason))
                outcome.drafts.append(draft)
        case TerminateRun():
            outcome.drafts.append(_terminated(instance, body.reason, context))
        case _:
            assert_never(body)
    return outcome.answered(accepted(latest))


def _not_found(command: ClientCommand, body: RaiseEvent | CancelRun | TerminateRun) -> str:
    id = command.workflow_id
    if body.run_id is not None:
        return f"run {body.run_id!r} is not the latest run of workflow id {id!r}"
    if body.first_run_id is not None:
        which = f"the chain that began with run {body.first_run_id!r}"
        return f"the latest run of workflow id {id!r} is not of {which}"
    return f"no run of workflow id {id!r}"


def _closed_already(body: RaiseEvent | CancelRun | TerminateRun, latest: Summary) -> ReplyBody:
    if isinstance(body, RaiseEvent):
        reason = f"run {latest.run_id} of {latest.workflow!r} is {latest.status.value}"
        return Refused("CommandRejected", f"{reason}: event {body.name!r} was not taken")
    return accepted(latest, created=False)


def _is_full(instance: Instance, limit: int) -> bool:
    """Return whether as many events as may wait for the code do; parked, those that came since."""
    runner = instance.runner
    unread = 0 if isinstance(runner, CodeError) else runner.unread()
    if unread + len(instance.pending) < limit:
        return False
    return unread + sum(isinstance(fact, EventReceived) for fact in instance.pending) >= limit


def _full(event: RaiseEvent, run: Summary, limit: int) -> Refused:
    return Refused(
        "CommandRejected",
        f"run {run.run_id} of {run.workflow!r} has {limit:,} events that its code has not taken "
        f"(unread_events_max): event {event.name!r} was not taken. Send it again when the code has "
        "taken some; code that waits for events in a loop takes them all",
    )


def accepted(run: Summary, *, created: bool = True) -> Accepted:
    """Return the answer that names a run that was there before."""
    first = None if run.first_run_id == run.run_id else run.first_run_id
    return Accepted(run.run_id, created, first)


def _answer_call(answer: AnswerCall, instance: Instance | None, context: Context) -> Outcome:
    """Take the answer to a call; one that nobody waits for any more is dropped."""
    outcome = Outcome()
    state = None if instance is None else instance.state
    if instance is None or state is None or state.run_id != answer.run_id:
        return outcome.answered(Accepted("", created=False))
    if answer.call not in state.calls:
        return outcome.answered(Accepted(state.run_id, created=False))
    draft = Draft(instance, context)
    draft.advance(events.CallAnswered(answer.call, answer.outcome))
    outcome.drafts.append(draft)
    return outcome.answered(Accepted(answer.run_id))


def _terminated(
    instance: Instance, reason: str, context: Context, successor: Successor | None = None
) -> Draft:
    draft = Draft(instance, context)
    draft.add(events.WorkflowTerminated(reason, successor))
    return draft


# --- reports of activity attempts -------------------------------------------------------------


def _report(report: ActivityReport, instance: Instance | None, context: Context) -> Outcome:
    activity = _attempt(instance, report.run_id, report.id, report.attempt)
    outcome = Outcome()
    poison = (
        report.kind == "started" and activity is not None and _is_poison(report, activity.state)
    )
    if report.reply_to is not None:
        seen = HeartbeatSeen(report.run_id, report.id, report.attempt, activity is None or poison)
        outcome.replies.append(Reply(report.reply_to, seen))
    if activity is None:
        return outcome
    assert instance is not None
    draft = Draft(instance, context)
    state = activity.state
    match report.kind:
        case "completed":
            draft.advance(
                events.ActivityCompleted(report.id, report.attempt, report.payload, report.headers)
            )
        case "failed":
            assert report.failure is not None, "a failed report has a failure"
            lost = state.eager and report.worker != ""
            _attempt_failed(draft, activity, report.failure, report.headers, lost=lost)
        case "started":
            if report.worker == state.worker:
                return outcome
            if poison:
                _attempt_failed(draft, activity, _poison(activity))
            else:
                after = replace(
                    state,
                    started_ms=draft.now_ms,
                    heartbeat_ms=None,
                    worker=report.worker,
                    starts=state.starts + 1,
                )
                draft.stands(activity, after)
        case "heartbeat":
            after = replace(state, heartbeat_ms=draft.now_ms, details=report.payload)
            draft.stands(activity, after)
        case _:
            assert_never(report.kind)
    outcome.drafts.append(draft)
    return outcome


def _attempt(instance: Instance | None, run_id: str, id: int, attempt: int) -> OpenActivity | None:
    """Return the activity if this attempt is the one that runs now."""
    if instance is None or instance.state.run_id != run_id:
        return None
    activity = instance.state.activities.get(id)
    if (
        activity is None
        or activity.state.attempt != attempt
        or activity.state.retry_at_ms is not None
    ):
        return None
    return activity


def _is_poison(report: ActivityReport, state: AttemptState) -> bool:
    """Return whether another worker is about to start what has ended all that started it."""
    return report.worker != state.worker and state.starts >= STARTS_MAX


def _poison(activity: OpenActivity) -> Failure:
    if activity.state.eager:
        happened = (
            f"was lost {STARTS_MAX} times in a row with the process that ran it, in attempt "
            f"{activity.attempt} for the last time: it seems to end its process (a crash of native "
            "code, os._exit, memory), or it takes longer than the process lives"
        )
    else:
        happened = (
            f"was started {STARTS_MAX} times in attempt {activity.attempt} and never ended: it "
            "seems to end its worker"
        )
    return Failure(
        "activity_timed_out",
        "ActivityTimedOut",
        f"activity {activity.name!r} {happened}",
        details=activity.state.details,
        retryable=False,
        timeout_kind="lost",
        activity=activity.name,
        attempts=activity.attempt,
    )


def _attempt_failed(
    draft: Draft,
    activity: OpenActivity,
    failure: Failure,
    headers: Headers = NO_HEADERS,
    *,
    lost: bool = False,
) -> None:
    """Retry or fail. ``lost``: the process ended that ran this eager attempt; that is counted."""
    state = activity.state
    starts = 0 if state.eager else state.starts
    if lost:
        starts = state.starts + 1
        failure = _poison(activity) if starts >= STARTS_MAX else failure
    retry_at_ms = retry_at(activity, failure, draft.now_ms, headers)
    if retry_at_ms is None:
        draft.advance(events.ActivityFailed(activity.id, activity.attempt, failure))
        return
    after = replace(
        state,
        retry_at_ms=retry_at_ms,
        starts=starts,
        failures=state.failures + 1,
        first_failure=state.first_failure or failure,
        last_failure=failure,
    )
    draft.stands(activity, after)


def _retried(draft: Draft, activity: OpenActivity, eager: bool) -> None:
    """The delay is over: the next attempt is on its way."""
    state = activity.state
    after = replace(
        state,
        attempt=state.attempt + 1,
        eager=eager,
        dispatched_ms=draft.now_ms,
        started_ms=None,
        heartbeat_ms=None,
        retry_at_ms=None,
        worker="",
        starts=state.starts if eager and state.eager else 0,
    )
    draft.stands(activity, after)


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
            if state.timers.get(due.id) == due.due_ms:
                draft.advance(events.TimerFired(due.id))
        case "execution":
            if state.deadline_ms == due.due_ms:
                draft.add(events.WorkflowTimedOut(due.due_ms - state.started_ms))
        case "retry":
            waits = activity is not None and activity.state.retry_at_ms == due.due_ms
            if activity is not None and waits and activity.attempt == due.attempt:
                _retried(draft, activity, context.place(activity.name, activity.options))
        case "schedule_to_start" | "start_to_close" | "schedule_to_close" | "heartbeat":
            if activity is not None and activity.armed.get(due.kind) == due.due_ms:
                _timed_out(draft, activity, due)
        case _:
            assert_never(due.kind)
    if draft.events or draft.attempt is not None:
        outcome.drafts.append(draft)
    return outcome


def _timed_out(draft: Draft, activity: OpenActivity, due: TimerDue) -> None:
    """End an attempt that took too long.

    The cause is the last failure that was no time-out: one that held all time-outs before it
    would grow with every attempt.
    """
    words = due.kind.replace("_", "-")
    last = activity.state.last_failure
    if last is not None and last.kind == "activity_timed_out":
        last = last.cause
    failure = Failure(
        "activity_timed_out",
        "ActivityTimedOut",
        f"activity {activity.name!r}: {words} time-out in attempt {activity.attempt}",
        details=activity.state.details,
        retryable=due.kind != "schedule_to_close",
        timeout_kind=due.kind,
        activity=activity.name,
        attempts=activity.attempt,
        cause=last,
    )
    _attempt_failed(draft, activity, failure)
