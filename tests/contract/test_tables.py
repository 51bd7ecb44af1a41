"""The state tables over each store: the same fold, whatever holds the rows."""

from __future__ import annotations

import pytest

from processor.core.event import Event
from processor.core.nouns.activity import ActivityCompleted, AttemptState
from processor.core.nouns.run import (
    RunParked,
    WorkflowCompleted,
    WorkflowStarted,
    WorkflowTerminated,
)
from processor.core.nouns.timer import TimerFired, TimerStarted
from processor.core.nouns.value import StatusSet
from processor.core.records.effects import SetTimer
from processor.core.records.turn import Positions
from processor.errors import StoreCorrupt
from processor.policy import Status
from processor.shard.ports import Changes, Checkpoint, OpenAttempt
from processor.store.keyvalue import Memory
from processor.store.projections import FAMILIES
from processor.store.tables import StateTables

from .records import NOW, STARTED, Happened, Writer, again, scheduled, tell, waits
from .stores import IDENTITY, Store


def story(writer: Writer) -> None:
    writer.write(("a-1", [STARTED, scheduled(1), TimerStarted(2, 90)]))
    writer.write(
        ("b-2", [STARTED, TimerStarted(1, 50), scheduled(2, eager=False)]),
        ("a-1", waits(1, 70)),
        ("a-1", again(1)),
        ("a-1", [RunParked("bug", "e", "w", "t")]),
    )
    writer.write(("c-3", [STARTED, scheduled(1), WorkflowCompleted(b"1")]))


def test_a_new_store_is_at_the_beginning(store: Store) -> None:
    tables = StateTables(store.held, IDENTITY)
    assert tell(tables) == (Checkpoint(), [], [], [], [], [], [], [], [])
    assert tables.latest("a") is None and tables.run("a-1") is None
    assert tables.turn("a-1", 0) is None


def test_the_fold(store: Store) -> None:
    tables = StateTables(store.held, IDENTITY)
    story(Writer(tables))
    checkpoint, runs, histories, parked, attempts, timers, *_ = tell(tables)
    assert (checkpoint.next_offset, checkpoint.positions) == (16, Positions(16, 1, 2))
    assert [(run.workflow_id, run.status) for run in runs] == [
        ("a", Status.PARKED),
        ("b", Status.RUNNING),
        ("c", Status.COMPLETED),
    ]
    assert [[first for first, _ in turns] for _, turns in histories] == [[0, 3], [0], [0]]
    assert tables.turn("a-1", 3) == histories[0][1][1][1]
    assert parked == ["a"]
    assert attempts == [
        OpenAttempt("a", "a-1", "pay", 13, b"a-1/attempt-1/13/0", again(1)),
        OpenAttempt("b", "b-2", "pay", 11, b"", AttemptState(2, 1, False, NOW)),
    ]
    assert [(timer.run_id, timer.kind, timer.due_ms) for timer in timers] == [
        ("b-2", "timer", 50),
        ("a-1", "timer", 90),
    ]


def test_it_is_all_there_when_it_is_opened_again(store: Store) -> None:
    tables = StateTables(store.held, IDENTITY)
    story(Writer(tables))
    told = tell(tables)
    tables.flush()
    assert tell(StateTables(store.again(), IDENTITY)) == told


def test_what_is_not_flushed_is_read_and_is_not_in_the_store(store: Store) -> None:
    tables = StateTables(store.held, IDENTITY)
    writer = Writer(tables)
    writer.write(("a-1", [STARTED, scheduled(1)]))
    first = tables.checkpoint()
    tables.flush()
    writer.write(("a-1", [ActivityCompleted(1, 1, b"1"), scheduled(2)]))
    writer.write(("b-2", [STARTED]))
    latest = tables.latest("b")
    assert latest is not None and latest.run_id == "b-2"
    assert tables.run("a-1") != StateTables(store.held, IDENTITY).run("a-1")
    left = StateTables(store.held, IDENTITY)
    assert (tables.checkpoint().next_offset, left.checkpoint()) == (13, first)
    assert left.latest("b") is None and len(list(left.history("a-1"))) == 1
    assert len(list(tables.history("a-1"))) == 2, "who reads rows has them written first"
    assert StateTables(store.held, IDENTITY).checkpoint() == tables.checkpoint()


