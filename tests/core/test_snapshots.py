"""Snapshots: a run goes on from one as if all of its history had been replayed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processor.codec.records import decode, encode
from processor.core.activity_requests import AdjustActivity
from processor.core.data.address import Address
from processor.core.data.cause import ClientRequest
from processor.core.decide import decide
from processor.core.draft import Draft
from processor.core.event import Decision
from processor.core.evolve import evolve
from processor.core.inputs import ClientCommand
from processor.core.nouns.activity import ActivityScheduled, AttemptState, attempted
from processor.core.nouns.call import CallSent
from processor.core.nouns.external import EventReceived, RaiseEvent
from processor.core.nouns.lineage import Lineage, Plan, RetryOptions
from processor.core.nouns.run import (
    RunParked,
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowFailed,
)
from processor.core.nouns.start import StartRun
from processor.core.nouns.timer import TimerCancelled, TimerStarted
from processor.core.nouns.value import StatusSet
from processor.core.records.purge import summary_of
from processor.core.records.snapshot import Snapshot, image_of, state_of
from processor.core.records.turn import Positions, Purged, Turn
from processor.core.replay import Instance, replay
from processor.core.runner import CodeError
from processor.core.state import RunState
from processor.policy import Status

from .scripted import (
    DOWN,
    ID,
    NOW,
    RUN,
    STARTED,
    Answer,
    Runners,
    Scripted,
    attempt,
    context,
    scheduled,
    state,
)

PARKED = RunParked("bug", "error", "where", "traceback")
WHOLE = replace(
    STARTED,
    execution_timeout_ms=500,
    memo=b"",
    headers=(("h", b"1"),),
    flags=("f",),
    lineage=Lineage("run-0", "run-0", 2, previous_failure=DOWN),
    plan=Plan(version=3, retry=RetryOptions(1, 2.0, 3), deadline_ms=9),
)
FULL = (
    scheduled(1, queue="far", heartbeat_ms=60),
    attempt(2, started_ms=NOW, worker="w", details=b"", first_failure=DOWN, last_failure=DOWN),
    ActivityScheduled(2, "ship", None, True, None, (("h", b"1"),)),
    scheduled(3),
    AttemptState(3, 1, False, NOW, retry_at_ms=NOW + 9, failures=1),
    TimerStarted(4, NOW + 99),
    TimerStarted(5, NOW + 1),
    CallSent(6, Address(None, "other"), StartRun("order", b"[]")),
    StatusSet(b"null"),
    WorkflowCancelRequested("enough"),
)


def snapshot(run: RunState, value: bytes = b"1") -> Snapshot:
    """Return a snapshot whose turn is the last event of the run's history."""
    last = (StatusSet(b"null"),)
    place = (ID, RUN, 0, run.events - 1, NOW, "commands", Positions(), 0, None, last)
    return Snapshot(*place, image_of(run), value)


@pytest.mark.parametrize(
    "run",
    [state(), state(*FULL, started=WHOLE), state(*FULL, PARKED, started=WHOLE)],
    ids=["little", "full", "parked"],
)
def test_a_state_comes_back_from_its_image(run: RunState) -> None:
    made = snapshot(run)
    back = decode(encode(made))
    assert isinstance(back, Snapshot) and back == made
    restored = state_of(back)
    for activity in run.activities.values():
        activity.key = b""  # that of its record; the snapshot itself says where it stands now
    assert replace(restored, base=0) == run
    assert restored.base == made.first
    assert list(restored.timers) == list(run.timers), "in the same order"


def test_only_an_open_run_has_an_image() -> None:
    run = state(WorkflowCompleted(None))
    with pytest.raises(AssertionError, match="is not open"):
        image_of(run)


# --- deciding and replaying -------------------------------------------------------------------

PAY = ActivityScheduled(1, "pay", b"[]", False, None)
SCRIPT: tuple[list[Decision], ...] = (
    [PAY, TimerStarted(2, NOW + 9)],
    [StatusSet(b"1")],
    [TimerCancelled(2)],
    [StatusSet(b"2")],
    [WorkflowCompleted(b"3")],
)


def record(draft: Draft) -> Turn | Snapshot:
    """Return a draft as the shard writes it."""
    state, cause = draft.instance.state, None
    place = (ID, RUN, 0, draft.first, draft.now_ms, "commands", Positions(), 0, cause)
    happened = tuple(draft.events)
    if draft.snapshot is None:
        return Turn(*place, happened)
    return Snapshot(*place, happened, image_of(state), draft.snapshot)


def live(*script: Answer, until: int) -> list[Turn | Snapshot]:
    """Return the records of a run with snapshots: its start, and then one event after another."""
    ready = context(*script, keeps=True)
    start = ClientCommand(ID, StartRun("order", b"[]"), ClientRequest("c", 1))
    (draft,) = decide(start, None, None, RUN, ready).drafts
    records = [record(draft)]
    run: Instance = draft.instance
    for number in range(1, until):
        ready.now_ms = NOW + number
        event = ClientCommand(ID, RaiseEvent("go", b"%d" % number))
        (draft,) = decide(event, run, run.state.summary(), "", ready).drafts
        records.append(record(draft))
    return records


