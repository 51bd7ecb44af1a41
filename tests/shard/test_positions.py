"""What turns and marks say of the inputs: how far they are read, and never further."""

from __future__ import annotations

from processor.core.inputs import ActivityReport, ClientCommand
from processor.core.nouns.start import StartRun
from processor.core.records.effects import DeadLetter
from processor.core.records.marks import Mark
from processor.core.records.turn import Positions
from processor.shard.loop import Shard
from processor.shard.ports import InboxRecord
from processor.simulation.partitions import COMPACTION_LAG_MS
from processor.store.keyvalue import Memory

from .running import MINUTE_MS, ORDER, Ports, shard, take_over


def start(offset: int) -> InboxRecord:
    body = StartRun("order_processing", ORDER)
    return InboxRecord("commands", offset, ClientCommand(f"order-{offset}", body))


def unreadable(offset: int) -> InboxRecord:
    letter = DeadLetter("commands", 0, offset, None, b"?", "it is no record")
    return InboxRecord("commands", offset, letter)


def read(ports: Ports) -> list[int]:
    """Return how far each record says that commands were read."""
    return [record.positions.commands for record in ports.records()]


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
    assert read(ports) == [1, 1], "nor is a mark"
    assert not running.idle
    ports.tokens = [-1]
    running.step()
    assert read(ports)[2:] == [3], "up to the next one"
    ports.tokens = [-1]
    running.step()
    assert read(ports)[3:] == [5]
    letters = [effect.offset for effect, _ in ports.sent if isinstance(effect, DeadLetter)]
    assert letters == [1, 3]


def test_dead_letters_travel_together_and_no_turn_is_past_any_before_all_are_there() -> None:
    ports = Ports()
    running = shard(ports)
    timer = InboxRecord("timers", 7, DeadLetter("timers", 0, 7, None, b"?", "it is no record"))
    ports.arrived = [start(0), *map(unreadable, range(1, 41)), timer, start(41), unreadable(42)]
    for _ in range(5):
        running.step()
    letters = [effect for effect, _ in ports.sent if isinstance(effect, DeadLetter)]
    assert [each.offset for each in letters] == [*range(1, 41), 7]
    assert read(ports) == [1]
    for left in (40, 1):
        ports.tokens = [-1] * left
        running.step()
        running.step()
        assert read(ports) == ([1] if left > 1 else [1, 42])
    turn = ports.records()[-1]
    assert turn.positions == Positions(42, 0, 8)
    assert [e.offset for e, _ in ports.sent if isinstance(e, DeadLetter)][-1] == 42


def test_large_dead_letters_travel_a_few_at_a_time() -> None:
    ports = Ports()
    running = shard(ports)
    letters = [DeadLetter("commands", 0, n, None, bytes(1_000_000), "no") for n in range(20)]
    ports.arrived = [InboxRecord("commands", n, letter) for n, letter in enumerate(letters)]
    for sent in (8, 16, 20):
        for _ in range(3):
            running.step()
        assert len(ports.sent) == sent
        ports.tokens = [-1] * (8 if sent < 20 else 4)
    running.step()
    assert running.idle


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
    (record,) = ports.records()
    assert isinstance(record, Mark) and record.positions == Positions(5)