def test_an_attempt_that_is_over_before_it_is_written_leaves_no_row(store: Store) -> None:
    tables = StateTables(store.held, IDENTITY)
    writer = Writer(tables)
    writer.write(("a-1", [STARTED, scheduled(1)]))
    tables.flush()
    writer.write(("a-1", [ActivityCompleted(1, 1, b"1"), scheduled(2)]))
    writer.write(("a-1", waits(2, 70)))
    writer.write(("a-1", again(2)))
    assert [(row.state.id, row.state.attempt) for row in tables.open_attempts()] == [(2, 2)]
    assert tables.timers(-1, 100) == [], "the retry is not waited for any more"
    writer.write(("a-1", [ActivityCompleted(2, 2, b"1"), scheduled(3)]))
    writer.write(("a-1", [ActivityCompleted(3, 1, b"1")]))
    assert list(tables.open_attempts()) == []


@pytest.mark.parametrize("flushed", [False, True])
def test_the_end_of_a_run_takes_its_attempts_along_and_gives_their_records_up(
    store: Store, flushed: bool
) -> None:
    tables = StateTables(store.held, IDENTITY)
    writer = Writer(tables)
    writer.write(("a-1", [STARTED, scheduled(1), scheduled(2)]))
    writer.write(("a-1", waits(1, 70)))
    writer.write(("a-1", again(1)))
    if flushed:
        tables.flush()
    assert tables.replaced(1 << 40, 9) == [(12, b"a-1/attempt-1/11/0")]
    writer.write(("a-1", [WorkflowTerminated("enough")]))
    assert list(tables.open_attempts()) == [] and tables.timers(-1, 100) == []
    assert tables.replaced(1 << 40, 9)[1:] == [(13, b"a-1/attempt-1/12/0")]


def test_many_turns_or_large_ones_are_written_by_themselves(store: Store) -> None:
    tables = StateTables(store.held, IDENTITY)
    writer = Writer(tables)
    for number in range(500):
        writer.write((f"a-{number}", [STARTED]))
    assert StateTables(store.held, IDENTITY).checkpoint().next_offset == 510
    writer.write(("b-1", [WorkflowStarted("order", b"x" * 5_000_000, STARTED.seed)]))
    assert StateTables(store.held, IDENTITY).checkpoint().next_offset == 511


def test_a_wiped_store_is_rebuilt_to_the_same(store: Store) -> None:
    tables = StateTables(store.held, IDENTITY)
    story(Writer(tables))
    told = tell(tables)
    tables = StateTables(store.wiped(), IDENTITY)
    assert tables.checkpoint() == Checkpoint()
    story(Writer(tables))
    assert tell(tables) == told


def test_one_group_or_many_makes_no_difference(store: Store) -> None:
    turns: list[tuple[str, Happened]] = [
        ("a-1", [STARTED, TimerStarted(1, 50)]),
        ("a-1", [TimerFired(1), scheduled(2)]),
        ("a-1", [ActivityCompleted(2, 1, b"1"), WorkflowCompleted(b"1")]),
    ]
    one, many = StateTables(store.held, IDENTITY), StateTables(Memory(), IDENTITY)
    Writer(one).write(*turns)
    writer = Writer(many)
    for turn in turns:
        writer.write(turn)
        many.flush()
    assert tell(one) == tell(many)


def test_a_later_run_of_an_id_is_the_latest_and_the_earlier_one_stays(store: Store) -> None:
    tables = StateTables(store.held, IDENTITY)
    writer = Writer(tables)
    writer.write(("a-1", [STARTED, WorkflowCompleted(b"1")]), ("a-2", [STARTED]))
    latest, earlier = tables.latest("a"), tables.run("a-1")
    assert latest is not None and earlier is not None
    assert (latest.run_id, latest.status) == ("a-2", Status.RUNNING)
    assert (earlier.status, earlier.result) == (Status.COMPLETED, b"1")


def test_rows_of_runs_whose_ids_begin_alike_are_kept_apart(store: Store) -> None:
    tables = StateTables(store.held, IDENTITY)
    writer = Writer(tables)
    for run_id in ("a-1", "a-10", "a-1x"):
        writer.write((run_id, [STARTED, scheduled(1)]))
    assert len(list(tables.history("a-1"))) == 1
    assert [row.run_id for row in tables.open_attempts("a-1")] == ["a-1"]


