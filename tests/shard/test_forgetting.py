"""What the log holds in vain goes: never before nobody can need it, and the first turns first."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from processor.codec.records import encode
from processor.core.nouns.run import WorkflowStarted
from processor.core.nouns.value import StatusSet
from processor.core.records.effects import Effect, Forget
from processor.core.records.marks import Mark, mark_key
from processor.core.records.turn import Positions, Turn, turn_key
from processor.core.state import RunState
from processor.shard.flight import Tombstone
from processor.shard.ports import Changes, Checkpoint, Confirmed
from processor.shard.recovery.forgetting import Forgetting
from processor.store.keyvalue import Memory
from processor.store.tables import StateTables

STARTED = WorkflowStarted("order", None, b"16 random bytes.")
FAR = 1 << 40


class Log:
    """Tables, what is given up in them, and the tombstones that were appended."""

    def __init__(self) -> None:
        self.tables = StateTables(Memory(), "events-0")
        self.appended: list[Tombstone] = []
        self.forgetting = Forgetting(self.tables, self.appended.append)
        self._next = 10

    def turn(self, run_id: str, first: int, forgets: Sequence[bytes] = ()) -> int:
        """Let a turn be confirmed that replaces these keys; return its offset."""
        offset = self._next
        self._next += 1
        event = StatusSet(b"1") if first else STARTED
        turn = Turn("a", run_id, 0, first, 0, "commands", Positions(), 0, None, (event,))
        summary = RunState("a", run_id, STARTED, events=first + 1).summary()
        effects: list[Effect] = [Forget(key) for key in forgets]
        row = Confirmed(turn_key(run_id, first, 0), encode(turn), turn, summary, effects, offset)
        self.tables.write([row], Checkpoint(self._next), Changes())
        return offset

    def replace(self, *keys: bytes) -> None:
        """Give up keys that nobody needs from now on: ghosts, and former claims."""
        self.tables.write([], Checkpoint(self._next), Changes(replaced=list(keys)))

    def covered(self, delivered: int = FAR, published: int = FAR, offset: int = FAR) -> None:
        """Let a mark be acknowledged at an offset."""
        mark = Mark(0, 0, "eager", Positions(), delivered, published)
        self.forgetting.covered(mark, offset)

    def step(self) -> list[bytes]:
        """Return the keys whose tombstones are appended now."""
        self.appended.clear()
        self.forgetting.step()
        assert all(each.value is None for each in self.appended)
        return [each.key for each in self.appended]

    def acknowledge(self) -> None:
        """Let the tombstones that were appended last be acknowledged."""
        rows = [each.forgotten for each in self.appended]
        self.tables.write([], Checkpoint(self._next), Changes(forgotten=rows))
        self.tables.flush()
        for row in rows:
            self.forgetting.forgotten(row)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.mark.parametrize("late", ["delivered", "published", "offset"])
def test_nothing_goes_before_a_mark_covers_what_replaced_it(log: Log, late: str) -> None:
    """All of it: the mark stands behind, and what is below was delivered and published."""
    offset = log.turn("run-1", 3, [b"replaced"])
    assert log.step() == [] and log.forgetting.is_waiting()
    for below in (1, offset - 1, offset):
        log.covered(**{late: below})
        assert log.step() == [], f"{late} at {below}"
    log.covered(**{late: offset + 1})
    assert log.step() == [b"replaced"]


def test_a_mark_that_says_less_takes_nothing_back(log: Log) -> None:
    log.covered(FAR, FAR, 50)
    log.covered(FAR, FAR, 5)
    log.turn("run-1", 3, [b"replaced"])
    assert log.step() == [b"replaced"]


def test_what_nobody_needed_goes_at_once(log: Log) -> None:
    log.replace(b"ghost", b"claim")
    assert sorted(log.step()) == [b"claim", b"ghost"]


def test_a_tombstone_is_appended_once_and_its_row_goes_when_it_is_acknowledged(log: Log) -> None:
    log.replace(b"ghost")
    assert log.step() == [b"ghost"]
    assert log.forgetting.is_waiting()
    log.appended, under_way = [], log.appended
    log.forgetting.step()
    assert log.appended == []
    log.appended = under_way
    log.acknowledge()
    assert not log.forgetting.is_waiting() and log.step() == []


def test_the_turns_of_a_run_go_in_order_so_that_the_rest_is_never_taken_for_a_whole(
    log: Log,
) -> None:
    firsts = (0, 9, 10, 100, 255, 256)
    keys = [turn_key("run-1", first, 0) for first in firsts]
    for first in firsts:
        log.turn("run-1", first)
    log.turn("run-2", 0, sorted(keys))
    log.covered()
    assert log.step() == keys


def test_a_turn_whose_tombstone_is_there_has_no_row_any_more(log: Log) -> None:
    for first in (0, 1, 2):
        log.turn("run-1", first)
    log.turn("run-1", 3, [turn_key("run-1", 0, 0), turn_key("run-1", 1, 0)])
    log.covered()
    log.step()
    assert [first for first, _ in log.tables.history("run-1")] == [0, 1, 2, 3]
    log.acknowledge()
    assert [first for first, _ in log.tables.history("run-1")] == [2, 3]


def test_a_ghost_that_is_called_like_a_turn_takes_no_row_along(log: Log) -> None:
    log.turn("run-1", 0)
    log.replace(turn_key("run-1", 0, 0))
    assert log.step() == [turn_key("run-1", 0, 0)]
    log.acknowledge()
    assert [first for first, _ in log.tables.history("run-1")] == [0]


def test_many_go_a_part_at_a_time_and_all_of_them_go(log: Log) -> None:
    keys = {b"ghost-%03d" % number for number in range(200)}
    log.replace(*keys)
    gone: list[bytes] = []
    while log.forgetting.more:
        found = log.step()
        assert len(found) <= 64
        gone += found
        log.acknowledge()
    assert len(gone) == 200 and set(gone) == keys
    assert not log.forgetting.is_waiting()


def test_there_is_more_to_do_only_when_something_changed(log: Log) -> None:
    assert log.forgetting.more, "what the owner before us left"
    log.turn("run-1", 3, [b"replaced"])
    assert log.step() == [] and not log.forgetting.more
    log.covered()
    assert log.forgetting.more
    assert log.step() == [b"replaced"] and not log.forgetting.more
    log.acknowledge()
    assert log.forgetting.more


def test_the_last_mark_stays_and_the_one_before_goes(log: Log) -> None:
    for number in (1, 2):
        mark = Mark(0, 0, "eager", Positions(), 0, 0)
        row = Confirmed(mark_key(number, 0), encode(mark), mark, None, (), number)
        log.tables.write([row], Checkpoint(number + 1), Changes())
        log.tables.flush()
    assert log.step() == [mark_key(1, 0)]
