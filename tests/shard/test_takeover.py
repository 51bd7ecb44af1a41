"""Taking a shard over: which tables may be gone on from, and which are rebuilt."""

from __future__ import annotations

import pytest

from processor.codec.records import encode
from processor.core.events import WorkflowCompleted, WorkflowStarted
from processor.core.turn import Positions, Turn, turn_key
from processor.errors import StoreCorrupt
from processor.shard.takeover import Taken, Takeover
from processor.simulation.broker import Broker
from processor.simulation.faults import CALM
from processor.simulation.ports import SimulatedLog
from processor.simulation.scheduler import START_MS, Scheduler
from processor.store.keyvalue import Memory
from processor.store.tables import StateTables

DAY_MS = 24 * 3600 * 1000


class Shard:
    """One log, and whoever takes it over at a time of the test's."""

    def __init__(self) -> None:
        self.scheduler = Scheduler(0)
        self.broker = Broker(1)

    def take_over(self, store: Memory, day: float) -> Taken:
        log = SimulatedLog(self.broker, 0, self.scheduler, CALM, lambda: None)
        takeover = Takeover(0, log, StateTables(store, "events-0"), "a test")
        now_ms = START_MS + int(day * DAY_MS)
        takeover.begin("nonce", now_ms)
        while (epoch := takeover.claimed("nonce", now_ms)) is None:
            assert self.scheduler.step(), "the claim is acknowledged"
        return takeover.fold(epoch, 0)

    def write(self, taken: Taken, number: int) -> None:
        """Append the one turn of a run, as the owner would."""
        events = (WorkflowStarted("greet", b"[]"), WorkflowCompleted(b"null"))
        run_id = f"0-{number}"
        turn = Turn(
            f"w-{number}",
            run_id,
            taken.epoch,
            0,
            START_MS,
            "commands",
            Positions(number + 1),
            0,
            None,
            events,
        )
        self.broker.logs[0].append(turn_key(run_id, 0, taken.epoch), encode(turn))


def test_a_store_that_was_away_for_long_is_refused_and_rebuilt_from_the_log() -> None:
    shard, ours, others = Shard(), Memory(), Memory()
    shard.write(shard.take_over(ours, 0), 0)
    shard.write(shard.take_over(others, 1), 1)
    with pytest.raises(StoreCorrupt, match=r"left 192.0 hours ago.*delete\.retention\.ms"):
        shard.take_over(ours, 8)
    assert shard.take_over(Memory(), 8).turns == 2


def test_a_store_that_was_away_for_less_is_gone_on_from() -> None:
    shard, ours, others = Shard(), Memory(), Memory()
    shard.write(shard.take_over(ours, 0), 0)
    shard.write(shard.take_over(others, 1), 1)
    assert shard.take_over(ours, 5.9).turns == 2, "the first turn was not in its tables yet"
    assert shard.take_over(ours, 11).turns == 0, "it was there on day 5.9"


def test_a_store_that_nobody_wrote_past_is_gone_on_from_however_old() -> None:
    shard, ours = Shard(), Memory()
    shard.take_over(ours, 0)
    assert shard.take_over(ours, 100).turns == 0
