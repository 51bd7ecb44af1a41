"""decide: (state, input, now) -> turns. What one input does to one instance.

Facts come first, then the workflow code sees them, then what it asked for is recorded. An input
that changes nothing (a duplicate, a late report) yields no turn.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from processor.core.attempts import reported, retried, stopped, timed_out
from processor.core.data.address import Caller
from processor.core.draft import Context, Draft, Outcome
from processor.core.inputs import ActivityReport, ClientCommand, TimerDue
from processor.core.nouns.awaited import AnswerAwaited
from processor.core.nouns.chain import too_large
from processor.core.nouns.lineage import Plan
from processor.core.nouns.locks.granting import LockEntity
from processor.core.nouns.run import (
    RunUnparked,
    Successor,
    Summary,
    WorkflowStarted,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from processor.core.nouns.start import StartPlanned, StartRun, StartWith
from processor.core.nouns.update import AwaitUpdate, UpdateRun
from processor.core.nouns.value import AwaitValue
from processor.core.operation import OperationOnRun
from processor.core.questions import AwaitResult
from processor.core.records.answers import Accepted, Refused, ReplyBody
from processor.core.replay import Instance, begun
from processor.core.runner import CodeError
from processor.core.state import RunState

__all__ = (
    "decide",
    "succeed",
    "unpark",
)


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
    assert instance is None or instance.state.workflow_id == input.workflow_id, "it is of its id"
    match input:
        case ActivityReport():
            return reported(input, instance, context)
        case TimerDue():
            return _timer(input, instance, context)
        case ClientCommand(body=StartRun() as start):
            return _start(input, start, instance, latest, run_id, context)
        case ClientCommand(body=OperationOnRun() as asked):
            return _asked(input, asked, instance, latest, context)
        case ClientCommand(body=AwaitResult() | AwaitValue() as asked, caller=Caller() as caller):
            assert instance is not None, "what has ended is read from the tables"
            return _awaited(asked, caller, instance, context)
        case ClientCommand():
            raise AssertionError(f"no turn comes of {input.body}")
        case _:
            assert_never(input)


def unpark(instance: Instance, context: Context) -> Draft | None:
    """Try a parked run's code again; None when it still cannot go on."""
    runner = instance.runner
    assert instance.state.parked is not None, f"run {instance.state.run_id} is not parked"
    if isinstance(runner, CodeError):
        return None
    draft = Draft(instance, context)
    try:
        asked = draft.asked(runner, instance.pending)
    except CodeError as error:
        instance.lose(error)
        return None
    instance.pending = []
    draft.add(RunUnparked())
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
    assert run_id, "whoever closed the run named the one that follows"
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
    assert instance is None or latest is not None, "an open run is known"
    outcome = Outcome()
    refusal = _refusal(command, start, latest)
    if refusal is not None:
        return outcome.answered(refusal)
    if latest is not None and start.uses(latest):
        if isinstance(start, StartWith):
            return _first(command, start, instance, latest, context)
        return outcome.answered(latest.accepted(created=False))
    try:
        limit_ms, plan = _as_defined(start, context)
    except ValueError as wrong:
        return outcome.answered(Refused("CommandRejected", str(wrong)))
    started = WorkflowStarted(
        start.workflow,
        start.arguments,
        context.entropy(),
        limit_ms,
        start.memo,
        start.headers,
        context.runners.flags,
        start.lineage(command.caller),
        plan,
    )
    refusal = too_large(started)
    if refusal is not None:
        return outcome.answered(refusal)
    runner = begun(context.runners, command.workflow_id, run_id, started, context.now_ms)
    if not isinstance(runner, CodeError):
        context.begun = runner
    elif command.caller is None or runner.kind != "not_registered":  # a caller's run parks
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
    first = start.first if isinstance(start, StartWith) else None
    more = () if first is None else first.begins_with(command.caller, draft.now_ms)
    if isinstance(first, UpdateRun) and command.caller is not None:
        more = (AnswerAwaited(command.caller, "update", first.id),)
    draft.advance(started, *more)
    outcome.drafts.append(draft)
    if isinstance(first, UpdateRun):
        return _told(outcome, first, draft, None, Accepted(run_id))
    if isinstance(first, LockEntity):
        return outcome  # the grant is the answer
    if start.result_within_ms is not None and command.reply_to is not None:
        outcome.awaited = AwaitResult(None, run_id, start.result_within_ms)
        return outcome
    return outcome.answered(Accepted(run_id))


def _refusal(command: ClientCommand, start: StartRun, latest: Summary | None) -> Refused | None:
    """Return why nothing comes of a start, or of what goes with it."""
    refusal = start.refusal(command.workflow_id, latest)
    if refusal is None and isinstance(start, StartWith) and start.first is not None:
        return start.first.refusal(command.workflow_id, command.caller)
    return refusal


def _first(
    command: ClientCommand,
    start: StartWith,
    instance: Instance | None,
    latest: Summary,
    context: Context,
) -> Outcome:
    """Tell a run that is there already what goes with a start."""
    assert start.first is not None, "checked where it was read"
    return _asked(command, start.first, instance, latest, context, created=False)


