"""One running shard whose ports a test moves by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from examples.orders import order_processing
from processor.checks import RECORD_BYTES_MAX
from processor.codec.payloads import JsonPayloads
from processor.codec.records import decode
from processor.config import Settings
from processor.core.data.options import ActivityOptions
from processor.core.inputs import ActivityReport, ClientCommand
from processor.core.records.effects import ActivityTask, Reply
from processor.core.records.turn import Claim, Positions, Turn
from processor.injection.interceptors import Injected
from processor.registry import Registry
from processor.shard.dedup import UnderClaim
from processor.shard.intake import handover
from processor.shard.intake.overflow import Overflow
from processor.shard.loop import Shard
from processor.shard.messages.border import Border
from processor.shard.ports import InboxRecord, LogRecord, ShardPorts
from processor.shard.recovery.takeover import Taken, Takeover
from processor.simulation.partitions import LogPartition
from processor.store.keyvalue import Memory
from processor.store.tables import StateTables
from processor.workflow._engine.runners import WorkflowRunners
from tests.orders import ACTIVITIES

MINUTE_MS = 60_000
ORDER = b'[{"id": "A", "amount": 10.0}]'


class Ports:
    """Log, inbox, outbox, activities and clock of one shard."""

    id = b"a log of 16 byte"
    stuck = unsent_bytes = 0

    def __init__(self, log: LogPartition | None = None) -> None:
        self.now = 1_700_000_000_000
        self.partition = LogPartition(self.now_ms) if log is None else log
        self.arrived: list[InboxRecord] = []
        self.sent: list[Any] = []
        self.replies: list[Reply] = []
        self.outputs: list[tuple[int, Any]] = []
        self.published_to = 0
        self.tokens: list[int] = []
        self.acks: list[int] = []
        self.started: list[tuple[ActivityTask, Callable[[ActivityReport], None]]] = []
        self.held = False
        self.keeps_messages = False
        self.arrived_to = 1 << 62  # what is read of the log again, so far
        self._next = 0

    # --- what a test does with it -------------------------------------------------------------

    def read_commands(self, *commands: ClientCommand) -> None:
        """Let commands arrive, each at the next offset of its topic."""
        for command in commands:
            self.arrived.append(InboxRecord("commands", self._next, command))
            self._next += 1

    def read_again(self, *commands: ClientCommand) -> None:
        """Let commands arrive from the beginning of their topic on."""
        self._next = 0
        self.read_commands(*commands)

    def records(self) -> list[UnderClaim]:
        """Return what was written but for claims and tombstones, whatever counts of it."""
        values = [record.value for record in self.read(0, 1 << 30) if record.value is not None]
        found: list[Any] = [decode(value) for value in values]
        return [record for record in found if not isinstance(record, Claim)]

    def turns(self) -> list[Turn]:
        return [record for record in self.records() if isinstance(record, Turn)]

    def deliver_all(self) -> None:
        """Acknowledge every send that has not been."""
        self.tokens += [token for _, token in self.sent if token is not None]
        self.sent.clear()

    # --- the ports ----------------------------------------------------------------------------

    def now_ms(self) -> int:
        return self.now

    def is_own(self, workflow_id: str) -> bool:
        return self.keeps_messages

    def entropy(self) -> bytes:
        return b"16 random bytes."

    @property
    def waiting(self) -> bool:
        return bool(self.acks or self.arrived or self.tokens)

    def append(self, key: bytes, value: bytes | None) -> None:
        self.acks.append(self.partition.append(key, value))

    def acknowledged(self) -> Sequence[int]:
        if self.held:
            return []
        acks, self.acks = self.acks, []
        return acks

    def read_along(self, first: int, end: int) -> Iterator[LogRecord | None]:
        for record in self.read(first, end):
            while record.offset >= self.arrived_to:
                yield None
            yield record

    def read(self, first: int, end: int) -> Iterator[LogRecord]:
        return self.partition.read(first, end)

    def bounds(self) -> tuple[int, int]:
        return 0, self.partition.end

    def open(self, positions: Positions) -> None: ...

    def take(self, count: int) -> Sequence[InboxRecord]:
        taken, self.arrived = self.arrived[:count], self.arrived[count:]
        return taken

    def send(self, effect: Any, token: int | None, origin: Any = None) -> None:
        self.sent.append((effect, token))

    def delivered(self) -> Sequence[int]:
        tokens, self.tokens = self.tokens, []
        return tokens

    def reply(self, reply: Reply) -> None:
        self.replies.append(reply)

    def publish(self, offset: int, records: Any) -> None:
        self.outputs += [(offset, record) for record in records]

    def published(self) -> int:
        return self.published_to

    def published_floor(self, released: int) -> int:
        return released

    def undelivered(self, run_id: str) -> None:
        return None

    def close(self) -> None: ...

    def place(self, name: str, options: ActivityOptions, taken: int) -> bool:
        return True

    def reserve(self, count: int) -> None: ...

    def release(self, count: int) -> None: ...

    def room(self) -> int:
        return 1_000

    def start(self, task: ActivityTask, report: Callable[[ActivityReport], None]) -> None:
        self.started.append((task, report))

    def cancel(self, run_id: str, id: int, waits: bool = False) -> None: ...


def few_in_memory(monkeypatch: pytest.MonkeyPatch, **bounds: int) -> list[int]:
    """Let few messages of a shard to itself wait in memory; return what fills with those offsets
    whose messages are left in the log.
    """
    for name, bound in bounds.items():
        monkeypatch.setattr(handover, name, bound)
    left: list[int] = []
    add = Overflow.add

    def noted(self: Overflow, offset: int) -> None:
        left.append(offset)
        add(self, offset)

    monkeypatch.setattr(Overflow, "add", noted)
    return left


def take_over(ports: Any, store: Memory, border: Border | None = None) -> Taken:
    tables = StateTables(store, "events-0")
    takeover = Takeover(0, ports, tables, "a test", border=border or Border())
    nonce = f"nonce-{ports.bounds()[1]}"
    takeover.begin(nonce, ports.now)
    epoch = takeover.claimed(nonce, ports.now)
    assert epoch is not None
    return takeover.fold(epoch, ports.published())


def shard(
    ports: Any,
    store: Memory | None = None,
    runners: Any = None,
    record_bytes_max: int = RECORD_BYTES_MAX,
    producer: Callable[[], str] = str,
    settings: Settings | None = None,
    border: Border | None = None,
) -> Shard:
    """Take a shard over, with new tables if none are given; it knows how to process orders."""
    store = store or Memory()
    settings = settings or Settings()
    border = border or Border()
    taken = take_over(ports, store, border)
    tables = StateTables(store, "events-0")
    if runners is None:
        registry = Registry([order_processing], ACTIVITIES, Injected(JsonPayloads()))
        runners = WorkflowRunners(registry, settings)
    all_ports = ShardPorts(ports, ports, ports, tables, ports, ports, ports.entropy, ports.is_own)
    all_ports.record_bytes_max, all_ports.producer = record_bytes_max, producer
    all_ports.border = border
    return Shard(0, all_ports, runners, settings, taken, lambda: None)


def run(running: Shard, steps: int = 10) -> None:
    """Let a shard do all that it can do now."""
    for _ in range(steps):
        running.step()
