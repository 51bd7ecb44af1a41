"""The small parts of a shard: its timers, what it has delivered, its cache of live runs."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from processor.core.inputs import TimerDue
from processor.core.records.effects import ClearTimer, SetTimer
from processor.core.records.turn import Positions, Turn
from processor.core.replay import Instance
from processor.core.runner import CodeError
from processor.core.state import RunState
from processor.shard.outbox import Deliveries
from processor.shard.ports import Changes, Checkpoint, Confirmed
from processor.shard.timers import Timers
from processor.shard.turns.cache import Cache, Entry
from processor.store.keyvalue import Memory
from processor.store.tables import StateTables

# --- timers -----------------------------------------------------------------------------------

HOUR_MS = 3_600_000
AHEAD_MS = 30_000


class Rows:
    """Tables with timers that a test sets and clears as the shard does: the row first."""

    def __init__(self) -> None:
        self.tables = StateTables(Memory(), "events-0")

    def set(self, id: int, due_ms: int, *, attempt: int = 0) -> SetTimer:
        timer = SetTimer("order-1", "0-1", "timer", id, attempt, due_ms)
        self._write(timer)
        return timer

    def clear(self, timer: SetTimer) -> ClearTimer:
        cleared = ClearTimer("0-1", "timer", timer.id, timer.attempt, timer.due_ms)
        self._write(cleared)
        return cleared

    def _write(self, effect: SetTimer | ClearTimer) -> None:
        place = ("order-1", "0-1", 0, 1, 0, "commands", Positions(), 0, None)
        turn = Confirmed(b"key", b"value", Turn(*place, ()), None, [effect], 5)
        self.tables.write([turn], Checkpoint(6), Changes())


class Queue:
    """An outbox that only keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    def send(self, due: Any, token: int | None, origin: Any = None) -> None:
        assert token is None
        self.sent.append(due.id)


def timers_of(rows: Rows, now_ms: int, queue: Queue | None = None) -> Timers:
    outbox: Any = queue or Queue()
    return Timers(rows.tables, outbox, now_ms)


def due(timers: Timers, now_ms: int) -> list[tuple[int, int]]:
    found: list[TimerDue] = list(timers.due(now_ms))
    return [(each.due_ms, each.id) for each in found]


def test_timers_come_due_in_order_and_once() -> None:
    rows = Rows()
    timers = timers_of(rows, 0)
    for id, due_ms in enumerate((50, 10, 30), 1):
        timers.set(rows.set(id, due_ms))
    assert timers.next_ms() == 10
    assert due(timers, 9) == []
    assert due(timers, 30) == [(10, 2), (30, 3)]
    assert due(timers, 49) == []
    assert due(timers, HOUR_MS) == [(50, 1)]
    assert due(timers, HOUR_MS) == []


def test_a_timer_of_the_past_is_due_at_once() -> None:
    rows = Rows()
    rows.set(1, 5)
    timers = timers_of(rows, HOUR_MS)
    assert timers.next_ms() <= HOUR_MS
    assert due(timers, HOUR_MS) == [(5, 1)]


def test_a_cleared_timer_never_comes() -> None:
    rows = Rows()
    timers = timers_of(rows, 0)
    near, far = rows.set(1, 10), rows.set(2, HOUR_MS)
    for timer in (near, far):
        timers.set(timer)
        timers.clear(rows.clear(timer))
    assert due(timers, 2 * HOUR_MS) == []


def test_a_timer_that_is_set_again_comes_at_its_new_time_only() -> None:
    rows = Rows()
    timers = timers_of(rows, 0)
    first = rows.set(1, 10)
    timers.set(first)
    timers.clear(rows.clear(first))
    timers.set(rows.set(1, 20))
    assert due(timers, 15) == []
    assert due(timers, 25) == [(20, 1)]


def test_a_timer_that_is_set_again_is_not_lost_when_the_old_one_comes_back_early() -> None:
    """It was queued, and is read by an owner whose clock is behind."""
    rows = Rows()
    timers = timers_of(rows, 0)
    first = rows.set(1, 10)
    timers.set(first)
    timers.clear(rows.clear(first))
    timers.set(rows.set(1, 20))
    assert timers.came_early(TimerDue("order-1", "0-1", "timer", 1, 0, 10), 5)
    assert (20, 1) in due(timers, 25)