def _told(
    outcome: Outcome, asked: UpdateRun, draft: Draft, told: ReplyBody | None, accepted: Accepted
) -> Outcome:
    """Return an outcome with what the sender of an update is told, or waits for."""
    found = asked.awaits(draft.run, told)
    if isinstance(found, AwaitUpdate):
        outcome.awaited = found
        return outcome
    return outcome.answered(found or accepted)


def _as_defined(start: StartRun, context: Context) -> tuple[int | None, Plan | None]:
    """Return the execution time-out and the plan of a run: what a start does not say, its
    definition does. They stand in the history: what the code says later changes no run.

    Raises ``ValueError`` for what is no cron string.
    """
    limit_ms = start.execution_timeout_ms
    plan = start.plan if isinstance(start, StartPlanned) else None
    defaults = context.runners.defaults.get(start.workflow)
    if defaults is not None:
        limit_ms = defaults.execution_timeout_ms if limit_ms is None else limit_ms
        if defaults.retry is not None and (plan is None or plan.retry is None):
            plan = replace(plan or Plan(), retry=defaults.retry)
    if plan is not None and plan.cron is not None:
        try:
            begins_ms = context.next_ms(plan.cron, context.now_ms)
        except ValueError as wrong:
            raise ValueError(f"cron {plan.cron!r}: {wrong}") from wrong
        if begins_ms is None:
            raise ValueError(f"cron {plan.cron!r}: there is no such time")
        plan = replace(plan, start_at_ms=begins_ms)
    elif plan is not None and (plan.start_at_ms or context.now_ms) <= context.now_ms:
        plan = replace(plan, start_at_ms=None)
    return limit_ms, plan


def _asked(
    command: ClientCommand,
    asked: OperationOnRun,
    instance: Instance | None,
    latest: Summary | None,
    context: Context,
    *,
    created: bool = True,
) -> Outcome:
    assert instance is None or latest is not None, "an open run is known"
    outcome = Outcome()
    if latest is None or not latest.is_meant(*asked.which()):
        return outcome.answered(asked.not_found(command.workflow_id))
    if instance is None:
        told = asked.when_closed(latest)
        if command.caller is not None and isinstance(told, Refused):
            told = Refused("WorkflowNotFound", told.message)
        return outcome.answered(told)
    draft = Draft(instance, context, command.caller)
    answer = asked.decide(draft, latest)
    if draft.events or draft.attempt is not None:
        outcome.drafts.append(draft)
    accepted = latest.accepted(created=created)
    if isinstance(asked, UpdateRun) and draft.events:
        return _told(outcome, asked, draft, answer, accepted)
    return outcome.answered(answer or accepted)


def _awaited(
    asked: AwaitResult | AwaitValue, caller: Caller, instance: Instance, context: Context
) -> Outcome:
    """Let another run wait for something of this one, or tell it at once.

    A call that waits already waits for what is asked last: no shard of ours asks twice.
    """
    outcome, draft = Outcome(), Draft(instance, context, caller)
    told: ReplyBody | None
    if isinstance(asked, AwaitResult) and caller.run_id == draft.run.run_id:
        # The verb refuses that, but for code that names its own namespace.
        which = f"run {caller.run_id} of {draft.run.workflow_id!r}"
        why = f"{which} waits for its own end, and would never end: leave that wait out"
        return outcome.answered(Refused("CommandRejected", why))
    if isinstance(asked, AwaitResult):
        told = draft.let_wait("result", "")
    else:
        told = asked.known(draft.run) or draft.let_wait("value", asked.name)
    if told is not None:
        return outcome.answered(told)
    assert caller in draft.run.callers, f"call {caller} is answered later"
    outcome.drafts.append(draft)
    return outcome


def _terminated(
    instance: Instance, reason: str, context: Context, successor: Successor | None = None
) -> Draft:
    assert successor is None or successor.run_id != instance.state.run_id, "another run follows"
    draft = Draft(instance, context)
    draft.add(WorkflowTerminated(reason, successor))
    return draft


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
                draft.advance(*state.fired(due.id))
        case "execution":
            if state.deadline_ms == due.due_ms:
                assert state.started is not None, "an open run has begun"
                limit_ms = state.started.execution_timeout_ms
                assert limit_ms is not None, "a deadline comes of an execution time-out"
                ends = WorkflowTimedOut(limit_ms)
                has_cron = state.started.plan is not None and state.started.plan.cron is not None
                draft.add(draft.followed(ends, instance.unread) if has_cron else ends)
        case "retry":
            waits = activity is not None and activity.armed.get("retry") == due.due_ms
            if activity is not None and waits and activity.attempt == due.attempt:
                if activity.stop_ms is not None:
                    draft.advance(stopped(activity))
                else:
                    retried(draft, activity, draft.places(activity.name, activity.options))
        case "schedule_to_start" | "start_to_close" | "schedule_to_close" | "heartbeat":
            if activity is not None and activity.armed.get(due.kind) == due.due_ms:
                timed_out(draft, activity, due)
        case _:
            assert_never(due.kind)
    if draft.events or draft.attempt is not None:
        outcome.drafts.append(draft)
    return outcome
