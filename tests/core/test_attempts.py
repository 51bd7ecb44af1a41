"""How the attempts of an activity go: reports and what comes due, and where that leaves it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from processor.codec.records import encode
from processor.core.attempts import STARTS_MAX
from processor.core.data.address import ReplyTo
from processor.core.data.failure import Failure
from processor.core.data.options import ActivityOptions
from processor.core.decide import decide
from processor.core.draft import Outcome
from processor.core.inputs import ActivityReport, TimerDue
from processor.core.nouns.activity import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    AttemptState,
    armed,
)
from processor.core.nouns.run import WorkflowCompleted
from processor.core.records import effects
from processor.core.records.answers import HeartbeatSeen
from processor.core.records.turn import AttemptRecord, Positions
from processor.core.replay import Instance
from processor.policy import Status

from .scripted import DOWN, ID, NOW, RUN, Scripted, attempt, context, instance, scheduled

WORKER = ReplyTo(3, "worker")
DONE = WorkflowCompleted(b'"done"')
COMPLETED = WorkflowCompleted(b'"done"')
LATER = NOW + 700
WENT = replace(DOWN, message="it went")
BEGAN = attempt(started_ms=NOW, worker="w", starts=1)
WAITS = attempt(retry_at_ms=NOW + 1_000, failures=1, first_failure=DOWN, last_failure=DOWN)
LAST = {"maximum_attempts": 1}


def report(kind: Any, id: int = 1, attempt: int = 1, **how: Any) -> ActivityReport:
    return ActivityReport(ID, RUN, id, attempt, kind, **how)


def due(kind: Any, id: int = 1, attempt: int = 1, due_ms: int = NOW) -> TimerDue:
    return TimerDue(ID, RUN, kind, id, attempt, due_ms)


def outcome_of(input: Any, run: Instance | None, **how: Any) -> Outcome:
    return decide(input, run, None, "", context(**{"now_ms": LATER, **how}))


def stands(input: Any, run: Instance, **how: Any) -> AttemptState:
    """Return where the activity stands after an input that is no turn."""
    (draft,) = outcome_of(input, run, **how).drafts
    assert draft.events == [] and draft.attempt is not None
    assert run.state.activities[draft.attempt.id].state == draft.attempt, "and so does the state"
    assert run.state.status is Status.RUNNING
    assert isinstance(run.runner, Scripted) and run.runner.seen == [], "the code hears nothing"
    return draft.attempt


# --- reports ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "given", "after"),
    [
        (
            [scheduled()],
            report("started", worker="w"),
            attempt(started_ms=LATER, worker="w", starts=1),
        ),
        (
            [scheduled(), replace(BEGAN, heartbeat_ms=NOW + 9, details=b"3")],
            report("started", worker="v"),
            attempt(started_ms=LATER, worker="v", starts=2, details=b"3"),
        ),
        (
            [scheduled(), BEGAN],
            report("heartbeat", payload=b"3"),
            replace(BEGAN, heartbeat_ms=LATER, details=b"3"),
        ),
        (
            [scheduled(), replace(BEGAN, details=b"3")],
            report("heartbeat"),
            replace(BEGAN, heartbeat_ms=LATER, details=None),
        ),
        (
            [scheduled(), replace(BEGAN, details=b"3")],
            report("failed", failure=DOWN),
            replace(
                BEGAN,
                details=b"3",
                retry_at_ms=LATER + 1_000,
                failures=1,
                first_failure=DOWN,
                last_failure=DOWN,
            ),
        ),
        (
            [scheduled(), replace(WAITS, attempt=2, retry_at_ms=None)],
            report("failed", attempt=2, failure=WENT),
            replace(WAITS, attempt=2, retry_at_ms=LATER + 2_000, failures=2, last_failure=WENT),
        ),
    ],
    ids=["began", "began elsewhere", "beat", "beat with nothing", "failed", "failed again"],
)
def test_a_report_says_where_the_activity_stands(history: Any, given: Any, after: Any) -> None:
    assert stands(given, instance(*history)) == after


@pytest.mark.parametrize(
    ("history", "given", "turn"),
    [
        (
            [scheduled()],
            report("completed", payload=b"5", headers=(("h", b"1"),)),
            ActivityCompleted(1, 1, b"5", (("h", b"1"),)),
        ),
        ([scheduled()], report("completed"), ActivityCompleted(1, 1, None)),
        (
            [scheduled(), replace(BEGAN, attempt=3)],
            report("completed", attempt=3, payload=b"5"),
            ActivityCompleted(1, 3, b"5"),
        ),
        ([scheduled(**LAST)], report("failed", failure=DOWN), ActivityFailed(1, 1, DOWN)),
    ],
)
def test_an_outcome_is_a_turn(history: Any, given: ActivityReport, turn: Any) -> None:
    (draft,) = outcome_of(given, instance(*history, asks=[[DONE]])).drafts
    assert (draft.events, draft.attempt) == ([turn, COMPLETED], None)


@pytest.mark.parametrize(
    ("history", "given"),
    [
        ([scheduled()], report("completed", attempt=2)),
        ([scheduled()], report("completed", id=2)),
        ([scheduled(), WAITS], report("completed")),
        ([scheduled(), WAITS], report("heartbeat")),
        ([scheduled(), WAITS], report("failed", failure=DOWN)),
        ([scheduled(), attempt(2)], report("failed", failure=DOWN)),
        ([scheduled(), ActivityCancelled(1)], report("completed")),
        ([scheduled(), ActivityCompleted(1, 1, b"5")], report("completed")),
        ([scheduled(), BEGAN], report("started", worker="w")),
        ([scheduled()], replace(report("completed"), run_id="run-0")),
    ],
)
def test_a_report_that_comes_too_late_or_twice_changes_nothing(history: Any, given: Any) -> None:
    run = instance(*history)
    assert outcome_of(given, run).drafts == []
    assert isinstance(run.runner, Scripted) and run.runner.seen == []


def test_a_report_to_no_run_changes_nothing() -> None:
    assert outcome_of(report("completed"), None).drafts == []


def test_an_attempt_that_is_started_too_often_has_failed() -> None:
    stood = replace(BEGAN, starts=STARTS_MAX, details=b"3")
    run = instance(scheduled(), stood, asks=[[DONE]])
    (draft,) = outcome_of(report("started", worker="v"), run).drafts
    failed, end = draft.events
    assert isinstance(failed, ActivityFailed) and end == COMPLETED
    assert failed.failure.timeout_kind == "lost" and not failed.failure.retryable
    assert f"started {STARTS_MAX} times" in failed.failure.message
    assert failed.failure.details == b"3"


LOST = Failure("activity_timed_out", "ActivityTimedOut", "lost", timeout_kind="lost")
GONE: dict[str, Any] = {"failure": LOST, "worker": "an owner before"}


@pytest.mark.parametrize(
    ("stood", "given", "starts"),
    [
        (attempt(eager=True), GONE, 1),
        (attempt(eager=True, starts=3), GONE, 4),
        (attempt(eager=True, starts=4), {"failure": LOST}, 0),
        (attempt(eager=True, starts=4), {"failure": DOWN}, 0),
        (attempt(starts=4), {"failure": DOWN}, 4),
    ],
    ids=["first", "fourth", "stopped with its worker", "failed by itself", "queued"],
)
def test_eager_attempts_that_are_lost_with_their_process_are_counted_in_a_row(
    stood: AttemptState, given: dict[str, Any], starts: int
) -> None:
    run = instance(scheduled(), replace(stood, details=b"3"))
    after = stands(report("failed", **given), run)
    assert (after.starts, after.details, after.failures) == (starts, b"3", 1)
    assert after.retry_at_ms is not None
    again = stands(due("retry", due_ms=after.retry_at_ms), run)
    assert (again.attempt, again.starts) == (2, starts if stood.eager else 0)
    assert again.is_dispatch, "it leaves the shard"
    assert again.eager


def test_a_count_of_lost_attempts_ends_with_an_attempt_in_a_queue() -> None:
    waits = replace(WAITS, eager=True, starts=4)
    run = instance(scheduled(), waits)
    assert stands(due("retry", due_ms=NOW + 1_000), run, place=lambda *_: False).starts == 0


def test_what_is_lost_with_its_process_too_often_has_failed() -> None:
    stood = attempt(5, eager=True, starts=STARTS_MAX - 1, details=b"3")
    run = instance(scheduled(), stood, asks=[[DONE]])
    (draft,) = outcome_of(report("failed", attempt=5, **GONE), run).drafts
    failed, end = draft.events
    assert isinstance(failed, ActivityFailed) and end == COMPLETED
    failure = failed.failure
    assert (failure.timeout_kind, failure.retryable, failure.details) == ("lost", False, b"3")
    assert f"was lost {STARTS_MAX} times in a row with the process" in failure.message
    assert "it seems to end its process" in failure.message


POISON = replace(BEGAN, starts=STARTS_MAX)


@pytest.mark.parametrize(
    ("stood", "given", "cancelled"),
    [
        (None, report("started", worker="v"), False),
        (replace(POISON, starts=STARTS_MAX - 1), report("started", worker="v"), False),
        (POISON, report("started", worker="v"), True),
        (POISON, report("started", worker="w"), False),
        (None, report("heartbeat"), False),
        (attempt(2), report("heartbeat"), True),
        (WAITS, report("heartbeat"), True),
    ],
)
def test_a_worker_that_asks_is_told_whether_to_go_on(
    stood: AttemptState | None, given: ActivityReport, cancelled: bool
) -> None:
    history = [scheduled()] if stood is None else [scheduled(), stood]
    outcome = outcome_of(replace(given, reply_to=WORKER), instance(*history, asks=[[DONE]]))
    assert outcome.replies == [effects.Reply(WORKER, HeartbeatSeen(RUN, 1, 1, cancelled))]
    assert outcome.answer is None


# --- what comes due ---------------------------------------------------------------------------


@pytest.mark.parametrize("eager", [True, False])
def test_a_retry_begins_afresh_but_for_its_details_and_failures(eager: bool) -> None:
    waits = replace(WAITS, started_ms=NOW, worker="w", starts=4, heartbeat_ms=NOW, details=b"3")
    run = instance(scheduled(), waits)
    after = stands(due("retry", due_ms=NOW + 1_000), run, place=lambda *_: eager)
    assert after == AttemptState(
        1, 2, eager, LATER, details=b"3", failures=1, first_failure=DOWN, last_failure=DOWN
    )
    assert after.is_dispatch and not WAITS.is_dispatch and not BEGAN.is_dispatch


@pytest.mark.parametrize(
    ("history", "given"),
    [
        ([scheduled(), WAITS], due("retry", due_ms=NOW)),
        ([scheduled(), WAITS], due("retry", attempt=2, due_ms=NOW + 1_000)),
        ([scheduled(), attempt(2)], due("retry", due_ms=NOW + 1_000)),
        ([scheduled(), WAITS, ActivityCancelled(1)], due("retry", due_ms=NOW + 1_000)),
        ([scheduled(start_to_close_ms=50), BEGAN], due("start_to_close")),
        ([scheduled(start_to_close_ms=50), BEGAN], due("schedule_to_start")),
        ([scheduled(start_to_close_ms=50)], due("start_to_close", due_ms=NOW + 50)),
        ([scheduled(heartbeat_ms=50), WAITS], due("heartbeat", due_ms=NOW + 50)),
        ([], due("schedule_to_close", attempt=0)),
    ],
)
def test_a_timer_that_is_not_set_any_more_changes_nothing(history: Any, given: Any) -> None:
    assert outcome_of(given, instance(*history)).drafts == []


LIMITS = {
    "schedule_to_start_ms": 40,
    "start_to_close_ms": 50,
    "heartbeat_ms": 60,
    "schedule_to_close_ms": 90_000,
}


@pytest.mark.parametrize(
    ("history", "kind", "attempt_", "due_ms"),
    [
        ([], "schedule_to_start", 1, NOW + 40),
        ([BEGAN], "start_to_close", 1, NOW + 50),
        ([BEGAN], "heartbeat", 1, NOW + 60),
        ([replace(BEGAN, heartbeat_ms=NOW + 9)], "heartbeat", 1, NOW + 69),
        ([attempt(2, dispatched_ms=NOW + 5)], "schedule_to_start", 2, NOW + 45),
    ],
)
def test_a_time_out_of_an_attempt_is_retried(
    history: Any, kind: Any, attempt_: int, due_ms: int
) -> None:
    run = instance(scheduled(**LIMITS), *history)
    after = stands(due(kind, attempt=attempt_, due_ms=due_ms), run)
    failure = after.last_failure
    assert failure is not None and after.first_failure == failure
    assert after.retry_at_ms == LATER + 1_000 * attempt_
    assert (failure.kind, failure.timeout_kind) == ("activity_timed_out", kind)
    assert failure.message == (
        f"activity 'pay': {kind.replace('_', '-')} time-out in attempt {attempt_}"
    )


@pytest.mark.parametrize("history", [[], [BEGAN], [WAITS]], ids=["queued", "running", "waiting"])
def test_the_time_for_all_attempts_ends_the_activity_wherever_it_stands(history: Any) -> None:
    run = instance(scheduled(**LIMITS), *history, asks=[[DONE]])
    (draft,) = outcome_of(due("schedule_to_close", attempt=0, due_ms=NOW + 90_000), run).drafts
    failed, _ = draft.events
    assert isinstance(failed, ActivityFailed)
    assert (failed.failure.timeout_kind, failed.failure.retryable) == ("schedule_to_close", False)


def test_a_time_out_keeps_the_last_failure_that_was_none_and_the_details() -> None:
    stood = attempt(started_ms=NOW, details=b"3", failures=1, first_failure=DOWN, last_failure=WENT)
    run = instance(scheduled(start_to_close_ms=50, initial_interval_ms=1), stood)
    first = stands(due("start_to_close", due_ms=NOW + 50), run).last_failure
    assert first is not None and (first.cause, first.details) == (WENT, b"3")
    again = attempt(2, started_ms=NOW, first_failure=DOWN, last_failure=first)
    run = instance(scheduled(start_to_close_ms=50), again)
    second = stands(due("start_to_close", attempt=2, due_ms=NOW + 50), run).last_failure
    assert second is not None and second.cause == WENT, "and no time-out within a time-out"


@pytest.mark.parametrize("before", [None, DOWN], ids=["from the first on", "after a failure"])
def test_the_record_of_an_activity_that_times_out_for_a_month_does_not_grow(
    before: Failure | None,
) -> None:
    options = {"start_to_close_ms": 50, "coefficient": 1.0, "initial_interval_ms": 10}
    run = instance(scheduled(**options))
    if before is not None:
        stands(report("failed", failure=before), run, now_ms=NOW)
        stands(due("retry", due_ms=NOW + 10), run, now_ms=NOW + 10, place=lambda *_: False)
    now_ms, sizes = NOW + 100, []
    for _ in range(2_000):
        number = run.state.activities[1].attempt
        stands(report("started", attempt=number, worker="w"), run, now_ms=now_ms)
        ended = due("start_to_close", attempt=number, due_ms=now_ms + 50)
        after = stands(ended, run, now_ms=now_ms + 50)
        sizes.append(_size(after))
        retry = due("retry", attempt=number, due_ms=now_ms + 60)
        stands(retry, run, now_ms=now_ms + 60, place=lambda *_: False)
        now_ms += 100
    assert run.state.activities[1].state.failures == 2_000 + (before is not None)
    assert max(sizes) - sizes[0] <= 16, "the digits of the attempt's number, and no more"
    assert run.state.events == 2, "nor does the history"


def _size(after: AttemptState) -> int:
    where = Positions()
    return len(encode(AttemptRecord(ID, RUN, 0, NOW, "timers", where, 0, None, "pay", after)))


# --- what is armed ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "found"),
    [
        (attempt(dispatched_ms=NOW + 5), {"schedule_to_close": 90_000, "schedule_to_start": 45}),
        (BEGAN, {"schedule_to_close": 90_000, "start_to_close": 50, "heartbeat": 60}),
        (
            replace(BEGAN, heartbeat_ms=NOW + 9),
            {"schedule_to_close": 90_000, "start_to_close": 50, "heartbeat": 69},
        ),
        (WAITS, {"schedule_to_close": 90_000, "retry": 1_000}),
        (attempt(eager=True), {"schedule_to_close": 90_000}),
        (replace(BEGAN, eager=True), {"schedule_to_close": 90_000}),
        (replace(WAITS, eager=True), {"schedule_to_close": 90_000, "retry": 1_000}),
    ],
)
def test_what_runs_for_an_activity(state: AttemptState, found: dict[str, int]) -> None:
    options = ActivityOptions(**LIMITS)
    assert armed(options, NOW, state) == {kind: NOW + after for kind, after in found.items()}


def test_without_limits_only_a_retry_is_awaited() -> None:
    assert armed(ActivityOptions(), NOW, BEGAN) == {}
    assert armed(ActivityOptions(), NOW, WAITS) == {"retry": NOW + 1_000}
