"""What turns and marks say of the inputs: how far they are read, and never further."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from examples.orders import order_processing
from processor.codec.payloads import JsonPayloads
from processor.codec.records import decode
from processor.config import Settings
from processor.core.effects import ActivityTask, DeadLetter
from processor.core.inputs import ActivityReport, ClientCommand, StartRun
from processor.core.options import ActivityOptions
from processor.core.turn import Positions, Turn
from processor.registry import Registry
from processor.shard.loop import Shard
from processor.shard.ports import InboxRecord, LogRecord, ShardPorts
from processor.shard.takeover import Taken, Takeover
from processor.simulation.partitions import COMPACTION_LAG_MS, LogPartition
from processor.store.keyvalue import Memory
from processor.store.tables import StateTables
from processor.workflow._runner import WorkflowRunners
from tests.orders import ACTIVITIES

MINUTE_MS = 60_000


class Ports:
    """Log, inbox, outbox, activities and clock of one shard, moved by a test."""

    def __init__(self, log: LogPartition | None = None) -> None:
        self.now = 1_700_000_000_000
        self.partition = LogPartition(self.now_ms) if log is None else log
        self.arrived: list[InboxRecord] = []
        self.sent: list[Any] = []
        self.tokens: list[int] = []
        self.acks: list[int] = []
        self.started: list[tuple[ActivityTask, Callable[[ActivityReport], None]]] = []

    def turns(self) -> list[Turn]:
        values = [record.value for record in self.read(0, 1 << 30) if record.value is not None]
        return [turn for turn in map(decode, values) if isinstance(turn, Turn)]

    def now_ms(self) -> int:
        return self.now

    def append(self, key: bytes, value: bytes | None) -> None:
        self.acks.append(self.partition.append(key, value))

    def acknowledged(self) -> Sequence[int]:
        acks, self.acks = self.acks, []
        return acks

    def read(self, first: int, end: int) -> Iterator[LogRecord]:
        return self.partition.read(first, end)

    def bounds(self) -> tuple[int, int]:
        return 0, self.partition.end

    def open(self, positions: Positions) -> None: ...

    def take(self, count: int) -> Sequence[InboxRecord]:
        taken, self.arrived = self.arrived[:count], self.arrived[count:]
        return taken

    def send(self, effect: Any, token: int | None, origin: Any = None) -> None:
        self.sent.append(effect)

    def delivered(self) -> Sequence[int]:
        tokens, self.tokens = self.tokens, []
        return tokens

    def reply(self, reply: Any) -> None: ...

    def publish(self, offset: int, records: Any) -> None: ...

    def place(self, name: str, options: ActivityOptions) -> bool:
        return True

    def release(self, count: int) -> None: ...

    def room(self) -> int:
        return 1_000

    def start(self, task: ActivityTask, report: Callable[[ActivityReport], None]) -> None:
        self.started.append((task, report))


def take_over(ports: Any, store: Memory) -> Taken:
    tables = StateTables(store, "events-0")
    takeover = Takeover(0, ports, tables, "a test")
    nonce = f"nonce-{ports.bounds()[1]}"
    takeover.begin(nonce, ports.now)
    epoch = takeover.claimed(nonce, ports.now)
    assert epoch is not None
    return takeover.fold(epoch, 0)


def shard(ports: Any) -> Shard:
    store, settings = Memory(), Settings()
    taken = take_over(ports, store)
    tables = StateTables(store, "events-0")
    runners = WorkflowRunners(Registry([order_processing], ACTIVITIES, JsonPayloads()), settings)
    all_ports = ShardPorts(ports, ports, ports, tables, ports, ports)
    return Shard(0, all_ports, runners, settings, taken, lambda: None)


def start(offset: int) -> InboxRecord:
    body = StartRun("order_processing", b'[{"id": "A", "amount": 10.0}]')
    return InboxRecord("commands", offset, ClientCommand(f"order-{offset}", body))


def unreadable(offset: int) -> InboxRecord:
    letter = DeadLetter("commands", 0, offset, None, b"?", "it is no record")
    return InboxRecord("commands", offset, letter)


def test_no_turn_is_past_an_unreadable_input_before_its_dead_letter_is_there() -> None:
    ports = Ports()
    running = shard(ports)
    ports.arrived = [start(0), unreadable(1), start(2), unreadable(3), start(4)]
    running.step()
    running.step()  # the first order's activity starts
    task, report = ports.started[0]
    report(ActivityReport(task.workflow_id, task.run_id, task.id, 1, "completed", b"null"))
    ports.now += 2 * MINUTE_MS
    for _ in range(3):
        running.step()
    assert [turn.positions.commands for turn in ports.turns()] == [1, 1], "nor a mark"
    assert not running.idle
    ports.tokens = [-1]
    running.step()
    assert [turn.positions.commands for turn in ports.turns()][2:] == [3], "up to the next one"
    ports.tokens = [-1]
    running.step()
    assert [turn.positions.commands for turn in ports.turns()][3:] == [5]
    letters = [effect.offset for effect in ports.sent if isinstance(effect, DeadLetter)]
    assert letters == [1, 3]


def marked(ports: Ports, running: Shard, offset: int) -> None:
    """Let an input that changes nothing be read, and a mark be written of it."""
    ports.arrived = [unreadable(offset)]
    running.step()
    ports.tokens = [-1]
    ports.now += 2 * MINUTE_MS
    running.step()


def test_a_mark_that_counts_is_never_replaced_by_one_that_does_not() -> None:
    """Else an idle shard whose store is wiped would ask for inputs that retention has removed."""
    ports = Ports()
    before = shard(ports)
    marked(ports, before, 0)
    before.step()
    after = Ports(ports.partition)
    after.now = ports.now
    take_over(after, Memory())
    marked(ports, before, 1)  # the owner before does not know yet, so its mark is a ghost
    ports.now += 2 * COMPACTION_LAG_MS
    after.now = ports.now
    ports.partition.compact(ports.partition.cleanable())
    assert take_over(after, Memory()).checkpoint.positions == Positions(1)


def test_there_is_one_mark_at_a_time() -> None:
    ports = Ports()
    running = shard(ports)
    for offset in range(5):
        marked(ports, running, offset)
        running.step()
    ports.now += 2 * COMPACTION_LAG_MS
    ports.partition.compact(ports.partition.cleanable())
    assert [turn.positions.commands for turn in ports.turns()] == [5]