def test_far_timers_are_rows_until_they_are_near() -> None:
    rows = Rows()
    timers = timers_of(rows, 0)
    timers.set(rows.set(1, HOUR_MS))
    assert timers.next_ms() == AHEAD_MS, "it wants to look ahead, not to fire"
    assert due(timers, HOUR_MS - 1) == []
    assert timers.next_ms() == HOUR_MS
    assert due(timers, HOUR_MS) == [(HOUR_MS, 1)]


def test_timers_on_the_horizon_are_neither_lost_nor_doubled() -> None:
    rows = Rows()
    before = [AHEAD_MS - 1, AHEAD_MS, AHEAD_MS + 1]
    for id, due_ms in enumerate(before, 1):
        rows.set(id, due_ms)
    timers = timers_of(rows, 0)
    for id, due_ms in enumerate(before, 11):
        timers.set(rows.set(id, due_ms))
    found = [each for now_ms in range(0, 3 * AHEAD_MS, 500) for each in due(timers, now_ms)]
    assert sorted(found) == sorted((ms, id + n) for n in (0, 10) for id, ms in enumerate(before, 1))


def test_many_timers_are_looked_at_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.shard.timers._ROWS_MAX", 7)
    rows, random = Rows(), Random(1)
    wanted = [(random.choice((100, 100, 200, random.randint(1, 90_000))), id) for id in range(60)]
    for due_ms, id in wanted:
        rows.set(id, due_ms)
    timers = timers_of(rows, 0)
    assert len(timers._heap) < 60
    found = [each for now_ms in range(0, 100_000, 50) for each in due(timers, now_ms)]
    assert sorted(found) == sorted(wanted)
    assert [ms for ms, _ in found] == sorted(ms for ms, _ in wanted)


def test_a_clock_that_jumps_back_loses_nothing() -> None:
    rows = Rows()
    timers = timers_of(rows, HOUR_MS)
    timers.set(rows.set(1, HOUR_MS + 10))
    assert due(timers, 0) == []
    assert due(timers, HOUR_MS + 10) == [(HOUR_MS + 10, 1)]


def test_what_there_is_no_room_for_queues_and_nothing_overtakes_it() -> None:
    rows, queue = Rows(), Queue()
    timers = timers_of(rows, 0, queue)
    for id in range(1, 9):
        timers.set(rows.set(id, 10 * id))
    decided: list[TimerDue] = []

    def fire(now_ms: int, room: int) -> tuple[list[int], list[int]]:
        decided.clear()
        queue.sent.clear()
        timers.fire(now_ms, room, lambda: 1_000, lambda _, due: decided.append(due))
        return [each.id for each in decided], queue.sent

    def back(id: int) -> None:
        timers.came_back(TimerDue("order-1", "0-1", "timer", id, 0, 10 * id))

    assert fire(19, 5) == ([1], [])
    assert fire(49, 1) == ([2], [3, 4])
    assert fire(59, 5) == ([], [5]), "there is room, but 3 and 4 are still on their way"
    back(3)
    back(4)
    assert fire(69, 5) == ([], [6])
    back(5)
    back(6)
    assert fire(79, 5) == ([7], [])
    assert fire(89, 0) == ([], [8])


def test_room_is_asked_for_before_each_timer() -> None:
    """What was decided just now may have taken the last of it."""
    rows, queue = Rows(), Queue()
    timers = timers_of(rows, 0, queue)
    for id in range(1, 5):
        timers.set(rows.set(id, 10 * id))
    decided: list[int] = []
    timers.fire(99, 9, lambda: 2 - len(decided), lambda _, due: decided.append(due.id))
    assert (decided, queue.sent) == ([1, 2], [3, 4])


# --- deliveries -------------------------------------------------------------------------------


def test_the_floor_is_the_first_turn_with_something_outstanding() -> None:
    deliveries = Deliveries(10)
    assert (deliveries.floor, deliveries.outstanding) == (10, 0)
    deliveries.released(10, 0)
    assert deliveries.floor == 11
    deliveries.released(11, 2)
    deliveries.released(12, 1)
    deliveries.released(13, 0)
    assert (deliveries.floor, deliveries.outstanding) == (11, 2)
    deliveries.delivered(12)
    assert (deliveries.floor, deliveries.outstanding) == (11, 1)
    deliveries.delivered(11)
    assert deliveries.floor == 11
    deliveries.delivered(11)
    assert (deliveries.floor, deliveries.outstanding) == (14, 0)


