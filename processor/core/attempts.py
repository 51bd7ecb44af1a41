"""What becomes of the attempts of activities: their reports, their time-outs, their retries."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from processor.core.data.failure import BENIGN, Failure
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.data.retry import retry_at
from processor.core.draft import Context, Draft, Outcome
from processor.core.inputs import ActivityReport, TimerDue
from processor.core.nouns.activity import (
    ActivityCompleted,
    ActivityFailed,
    AttemptState,
    OpenActivity,
)
from processor.core.records.answers import HeartbeatSeen, StopWanted
from processor.core.records.effects import Reply
from processor.core.replay import Instance

__all__ = ("STARTS_MAX", "failed", "reported", "retried", "stopped", "timed_out")

STARTS_MAX = 5
"""How often one attempt may be started (its worker died each time) until it counts as poison.

An eager attempt is lost with its process: so many lost ones in a row count as poison, too.
"""


def reported(report: ActivityReport, instance: Instance | None, context: Context) -> Outcome:
    activity = _attempt(instance, report.run_id, report.id, report.attempt)
    outcome = Outcome()
    poison = (
        report.kind == "started" and activity is not None and _is_poison(report, activity.state)
    )
    if report.reply_to is not None:
        which = report.run_id, report.id, report.attempt
        stop = activity is None or poison or _may_not_begin(report, activity)
        waits = activity is not None and activity.stop_ms is not None and not stop
        answer = StopWanted(*which) if waits else HeartbeatSeen(*which, stop)
        outcome.replies.append(Reply(report.reply_to, answer))
    if activity is None:
        return outcome
    assert instance is not None, "its activity is open"
    draft = Draft(instance, context)
    state = activity.state
    match report.kind:
        case "completed":
            draft.advance(
                ActivityCompleted(report.id, report.attempt, report.payload, report.headers)
            )
        case "failed":
            assert report.failure is not None, "a failed report has a failure"
            lost = state.eager and report.worker != ""
            failed(draft, activity, report.failure, report.headers, lost=lost)
        case "started":
            if state.is_left_open or (report.worker and report.worker == state.worker):
                return outcome
            if report.leaves_open:
                draft.stands(activity, _left_open(state, draft.now_ms))
            elif report.reply_to is not None and activity.stop_ms is not None:
                draft.advance(stopped(activity))
            elif poison:
                failed(draft, activity, _poison(activity))
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


def _may_not_begin(report: ActivityReport, activity: OpenActivity) -> bool:
    """Return whether a worker asks about what was left open, or asked to stop, before it began."""
    asked_to_stop = activity.stop_ms is not None
    return report.kind == "started" and (activity.state.is_left_open or asked_to_stop)


def _left_open(state: AttemptState, now_ms: int) -> AttemptState:
    """Return an attempt whose function has returned without an outcome: it is nobody's.

    Its time-outs are the shard's from now on, and start-to-close goes on from its beginning. No
    process takes it with it.
    """
    began_ms = state.dispatched_ms if state.eager else now_ms
    return replace(
        state,
        eager=False,
        started_ms=state.started_ms or began_ms,
        heartbeat_ms=now_ms,
        worker="",
        starts=0,
    )


def _is_poison(report: ActivityReport, state: AttemptState) -> bool:
    """Return whether another worker is about to start what has ended all that started it."""
    if report.leaves_open or state.is_left_open:
        return False
    return report.worker != state.worker and state.starts >= STARTS_MAX


def _poison(activity: OpenActivity) -> Failure:
    assert activity.state.starts >= STARTS_MAX - 1, f"activity {activity.id} was started too often"
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


def failed(
    draft: Draft,
    activity: OpenActivity,
    failure: Failure,
    headers: Headers = NO_HEADERS,
    *,
    lost: bool = False,
) -> None:
    """Retry or fail. ``lost``: the process ended that ran this eager attempt; that is counted.

    What was asked to stop is not tried again.
    """
    state = activity.state
    starts = 0 if state.eager else state.starts
    if lost:
        starts = state.starts + 1
        failure = _poison(activity) if starts >= STARTS_MAX else failure
    attempt = activity.attempt - activity.counted_from + 1
    retry_at_ms = retry_at(
        activity.options, max(attempt, 1), failure, draft.now_ms, activity.end_ms, headers
    )
    if retry_at_ms is None or activity.stop_ms is not None:
        draft.advance(ActivityFailed(activity.id, activity.attempt, failure))
        return
    after = replace(
        state,
        retry_at_ms=retry_at_ms,
        starts=starts,
        failures=state.failures + (failure.kind != BENIGN),
        first_failure=state.first_failure or failure,
        last_failure=failure,
    )
    draft.stands(activity, after)


def stopped(activity: OpenActivity) -> ActivityFailed:
    """Return the end of an activity that has stopped as it was asked to."""
    assert activity.stop_ms is not None, f"activity {activity.id} was asked to stop"
    failure = Failure(
        "activity_cancelled",
        "ActivityCancelled",
        f"activity {activity.name!r} has stopped as it was asked to",
        activity=activity.name,
        attempts=activity.attempt,
    )
    return ActivityFailed(activity.id, activity.attempt, failure)


def retried(draft: Draft, activity: OpenActivity, eager: bool) -> None:
    """The delay is over: the next attempt is on its way."""
    state = activity.state
    assert state.retry_at_ms is not None, f"activity {activity.id} waits for its next attempt"
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


def timed_out(draft: Draft, activity: OpenActivity, due: TimerDue) -> None:
    """End an attempt that took too long.

    The cause is the last failure that was no time-out: one that held all time-outs before it
    would grow with every attempt.
    """
    assert due.id == activity.id, f"{due} is not of activity {activity.id}"
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
    failed(draft, activity, failure)