def test_a_snapshot_is_written_with_each_turn_after_which_the_run_is_open() -> None:
    records = live(*SCRIPT, until=5)
    assert [type(each) for each in records] == [Snapshot] * 4 + [Turn]
    values = [each.value for each in records if isinstance(each, Snapshot)]
    assert values == [b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("how", ["pause", "reset"])
def test_a_run_with_more_than_an_image_holds_has_no_snapshot(how: str) -> None:
    """Replay from one would begin a paused activity, or count its attempts from the first one."""
    ready = context(*SCRIPT, keeps=True)
    start = ClientCommand(ID, StartRun("order", b"[]"), ClientRequest("c", 1))
    (draft,) = decide(start, None, None, RUN, ready).drafts
    run = draft.instance
    assert attempted(run.state, attempt(2, retry_at_ms=NOW + 9), b"")
    adjust = ClientCommand(ID, AdjustActivity(1, how))
    assert decide(adjust, run, run.state.summary(), "", ready).drafts
    event = ClientCommand(ID, RaiseEvent("go", b"1"))
    (draft,) = decide(event, run, run.state.summary(), "", ready).drafts
    assert draft.events and draft.snapshot is None


@pytest.mark.parametrize("begin", [0, 1, 2, 3])
@pytest.mark.parametrize("until", [4, 5])
def test_replay_from_a_snapshot_equals_replay_from_the_start(begin: int, until: int) -> None:
    records = live(*SCRIPT, until=until)
    turns = [_without_image(each) for each in records]
    whole = replay(Runners(list(SCRIPT)), turns)
    part = replay(Runners(list(SCRIPT)), records[begin:])
    assert replace(part.state, base=0) == whole.state
    assert whole.state.status is (Status.RUNNING if until == 4 else Status.COMPLETED)
    assert isinstance(part.runner, Scripted) and isinstance(whole.runner, Scripted)
    assert part.runner.activations == whole.runner.activations == until
    assert part.runner.seen == whole.runner.seen[begin + 1 :], "older facts are not shown again"
    assert (part.pending, part.difference) == ([], "")


def _without_image(each: Turn | Snapshot) -> Turn:
    place = (each.epoch, each.first, each.time_ms, each.source, each.positions, each.delivered)
    return Turn(each.workflow_id, each.run_id, *place, each.cause, each.events)


def test_what_follows_a_snapshot_is_compared_as_ever() -> None:
    records = live(*SCRIPT, until=4)
    other = [*SCRIPT[:3], [StatusSet(b"9")]]
    run = replay(Runners(other), records[1:])
    assert "b'2' became b'9'" in run.difference
    changed = replay(Runners([*SCRIPT[:2], [PAY]]), records[1:])
    assert isinstance(changed.runner, CodeError) and changed.runner.kind == "nondeterminism"


def test_attempts_that_changed_after_a_snapshot_stand_as_their_records_say() -> None:
    records = live(*SCRIPT, until=2)
    stands = attempt(2, eager=True)
    run = replay(Runners(list(SCRIPT)), records[1:], [(stands, b"key")])
    activity = run.state.activities[1]
    assert (activity.state, activity.key, activity.arguments) == (stands, b"key", b"[]")


def test_a_snapshot_whose_code_is_not_here_is_said_so_and_keeps_later_facts() -> None:
    run = state(started=replace(STARTED, workflow="other"))
    event = EventReceived("go", b"1")
    later = Turn(ID, RUN, 0, run.events, NOW, "commands", Positions(), 0, None, (event,))
    found = replay(Runners(), [snapshot(run), later])
    assert isinstance(found.runner, CodeError) and found.runner.kind == "not_registered"
    assert found.pending == [event]
    assert found.state.events == run.events + 1


# --- purged -----------------------------------------------------------------------------------


def test_of_a_purged_run_its_id_and_its_end_are_known() -> None:
    run = state(started=WHOLE)
    evolve(run, WorkflowFailed(DOWN), NOW + 5)
    was = run.summary()
    purged = Purged(
        *(ID, RUN, 0, NOW + 70, "eager", Positions(), 0, None),
        *("run-0", "order", "failed", NOW, NOW + 5, run.events, True),
    )
    row = summary_of(purged)
    assert row.purged_ms == NOW + 70
    for name in ("workflow_id", "run_id", "first_run_id", "workflow", "status", "started_ms"):
        assert getattr(row, name) == getattr(was, name), name
    assert (row.closed_ms, row.events) == (was.closed_ms, was.events)
    assert (row.failure, row.memo, row.result) == (None, None, None), "what users put into it"
