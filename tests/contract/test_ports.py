"""What the shard counts on, whichever runtime it runs in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from processor.core.data.address import Address, Caller, ReplyTo
from processor.core.data.cause import Origin
from processor.core.inputs import ClientCommand, TimerDue
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.start import StartRun
from processor.core.nouns.stop import CancelRun
from processor.core.records.answers import Accepted
from processor.core.records.effects import (
    ActivityTask,
    DeadLetter,
    Message,
    Publish,
    Reply,
    RunResult,
)
from processor.core.records.turn import Positions
from processor.shard.ports import InboxRecord, LogRecord, OutputRecord

from .adapters import Adapter

COUNT = 20
LOG = b"a log of 16 byte"


def append(adapter: Adapter, records: Sequence[tuple[bytes, bytes | None]]) -> list[int]:
    """Append and return the acknowledged offsets."""
    offsets: list[int] = []
    for key, value in records:
        adapter.log.append(key, value)

    def all_there() -> bool:
        offsets.extend(adapter.log.acknowledged())
        return len(offsets) == len(records)

    adapter.eventually(all_there)
    return offsets


def numbered(count: int) -> list[tuple[bytes, bytes | None]]:
    return [(b"key-%d" % n, b"value-%d" % n) for n in range(count)]


# --- the log ----------------------------------------------------------------------------------


def test_appends_are_acknowledged_in_order_with_contiguous_offsets(log_adapter: Adapter) -> None:
    offsets = append(log_adapter, numbered(COUNT))
    assert offsets == list(range(offsets[0], offsets[0] + COUNT))
    assert log_adapter.log.acknowledged() == []


def test_nothing_is_acknowledged_that_cannot_be_read(log_adapter: Adapter) -> None:
    for key, value in numbered(COUNT):
        log_adapter.log.append(key, value)
        for offset in log_adapter.log.acknowledged():
            assert [record.offset for record in log_adapter.log.read(offset, offset + 1)] == [
                offset
            ]
        log_adapter.settle()


def test_what_was_appended_is_read_back_with_tombstones(log_adapter: Adapter) -> None:
    records = [*numbered(3), (b"key-1", None), (b"key-9", b"")]
    first = append(log_adapter, records)[0]
    read = list(log_adapter.log.read(first, first + 5))
    along = log_adapter.log.read_along(first, first + 5)
    assert [record for record in along if record is not None] == read
    assert read == [LogRecord(first + n, key, value) for n, (key, value) in enumerate(records)]
    assert [r.offset for r in log_adapter.log.read(first + 1, first + 3)] == [first + 1, first + 2]


def test_bounds_are_the_first_offset_and_the_end(log_adapter: Adapter) -> None:
    first, end = log_adapter.log.bounds()
    assert first == end
    offsets = append(log_adapter, numbered(3))
    assert log_adapter.log.bounds() == (offsets[0], offsets[-1] + 1)


def test_a_log_has_an_id_that_each_owner_finds_again(log_adapter: Adapter) -> None:
    """It is part of run ids and of the origins of messages, wherever they are made."""
    before = log_adapter.log.id
    assert len(before) == 16
    append(log_adapter, numbered(1))
    log_adapter.connect()
    assert log_adapter.log.id == before


def test_a_new_owner_finds_the_log_and_goes_on_behind_it(log_adapter: Adapter) -> None:
    before = append(log_adapter, numbered(3))
    log_adapter.connect()
    assert log_adapter.log.bounds() == (before[0], before[-1] + 1)
    assert append(log_adapter, numbered(1)) == [before[-1] + 1]
    assert len(list(log_adapter.log.read(before[0], before[-1] + 2))) == 4


# --- the inbox --------------------------------------------------------------------------------


def taken(adapter: Adapter, count: int) -> list[InboxRecord]:
    found: list[InboxRecord] = []

    def all_there() -> bool:
        found.extend(adapter.inbox.take(3))
        return len(found) >= count

    adapter.eventually(all_there)
    adapter.settle()
    assert adapter.inbox.take(10) in ((), [])
    return found


def send_messages(adapter: Adapter, numbers: range) -> None:
    append(adapter, numbered(len(numbers) + 1))
    for n in numbers:
        message = Message("order-1", RaiseEvent(f"event-{n}", b"%d" % n))
        adapter.outbox.send(message, n, Origin(LOG, 0, n, 0))
    delivered: list[int] = []

    def all_there() -> bool:
        delivered.extend(adapter.outbox.delivered())
        return len(delivered) == len(numbers)

    adapter.eventually(all_there)


def test_messages_arrive_in_order_as_commands_with_their_origin(sharded_adapter: Adapter) -> None:
    adapter = sharded_adapter
    adapter.inbox.open(Positions())
    send_messages(adapter, range(5))
    records = taken(adapter, 5)
    assert [record.offset for record in records] == list(range(5))
    assert [record.input for record in records] == [
        ClientCommand("order-1", RaiseEvent(f"event-{n}", b"%d" % n), Origin(LOG, 0, n, 0))
        for n in range(5)
    ]


@pytest.mark.parametrize(
    "body",
    [CancelRun("enough"), RaiseEvent("go", None, headers=(("h", b""),)), StartRun("order", b"[]")],
    ids=lambda body: type(body).__name__,
)
def test_a_message_carries_its_body_and_who_waits_for_the_answer(
    sharded_adapter: Adapter, body: Any
) -> None:
    adapter = sharded_adapter
    adapter.inbox.open(Positions())
    caller = Caller(Address(None, "parent-1"), "run-9", 3)
    adapter.outbox.send(Message("order-1", body), None)
    adapter.outbox.send(Message("order-1", body, caller), None)
    records = taken(adapter, 2)
    assert [record.input for record in records] == [
        ClientCommand("order-1", body),
        ClientCommand("order-1", body, caller=caller),
    ]


def test_due_timers_are_an_input_of_their_own(adapter: Adapter) -> None:
    adapter.inbox.open(Positions())
    due = [TimerDue("order-1", "0-1", "timer", n, 0, 5) for n in range(3)]
    for timer in due:
        adapter.outbox.send(timer, None)
    records = taken(adapter, 3)
    assert [(r.source, r.offset, r.input) for r in records] == [
        ("timers", n, timer) for n, timer in enumerate(due)
    ]


def test_reading_begins_at_the_positions_again_after_a_new_owner_came(
    sharded_adapter: Adapter,
) -> None:
    adapter = sharded_adapter
    adapter.inbox.open(Positions())
    send_messages(adapter, range(5))
    taken(adapter, 5)
    adapter.connect()
    adapter.inbox.open(Positions(commands=2))
    assert [record.offset for record in taken(adapter, 3)] == [2, 3, 4]
    adapter.connect()
    adapter.inbox.open(Positions(commands=5))
    send_messages(adapter, range(1))
    assert [record.offset for record in taken(adapter, 1)] == [5]


def test_what_is_sent_again_before_the_inbox_opens_is_kept_as_well(
    sharded_adapter: Adapter,
) -> None:
    """What a new owner owes: delivered is only what the next owner finds, whatever happens."""
    adapter = sharded_adapter
    append(adapter, numbered(1))
    owed = Message("order-1", RaiseEvent("owed", b"1"))
    adapter.outbox.send(owed, 7, Origin(LOG, 0, 7, 0))
    adapter.inbox.open(Positions())
    (record,) = taken(adapter, 1)
    adapter.eventually(lambda: list(adapter.outbox.delivered()) == [7])
    adapter.connect()
    adapter.inbox.open(Positions())
    (again,) = taken(adapter, 1)
    assert again.input == record.input


# --- the outbox -------------------------------------------------------------------------------

TASK = ActivityTask(
    "order-1", "0-1", "order", 1, 1, "pay", b"[]", "far", False, 5, None, None, None, None
)
LETTER = DeadLetter("commands", 0, 3, b"k", b"v", "why")


def test_each_token_is_delivered_once(adapter: Adapter) -> None:
    adapter.inbox.open(Positions())
    append(adapter, numbered(COUNT))
    sends: list[tuple[Any, int | None]] = [(TASK, 1), (LETTER, 2), (TASK, None), (LETTER, -1)]
    sends += [(TimerDue("order-1", "0-1", "timer", n, 0, 5), n) for n in range(3, COUNT)]
    for effect, token in sends:
        adapter.outbox.send(effect, token)
    delivered: list[int] = []

    def all_there() -> bool:
        delivered.extend(adapter.outbox.delivered())
        return len(delivered) >= COUNT - 1

    adapter.eventually(all_there)
    adapter.settle()
    delivered += adapter.outbox.delivered()
    assert sorted(delivered) == [-1, *range(1, COUNT)]
    assert adapter.tasks == [TASK, TASK]


def test_the_same_token_is_delivered_as_often_as_it_was_sent(adapter: Adapter) -> None:
    append(adapter, numbered(8))
    for _ in range(3):
        adapter.outbox.send(TASK, 7)
    delivered: list[int] = []

    def all_there() -> bool:
        delivered.extend(adapter.outbox.delivered())
        return len(delivered) >= 3

    adapter.eventually(all_there)
    assert delivered == [7, 7, 7]


def test_replies_reach_their_client(adapter: Adapter) -> None:
    reply = Reply(ReplyTo(0, "client", 7), Accepted("0-1"))
    adapter.outbox.reply(reply)
    adapter.eventually(lambda: adapter.replies)
    assert adapter.replies == [reply]


RESULT = RunResult("order-1", "0-1", "0-1", "order", "completed", b"1", None, None, 5)
OUTPUTS: list[tuple[int, list[OutputRecord]]] = [
    (2, [Publish("records", b"k", b"1"), Publish("records", None, b"2")]),
    (5, [RESULT]),
    (6, [Publish("records", b"k", b"3"), RESULT]),
]


def test_outputs_are_published_once_though_a_new_owner_publishes_again(adapter: Adapter) -> None:
    append(adapter, numbered(10))
    assert adapter.outbox.published() == 0
    for offset, records in OUTPUTS[:2]:
        adapter.outbox.publish(offset, records)
    adapter.eventually(lambda: len(adapter.outputs()) == 3)
    for _ in range(2):
        adapter.connect()
        append(adapter, numbered(1))
        position = adapter.outbox.published()
        assert position >= 5, "everything below is published"
        for offset, records in OUTPUTS:
            if offset >= position:
                adapter.outbox.publish(offset, records)
        adapter.eventually(lambda: len(adapter.outputs()) >= 5)
    adapter.settle()
    assert adapter.outputs() == [record for _, records in OUTPUTS for record in records]


def test_what_is_published_is_told_without_waiting_and_never_too_early(adapter: Adapter) -> None:
    """A mark says it, and records below may go then: it counts once that mark is in the log."""
    append(adapter, numbered(10))
    outbox = adapter.outbox
    outbox.published()
    assert outbox.published_floor(2) == 2, "nothing below had anything to publish"
    for offset, records in OUTPUTS:
        outbox.publish(offset, records)
        floor = outbox.published_floor(offset + 1)
        assert floor <= offset + 1
        append(adapter, numbered(1))
        below = [len(records) for offset, records in OUTPUTS if offset < floor]
        assert len(adapter.outputs()) >= sum(below)
    adapter.eventually(lambda: outbox.published_floor(7) == 7)
    adapter.settle()
    assert len(adapter.outputs()) == 5
    assert outbox.published_floor(9) == 9
