"""Who waits for the end of a run: each is counted, and forgotten in time, however long it asks."""

from __future__ import annotations

from typing import Any

from processor.config import Settings
from processor.core.data.address import ReplyTo
from processor.core.inputs import ClientCommand
from processor.core.questions import AwaitResult
from processor.core.records.answers import Refused
from processor.core.records.effects import Reply, RunResult
from processor.shard.reads import Reads
from processor.store.keyvalue import Memory
from processor.store.tables import StateTables
from tests.contract.records import STARTED, Writer
from tests.contract.stores import IDENTITY

FOR_EVER = 1 << 62
HOUR_MS = 3_600_000


class Waiting:
    """The reads of a shard with open runs, a clock and an outbox."""

    def __init__(self, waiters_max: int = 100, runs: int = 20) -> None:
        tables = StateTables(Memory(), IDENTITY)
        Writer(tables).write(*((f"w{number}-1", [STARTED]) for number in range(runs)))
        self.now = 1_000_000
        self.told: list[Reply] = []
        settings = Settings(waiters_max=waiters_max)
        port: Any = self
        self.reads = Reads(0, tables, port, port, settings)

    def now_ms(self) -> int:
        return self.now

    def reply(self, reply: Reply) -> None:
        self.told.append(reply)

    def wait(self, request: int, timeout_ms: int, run: int = 0) -> None:
        body = AwaitResult(f"w{run}-1", timeout_ms=timeout_ms)
        to = ReplyTo(0, "client", request)
        self.reads.serve(ClientCommand(f"w{run}", body, reply_to=to), body)

    def close(self, run: int) -> list[int]:
        """Let a run end; return whose requests are answered."""
        self.told.clear()
        self.reads.closed(self._result(run))
        return [reply.to.request for reply in self.told]

    def _result(self, run: int) -> RunResult:
        run_id = f"w{run}-1"
        place = (f"w{run}", run_id, run_id, "order")
        return RunResult(*place, "completed", b"1", None, None, self.now)

    def refused(self) -> int:
        return sum(isinstance(reply.body, Refused) for reply in self.told)


def test_who_waits_for_ever_pins_nobody() -> None:
    shard = Waiting(waiters_max=10)
    shard.wait(0, FOR_EVER)
    for request in range(1, 1_001):
        shard.wait(request, 50, run=1)
        shard.now += 100
    assert shard.refused() == 0
    assert shard.close(0) == [0]


def test_who_waits_for_ever_is_forgotten_after_an_hour() -> None:
    shard = Waiting(waiters_max=1)
    shard.wait(0, FOR_EVER)
    shard.wait(1, 50)
    assert shard.refused() == 1
    shard.now += HOUR_MS
    shard.wait(2, -1)
    assert shard.refused() == 1
    assert shard.close(0) == [2]


def test_who_is_answered_is_not_counted_any_more() -> None:
    shard = Waiting(waiters_max=2)
    for run in range(20):
        shard.wait(2 * run, HOUR_MS, run)
        shard.wait(2 * run + 1, HOUR_MS, run)
        assert shard.refused() == 0
        assert shard.close(run) == [2 * run, 2 * run + 1]


def test_who_asks_again_waits_once() -> None:
    shard = Waiting(waiters_max=1)
    for _ in range(5_000):
        shard.wait(7, HOUR_MS)
    assert shard.refused() == 0
    assert len(shard.reads._waiters._expiry) < 2_000, "what is outdated does not pile up"
    shard.now += HOUR_MS - 1
    shard.wait(7, 50)
    assert shard.close(0) == [7]
