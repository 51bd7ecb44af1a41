"""What must hold of the attempts and outcomes of activities after every story."""

from __future__ import annotations

import itertools
from collections import Counter

from processor.core.attempts import STARTS_MAX
from processor.core.data.options import DEFAULTS
from processor.core.event import Event
from processor.core.nouns.activity import (
    ActivityAdjusted,
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ActivityStopRequested,
    AttemptState,
)
from processor.core.nouns.run import (
    WorkflowCompleted,
)
from processor.core.records.effects import (
    ActivityTask,
)
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import AttemptRecord, Turn

from .checked import Checked
from .reading import Reading
from .story import Story

__all__ = ("check_activities",)


def check_activities(checked: Checked, story: Story, reading: Reading) -> None:
    for run_id, turns in reading.runs.items():
        _one_outcome_each(checked, run_id, [event for _, turn, _ in turns for event in turn.events])
    _lost_for_a_reason(checked, reading)
    _details_of_time_outs(checked, reading)
    _reports(checked, reading)
    _left_open(checked, reading)
    _operated(checked, reading)
    _eager_starts(checked, story, reading)


def _lost_for_a_reason(checked: Checked, reading: Reading) -> None:
    """An activity is lost for good when no attempt or no time is left, or it ended many workers."""
    scheduled = {
        (turn.run_id, event.id): event
        for _, turn, _ in reading.turns
        for event in turn.events
        if isinstance(event, ActivityScheduled)
    }
    stopped = {
        (turn.run_id, event.id)
        for _, turn, _ in reading.turns
        for event in turn.events
        if isinstance(event, ActivityStopRequested)
    }
    for run_id, event, state in reading.outcomes:
        if isinstance(event, ActivityFailed) and event.failure.timeout_kind == "lost":
            options = scheduled[run_id, event.id].options or DEFAULTS
            used_up = event.attempt == options.maximum_attempts
            poison = state.starts + state.eager == STARTS_MAX
            asked = (run_id, event.id) in stopped
            reason = used_up or poison or asked or options.schedule_to_close_ms is not None
            checked.that("an activity is lost for a reason", reason, run_id, event)


def _details_of_time_outs(checked: Checked, reading: Reading) -> None:
    """Whoever hears of a time-out hears how far the attempts had come, as they said themselves."""
    for run_id, event, state in reading.outcomes:
        if isinstance(event, ActivityFailed) and event.failure.timeout_kind is not None:
            told = event.failure.details == state.details
            checked.that("a time-out tells the last details", told, run_id, event, state)


def _one_outcome_each(checked: Checked, run_id: str, history: list[Event]) -> None:
    kinds = ActivityCompleted | ActivityFailed | ActivityCancelled
    outcomes = Counter(event.id for event in history if isinstance(event, kinds))
    scheduled = {event.id for event in history if isinstance(event, ActivityScheduled)}
    for id in scheduled | set(outcomes):
        at_most = outcomes[id] <= 1 and id in scheduled
        checked.that("an activity has one outcome", at_most, run_id, id, outcomes[id])
    if isinstance(history[-1], WorkflowCompleted):
        left = {id for id in scheduled if not outcomes[id]}
        # What a program gave up in its last turn has its outcome in the end of the run.
        checked.that("a completed run has every outcome", not left, run_id, left)


def _reports(checked: Checked, reading: Reading) -> None:
    """What is recorded of an activity is of the attempt that runs."""
    for run_id, event, state in reading.outcomes:
        failure = event.failure if isinstance(event, ActivityFailed) else None
        over = failure is not None and (
            failure.timeout_kind == "schedule_to_close" or failure.kind == "activity_cancelled"
        )
        runs = event.attempt == state.attempt and (state.retry_at_ms is None or over)
        checked.that("a report counts for its attempt only", runs, run_id, event, state)
    for place, states in reading.changes.items():
        for before, after in itertools.pairwise(states):
            follows = _follows(before, after)
            checked.that("an attempt goes on or is retried", follows, place, before, after)


def _follows(before: AttemptState, after: AttemptState) -> bool:
    """Return whether an attempt may stand like this next: it goes on, or another one begins."""
    if before.retry_at_ms is not None:
        return after.attempt == before.attempt + 1 and after.is_dispatch
    failed = after.failures == before.failures + 1 and after.retry_at_ms is not None
    return after.attempt == before.attempt and (failed or after.failures == before.failures)


def _left_open(checked: Checked, reading: Reading) -> None:
    """What a function left open is lost with no process, and its end is of its attempt."""
    for place, states in reading.changes.items():
        for before, after in itertools.pairwise(states):
            if before.is_left_open and after.failures > before.failures:
                failure = after.last_failure
                lost = failure is None or failure.timeout_kind == "lost"
                checked.that("what is left open is not lost", not lost, place, before, after)
    for run_id, event, state in reading.outcomes:
        if state.is_left_open and isinstance(event, ActivityCompleted):
            said = (event.result or b"").split(b".")
            if len(said) > 1:  # it names the attempt that it was said of
                of_it = said[1] == b"%d" % event.attempt
                checked.that("what is said counts for its attempt", of_it, run_id, event)


def _operated(checked: Checked, reading: Reading) -> None:
    """What was asked to stop, or is paused, begins no other attempt; an operator may begin one."""
    stopped: set[tuple[str, int]] = set()
    paused: set[tuple[str, int]] = set()
    for _, _, record, _ in reading.records:
        if isinstance(record, AttemptRecord):
            place = record.run_id, record.state.id
            begins = record.state.is_dispatch and record.state.attempt > 1
            if begins and place in stopped:
                checked.that("what was asked to stop begins no more", False, place, record)
            if begins and place in paused:
                by_hand = record.cause is not None
                checked.that("a paused activity begins nothing", by_hand, place, record)
        elif isinstance(record, Turn | Snapshot):
            for event in record.events:
                if isinstance(event, ActivityStopRequested):
                    stopped.add((record.run_id, event.id))
                    checked.that("what was asked to stop begins no more", True)
                elif isinstance(event, ActivityAdjusted):
                    (paused.add if event.paused else paused.discard)((record.run_id, event.id))
                    checked.that("a paused activity begins nothing", True)


def _eager_starts(checked: Checked, story: Story, reading: Reading) -> None:
    placed: dict[tuple[str, int, int], int] = {}
    for offset, _, _, effects in reading.records:
        for effect in effects:
            if isinstance(effect, ActivityTask):
                placed[effect.run_id, effect.id, effect.attempt] = offset
    for started in story.world.starts:
        if started.partition == reading.partition:
            offset = placed.get((started.run_id, started.id, started.attempt), -1)
            early = not 0 <= offset < started.confirmed_end
            checked.that("an eager attempt begins after its turn", not early, started, offset)