def test_what_an_earlier_owner_owes_keeps_the_floor_below_our_first_turn() -> None:
    deliveries = Deliveries(10)
    deliveries.released(4, 1)
    deliveries.released(10, 1)
    assert deliveries.floor == 4
    deliveries.delivered(4)
    assert deliveries.floor == 10


@pytest.mark.parametrize("seed", range(30))
def test_nothing_below_the_floor_is_outstanding_in_any_order(seed: int) -> None:
    random, deliveries = Random(seed), Deliveries(0)
    open: list[int] = []
    offset = 0
    before = 0
    for _ in range(300):
        if open and random.random() < 0.6:
            deliveries.delivered(open.pop(random.randrange(len(open))))
        else:
            sends = random.choice((0, 0, 1, 3))
            deliveries.released(offset, sends)
            open += [offset] * sends
            offset += random.randint(1, 2)
        assert before <= deliveries.floor <= min(open, default=offset)
        assert deliveries.outstanding == len(set(open))
        before = deliveries.floor


# --- the cache --------------------------------------------------------------------------------


class Live:
    """A runner that knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def activate(self, now_ms: int, number: int, facts: Any, recorded: Any) -> list[Any]:
        return []

    def snapshot(self) -> bytes | None:
        return None

    def unread(self) -> tuple[int, int]:
        return 0, 0

    def left(self) -> list[Any]:
        return []

    def waiting(self) -> list[str]:
        return []

    def close(self) -> None:
        self.closed = True


def entry(name: str, in_flight: int = 0, bytes: int = 100) -> tuple[Entry, Live]:
    runner = Live()
    instance = Instance(RunState(name, f"{name}/1"), runner)
    return Entry(name, instance, None, in_flight, bytes=bytes), runner


def test_the_least_recently_used_runs_go_first() -> None:
    cache = Cache(2, 10_000)
    runners = {}
    for name in ("a", "b", "c"):
        made, runners[name] = entry(name)
        cache.add(made)
    assert cache.get("a") is not None
    cache.evict()
    assert len(cache) == 2
    assert [name for name in runners if runners[name].closed] == ["b"]
    assert cache.get("b") is None


def test_runs_in_flight_stay_whatever_the_bounds() -> None:
    cache = Cache(0, 0)
    held, runner = entry("a", in_flight=1)
    cache.add(held)
    cache.evict()
    assert cache.get("a") is held and not runner.closed
    held.in_flight = 0
    cache.evict()
    assert cache.get("a") is None and runner.closed
    assert (len(cache), cache.bytes) == (0, 0)


def test_bytes_are_bounded_as_well() -> None:
    cache = Cache(100, 250)
    first, _ = entry("a")
    second, _ = entry("b")
    cache.add(first)
    cache.add(second)
    cache.evict()
    assert (len(cache), cache.bytes) == (2, 200)
    cache.grew(second, 100)
    cache.evict()
    assert (len(cache), cache.bytes) == (1, 200)
    assert cache.get("a") is None


def test_a_closed_run_is_dropped_once_nothing_is_in_flight() -> None:
    cache = Cache(10, 10_000)
    held, _ = entry("a", in_flight=2)
    cache.add(held)
    held.instance = None
    held.begun.add("a/1")
    cache.settled(held)
    assert len(cache) == 1 and held.begun == {"a/1"}
    cache.settled(held)
    assert (len(cache), cache.bytes) == (0, 0)
    assert held.in_flight == 0 and not held.begun


def test_closing_drops_all_of_it_also_runs_without_code() -> None:
    cache = Cache(10, 10_000)
    broken = Entry("x", Instance(RunState("x", "x/1"), CodeError("bug", "no")))
    held, runner = entry("a", in_flight=3)
    cache.add(broken)
    cache.add(held)
    cache.close()
    assert (len(cache), cache.bytes, runner.closed) == (0, 0, True)


def test_a_checkpoint_begins_at_nothing() -> None:
    assert Checkpoint().next_offset == 0 and Checkpoint().epoch == -1