def test_history_begins_where_it_is_asked_to(store: Store) -> None:
    tables = StateTables(store.held, IDENTITY)
    writer = Writer(tables)
    writer.write(("a-1", [STARTED]), *[("a-1", [StatusSet(b"%d" % n)]) for n in range(300)])
    assert [first for first, _ in tables.history("a-1")] == list(range(301))
    assert [first for first, _ in tables.history("a-1", 255)] == list(range(255, 301))


def test_runs_are_paged_by_workflow_id(store: Store) -> None:
    tables = StateTables(store.held, IDENTITY)
    Writer(tables).write(*[(f"{name}-1", [STARTED]) for name in ("b", "a", "ab", "c")])
    assert [run.workflow_id for run in tables.runs("")] == ["a", "ab", "b", "c"]
    assert [run.workflow_id for run in tables.runs("a")] == ["ab", "b", "c"]


def test_timers_come_in_order_and_those_of_one_moment_together(store: Store) -> None:
    tables = StateTables(store.held, IDENTITY)
    due = [500, 3, 70_000, 256, 255, 256, 256]
    started: list[Event] = [TimerStarted(n, ms) for n, ms in enumerate(due, 1)]
    Writer(tables).write(("a-1", [STARTED, *started]))

    def times(after_ms: int, limit: int) -> list[int]:
        found: list[SetTimer] = tables.timers(after_ms, limit)
        return [timer.due_ms for timer in found]

    assert times(-1, 100) == sorted(due)
    assert times(3, 100) == sorted(due)[1:]
    assert times(-1, 3) == [3, 255, 256, 256, 256]
    assert times(70_000, 3) == []
    near: list[SetTimer] = tables.timers(3, 100, 256)
    assert [timer.due_ms for timer in near] == [255, 256, 256, 256]


def test_the_checkpoint_is_kept_whole(store: Store) -> None:
    tables = StateTables(store.held, IDENTITY)
    checkpoint = Checkpoint(9, 5, 3, Positions(1, 2, 3), 4, 6, 1_700_000_000_000)
    tables.write([], checkpoint, Changes())
    tables.flush()
    assert StateTables(store.again(), IDENTITY).checkpoint() == checkpoint


def test_tables_of_another_log_are_refused(store: Store) -> None:
    StateTables(store.held, IDENTITY)
    with pytest.raises(StoreCorrupt, match="belongs to"):
        StateTables(store.again(), "events-0@other")


def test_rows_that_cannot_be_read_are_said_so(store: Store) -> None:
    tables = StateTables(store.held, IDENTITY)
    story(Writer(tables))
    tables.flush()
    store.held.write([("runs", b"a-1", b"\xc1"), ("meta", b"checkpoint", b"\xc1")])
    with pytest.raises(StoreCorrupt):
        tables.run("a-1")
    with pytest.raises(StoreCorrupt):
        tables.checkpoint()


def test_a_scan_of_many_rows_misses_none_wherever_it_begins(store: Store) -> None:
    keys = [b"%03d" % number for number in range(100)]
    store.held.write([("runs", key, key) for key in reversed(keys)])
    for first in range(100):
        assert [*store.held.scan("runs", b"%03d" % first)] == [(k, k) for k in keys[first:]]


def test_a_store_scans_in_the_order_of_keys_and_keeps_families_apart(store: Store) -> None:
    keys = [b"b", b"a\0", b"a", b"\xff", b"", b"ab"]
    store.held.write([("runs", key, b"1") for key in keys])
    store.held.write([("runs", b"a", b"2"), ("runs", b"\xff", None)])
    kept = sorted(set(keys) - {b"\xff"})
    assert [key for key, _ in store.held.scan("runs", b"")] == kept
    assert [key for key, _ in store.held.scan("runs", b"a\0")] == [b"a\0", b"ab", b"b"]
    assert store.held.get("runs", b"a") == b"2"
    assert store.held.last("runs") == b"b"
    for family in FAMILIES:
        if family != "runs":
            assert store.held.last(family) is None
