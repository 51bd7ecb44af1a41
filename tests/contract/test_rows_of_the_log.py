"""What the tables know of the log itself: what has counted, its claims, what may go, what went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from processor.core.data.cause import ClientRequest, NamedRequest, Origin
from processor.core.nouns.activity import ActivityCancelled, ActivityCompleted, AttemptState
from processor.core.nouns.run import RunParked, RunUnparked, WorkflowCompleted, WorkflowTerminated
from processor.core.nouns.timer import TimerFired, TimerStarted
from processor.core.nouns.value import StatusSet
from processor.core.records.answers import Refused
from processor.core.records.marks import ClientWindow, KnownAnswer, NamedWindow, SourceWindow
from processor.core.records.turn import turn_key
from processor.shard.ports import Changes, Checkpoint, ClaimRow, Confirmed, OpenAttempt
from processor.store.keyvalue import Memory
from processor.store.tables import StateTables

from .records import NOW, STARTED, Writer, again, scheduled, tell, waits
from .stores import IDENTITY, Store

ALL = 1 << 40
DONE = WorkflowCompleted(b"1")
TOLD = Refused("WorkflowNotFound", "there is none: ü")


@pytest.fixture
def writer(store: Store) -> Writer:
    return Writer(StateTables(store.held, IDENTITY))


def keys(writer: Writer) -> list[tuple[int, str]]:
    return [(offset, key.decode()) for offset, key in writer.tables.replaced(ALL, 1_000)]


# --- what has counted -------------------------------------------------------------------------

KNOWN = {
    "s61/4": SourceWindow(Origin(b"a", 4, 17, 2), 7),
    "cc/1": ClientWindow("c/1", 9, 2, (3, 5), 1_700_000_000_000, 8),
    "nr-1": NamedWindow("r-1", 1_700_000_000_000, 9),
    "ac7/c/1": KnownAnswer(ClientRequest("c/1", 7), TOLD, 10),
    "anr-2": KnownAnswer(NamedRequest("r-2"), TOLD, 11),
}


def test_what_has_counted_comes_back_as_it_was(store: Store, writer: Writer) -> None:
    writer.put(requests=list(KNOWN.items()))
    found = list(writer.tables.requests())
    assert sorted(map(repr, found)) == sorted(map(repr, KNOWN.values()))
    assert list(StateTables(store.again(), IDENTITY).requests()) == found


def test_a_row_of_what_has_counted_is_replaced_or_goes(writer: Writer) -> None:
    writer.put(requests=list(KNOWN.items()))
    later = ClientWindow("c/1", 12, 2, (), 1_700_000_000_001, 12)
    writer.put(requests=[("cc/1", later), ("s61/4", None), ("nr-1", None), ("ac7/c/1", None)])
    writer.put(requests=[("anr-2", None), ("nr-3", None)])
    assert list(writer.tables.requests()) == [later]


# --- claims -----------------------------------------------------------------------------------


def test_claims_come_in_the_order_of_the_log_until_they_are_gone(
    store: Store, writer: Writer
) -> None:
    first, second = ClaimRow(9, b"k9"), ClaimRow(300, b"k300", (301, 305), True)
    writer.put(claims={300: second, 9: first})
    assert list(writer.tables.claims()) == [first, second]
    writer.put(claims={9: None, 300: second._replace(more=False)})
    writer.tables.flush()
    assert list(StateTables(store.again(), IDENTITY).claims()) == [second._replace(more=False)]


# --- what may go ------------------------------------------------------------------------------


def test_what_may_go_is_asked_for_by_what_is_covered_and_a_part_at_a_time(writer: Writer) -> None:
    writer.write(("a-1", [STARTED, scheduled(1)]))
    for number in range(3):
        writer.write(("a-1", waits(1, 70 + number)))
    writer.put(replaced=[b"ghost"])
    tables = writer.tables
    assert tables.replaced(1, 9) == [(0, b"ghost")]
    assert tables.replaced(12, 9) == [(0, b"ghost")]
    first = [(0, b"ghost"), (12, b"a-1/attempt-1/11/0")]
    assert tables.replaced(13, 9) == first
    assert tables.replaced(ALL, 1) == first[:1]
    assert tables.replaced(ALL, 9) == [*first, (13, b"a-1/attempt-1/12/0")]
    assert tables.is_replaced(12, b"a-1/attempt-1/11/0")
    assert not tables.is_replaced(13, b"a-1/attempt-1/11/0")


def test_what_has_its_tombstone_is_not_asked_for_again(writer: Writer) -> None:
    writer.put(replaced=[b"one", b"two", b"three"])
    writer.put(forgotten=[(0, b"two")])
    assert keys(writer) == [(0, "one"), (0, "three")]
    writer.put(tombstones=[b"one", b"never heard of"])
    assert keys(writer) == [(0, "three")]


def test_a_tombstone_in_the_log_is_known_at_whatever_offset_its_key_waits(writer: Writer) -> None:
    writer.write(("a-1", [STARTED]), ("a-1", [StatusSet(b"1")]))
    writer.write(("a-1", [DONE]))
    writer.put(writer.purged("a-1", 50))
    assert keys(writer) == [(13, "a-1/0/0"), (13, "a-1/1/0"), (13, "a-1/2/0")]
    writer.put(tombstones=[b"a-1/0/0", b"a-1/2/0"])
    assert keys(writer) == [(13, "a-1/1/0")]
    assert [first for first, _ in writer.tables.history("a-1")] == [1]


def test_an_answer_waits_for_a_mark_that_covers_it(writer: Writer) -> None:
    writer.put(writer.answered())
    assert keys(writer) == [(10, "answered/10/0")]
    assert writer.tables.is_replaced(10, b"answered/10/0")


def test_only_the_last_mark_stays(writer: Writer) -> None:
    writer.put(writer.mark())
    assert keys(writer) == []
    writer.put(writer.mark(), writer.mark())
    writer.tables.flush()
    assert keys(writer) == [(0, "mark/10/0"), (0, "mark/11/0")]
    writer.put(writer.mark())
    assert keys(writer)[-1] == (0, "mark/12/0")


# --- snapshots --------------------------------------------------------------------------------


def test_a_snapshot_gives_up_the_turns_before_it_and_keeps_what_is_open(writer: Writer) -> None:
    writer.write(("a-1", [STARTED, scheduled(1), scheduled(2), TimerStarted(3, 90)]))
    writer.write(("a-1", waits(1, 70)))
    writer.write(("a-1", again(1)))
    before = list(writer.tables.open_attempts())
    timers = writer.tables.timers(-1, 9)
    made = writer.snapshot("a-1", [StatusSet(b"1"), scheduled(4)])
    writer.put(made)
    assert (made.offset, (made.offset, "a-1/0/0")) == (13, keys(writer)[-1])
    last = OpenAttempt("a", "a-1", "pay", 13, b"", AttemptState(4, 1, True, NOW))
    assert list(writer.tables.open_attempts()) == [*before, last]
    assert writer.tables.timers(-1, 9) == timers
    run = writer.tables.run("a-1")
    assert run is not None and run.base == 4
    assert [first for first, _ in writer.tables.history("a-1", run.base)] == [4]


@pytest.mark.parametrize("flushed", [False, True])
def test_each_turn_is_given_up_once_however_many_snapshots_follow(
    writer: Writer, flushed: bool
) -> None:
    """Else an entity that is busy between two marks gives up the square of its turns."""
    writer.write(("a-1", [STARTED]))
    for _ in range(5):
        writer.put(writer.snapshot("a-1", [StatusSet(b"1")]))
        if flushed:
            writer.tables.flush()
    assert keys(writer) == [(11 + first, f"a-1/{first}/0") for first in range(5)]
    writer.write(("a-1", [DONE]))
    writer.put(writer.purged("a-1", 50))
    assert [key for _, key in keys(writer)] == [f"a-1/{first}/0" for first in range(7)]


def test_an_image_of_a_run_that_is_not_known_makes_it_the_latest_with_all_that_it_has(
    writer: Writer,
) -> None:
    """The effects are those of the whole image: the log has nothing else of it."""
    other = Writer(StateTables(Memory(), IDENTITY))
    other.write(("a-1", [STARTED, scheduled(1), TimerStarted(2, 90)]))
    other.write(("a-1", waits(1, 70)))
    made = other.snapshot("a-1", [StatusSet(b"1")])
    writer.put(replace(made, effects=[*other.states["a-1"].armed()]))
    (attempt,) = writer.tables.open_attempts()
    assert attempt.state == waits(1, 70) and attempt.offset == made.offset
    assert {timer.due_ms for timer in writer.tables.timers(-1, 9)} == {70, 90}
    latest = writer.tables.latest("a")
    assert latest is not None and latest.run_id == "a-1"
    assert [run.run_id for run in writer.tables.runs("")] == ["a-1"]


# --- purged -----------------------------------------------------------------------------------


def test_a_purged_run_keeps_its_row_and_gives_up_its_turns_in_order(writer: Writer) -> None:
    writer.write(("a-1", [STARTED]), *[("a-1", [StatusSet(None)])] * 11)
    writer.write(("a-1", [DONE]))
    writer.put(writer.purged("a-1", 50))
    run = writer.tables.run("a-1")
    assert run is not None and (run.purged_ms, run.result, run.events) == (50, None, 13)
    assert keys(writer) == [(23, f"a-1/{first}/0") for first in range(13)]
    assert writer.tables.latest("a") == run


def test_the_id_of_a_purged_run_is_forgotten_when_a_mark_says_so(writer: Writer) -> None:
    for run_id, time_ms in (("a-1", 50), ("b-1", 60), ("c-1", 61)):
        writer.write((run_id, [STARTED, DONE]))
        writer.put(writer.purged(run_id, time_ms))
    writer.write(("a-2", [STARTED]))
    writer.put(writer.mark(forgotten_ms=61))
    tables = writer.tables
    tables.flush()
    assert tables.run("a-1") is None and tables.run("b-1") is None
    assert tables.latest("b") is None
    assert [run.run_id for run in tables.runs("")] == ["a-2", "c-1"]
    gone = [key for _, key in keys(writer)]
    assert {"a-1/purged/0", "b-1/purged/0"} <= set(gone) and "c-1/purged/0" not in gone
    writer.put(writer.mark(forgotten_ms=62))
    assert "c-1/purged/0" in [key for _, key in keys(writer)]


def test_the_record_of_a_purge_outlives_the_turns_that_it_stands_for(writer: Writer) -> None:
    """Also in a shard that was away for so long that no mark has covered the purge yet."""
    writer.write(("a-1", [STARTED]), ("a-1", [DONE]))
    writer.put(writer.purged("a-1", 50))
    writer.put(writer.mark(forgotten_ms=61))
    gone = [key for _, key in keys(writer)]
    assert gone == ["a-1/0/0", "a-1/1/0", "a-1/purged/0"]


def test_a_mark_that_forgets_nothing_leaves_all_ids(writer: Writer) -> None:
    writer.write(("a-1", [STARTED, DONE]))
    writer.put(writer.purged("a-1", 50))
    for forgotten_ms in (0, 50):
        writer.put(writer.mark(forgotten_ms=forgotten_ms))
    writer.tables.flush()
    assert writer.tables.run("a-1") is not None


def test_a_purged_run_of_which_nothing_else_is_left_is_known_as_the_latest_one_or_not(
    writer: Writer,
) -> None:
    other = Writer(StateTables(Memory(), IDENTITY))
    other.write(("a-1", [STARTED, DONE]), ("a-2", [STARTED, DONE]))
    writer.put(other.purged("a-2", 50, latest=True), other.purged("a-1", 60, latest=False))
    latest = writer.tables.latest("a")
    assert latest is not None and latest.run_id == "a-2"
    assert writer.tables.run("a-1") is not None


# --- groups -----------------------------------------------------------------------------------

Group = tuple[list[Confirmed], Checkpoint, Changes]


class Recorded(StateTables):
    """Tables that keep what is written into them, each group written at once."""

    def __init__(self) -> None:
        super().__init__(Memory(), IDENTITY)
        self.groups: list[Group] = []

    def write(self, group: Any, checkpoint: Checkpoint, changes: Changes) -> None:
        self.groups.append((list(group), checkpoint, changes))
        super().write(group, checkpoint, changes)
        self.flush()


class Story:
    """A shard's life at random, without some of its deeds. Each step writes one group."""

    def __init__(self, random: Random, without: frozenset[str]) -> None:
        self.random = random
        self.tables = Recorded()
        self.writer = Writer(self.tables)
        self._runs = 0
        self._number = 0
        deeds: list[Callable[[], object]] = [
            *[self.start] * 2,
            *[self.go_on] * 8,
            *(self.snapshot, self.answer, self.mark, self.forget, self.tombstone, self.rows),
            *(self.ghost, self.purge),
        ]
        self._deeds = [deed for deed in deeds if deed.__name__ not in without]

    def step(self) -> None:
        self.random.choice(self._deeds)()

    def _open(self) -> str | None:
        found = [id for id, state in self.writer.states.items() if state.closed_ms is None]
        return self.random.choice(found) if found else None

    def start(self) -> None:
        workflow_id = self.random.choice("abcde")
        running = self._open_of(workflow_id)
        if running is None:
            self._runs += 1
            self.writer.write((f"{workflow_id}-{self._runs}", [STARTED]))

    def _open_of(self, workflow_id: str) -> str | None:
        states = self.writer.states.items()
        return next(
            (id for id, s in states if s.workflow_id == workflow_id and s.closed_ms is None), None
        )

    def go_on(self) -> None:
        run_id = self._open()
        if run_id is None:
            return
        random, state = self.random, self.writer.states[run_id]
        self._number += 1
        activity = next(iter(state.activities), None)
        timer = next(iter(state.timers), None)
        steps: list[Any] = [[scheduled(self._number)], [TimerStarted(self._number, 90)]]
        if activity is not None:
            steps += [waits(activity, 70), again(activity), waits(activity, 71)]
            steps += [[ActivityCompleted(activity, 1, b"1"), scheduled(self._number)]]
            steps += [[ActivityCancelled(activity)]]
        if timer is not None:
            steps += [[TimerFired(timer)]]
        if state.parked is None:
            steps += [[RunParked("bug", "e", "", "")], [DONE]]
        else:
            steps += [[RunUnparked()], [WorkflowTerminated("")]]
        self.writer.write((run_id, random.choice(steps)))

    def snapshot(self) -> None:
        run_id = self._open()
        if run_id is not None:
            self.writer.put(self.writer.snapshot(run_id, [StatusSet(b"1")]))

    def answer(self) -> None:
        self.writer.put(self.writer.answered())

    def mark(self) -> None:
        before_ms = max(self.writer.offset - 40, 0)
        self.writer.put(self.writer.mark(self.random.choice((0, 0, before_ms))))

    def purge(self) -> None:
        closed = [id for id, state in self.writer.states.items() if state.closed_ms is not None]
        if closed:
            run_id = self.random.choice(closed)
            latest = self.tables.latest(run_id.partition("-")[0])
            is_latest = latest is not None and latest.run_id == run_id
            offset = self.writer.offset
            self.writer.put(self.writer.purged(run_id, offset, latest=is_latest))

    def forget(self) -> None:
        rows = self.tables.replaced(self.writer.offset, 5)
        self.writer.put(forgotten=rows)

    def tombstone(self) -> None:
        self.writer.put(tombstones=[key for _, key in self.tables.replaced(1 << 40, 3)])

    def ghost(self) -> None:
        self.writer.put(replaced=[turn_key("ghost", self.writer.offset, 0)])

    def rows(self) -> None:
        name, known = self.random.choice([*KNOWN.items()])
        offset = self.writer.offset
        self.writer.put(
            requests=[(name, self.random.choice((known, None)))],
            claims={offset % 3: self.random.choice((ClaimRow(offset % 3, b"k"), None))},
        )


@pytest.mark.parametrize("without", ["nothing", "snapshot", "forget tombstone"])
@pytest.mark.parametrize("seed", range(12))
def test_it_makes_no_difference_how_records_are_grouped(seed: int, without: str) -> None:
    """All at once, each by itself, or as a busy shard happens to write them."""
    random = Random(seed)
    story = Story(random, frozenset(without.split()))
    for _ in range(200):
        story.step()
    told = tell(story.tables)
    at_once, at_random = (StateTables(Memory(), IDENTITY) for _ in range(2))
    for group, checkpoint, changes in story.tables.groups:
        at_once.write(group, checkpoint, changes)
        at_random.write(group, checkpoint, changes)
        if random.random() < 0.1:
            at_random.flush()
    assert tell(at_random) == told
    assert tell(at_once) == told
