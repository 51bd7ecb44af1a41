"""The Kafka adapters of the log and the inputs, on a real broker."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from processor.codec.records import Envelope, decode, decode_as, encode
from processor.core.data.address import Address, Caller
from processor.core.data.cause import Origin
from processor.core.inputs import ActivityReport, ClientCommand, TimerDue
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.stop import CancelRun
from processor.core.questions import DescribeRun
from processor.core.records.effects import DeadLetter, Message
from processor.core.records.turn import Positions
from processor.errors import LogTruncated, PayloadTooLarge, StoreCorrupt, TopicsNotReady
from processor.kafka.clients.connection import (
    COMMAND_BYTES_MAX,
    LOG_RECORD_BYTES_MAX,
    murmur2,
    partition_of,
)
from processor.kafka.shards.log import KafkaLog, LogNotWritable
from processor.kafka.shards.outbox import MessageNotSent
from processor.kafka.topics.upkeep import apply, plan, read_topics

from .harness import (
    PARTITIONS,
    Adapters,
    acknowledged,
    adapters,
    delete_below,
    id_on,
    log_of,
    recreate,
    set_config,
    start,
    taken,
    task,
    until,
)

EITHER_PRODUCER = pytest.mark.parametrize(
    "kafka", [{}, {"producer": "librdkafka"}], indirect=True, ids=["ours", "librdkafka"]
)


@pytest.fixture
def kafka(
    request: pytest.FixtureRequest,
    kafka_servers: str,
    namespace: str,
    admin: AdminClient,
    tmp_path: Path,
) -> Iterator[Adapters]:
    extra = getattr(request, "param", {})
    with adapters(kafka_servers, namespace, admin, tmp_path, extra) as made:
        yield made


# ---- partitions


def test_murmur2_is_kafkas() -> None:
    """The values are of Kafka's own test, ``UtilsTest.testMurmur2``."""
    expected = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
        b"abc": 479470107,
    }
    for key, value in expected.items():
        assert murmur2(key) == value & 0xFFFFFFFF


def test_a_producer_puts_a_workflow_where_we_expect_it(kafka: Adapters) -> None:
    producer = Producer(kafka.connection.producer())
    ids = [f"order-{n}" for n in range(200)] + ["größe", "注文", "x"]
    for workflow_id in ids:
        producer.produce(kafka.topic("commands"), b"{}", workflow_id.encode())
    assert producer.flush(10) == 0
    found = kafka.records(kafka.topic("commands"), len(ids), PARTITIONS)
    for message in found:
        workflow_id = (message.key() or b"").decode()
        assert message.partition() == partition_of(workflow_id, PARTITIONS)
    assert len({message.partition() for message in found}) == PARTITIONS


# ---- the log


def test_appends_are_acknowledged_and_read_in_order(kafka: Adapters) -> None:
    log = log_of(kafka.open())
    for number in range(500):
        log.append(b"key-%d" % number, b"value-%d" % number if number % 7 else None)
    assert acknowledged(log, 500) == list(range(500))
    until(lambda: kafka.wakes > 0, "a wake-up")
    assert log.bounds() == (0, 500)
    read = list(log.read(100, 400))
    assert [record.offset for record in read] == list(range(100, 400))
    assert read[0] == (100, b"key-100", b"value-100")
    assert read[5] == (105, b"key-105", None)
    assert list(log.read(500, 500)) == []


def test_shards_share_a_producer_and_not_their_acknowledgements(kafka: Adapters) -> None:
    first, second = log_of(kafka.open(0)), log_of(kafka.open(1))
    for number in range(50):
        first.append(b"k%d" % number, b"a")
        if number % 2:
            second.append(b"k%d" % number, b"b")
    assert acknowledged(first, 50) == list(range(50))
    assert acknowledged(second, 25) == list(range(25))


@EITHER_PRODUCER
def test_a_busy_loop_and_the_thread_take_turns_and_keep_the_order(kafka: Adapters) -> None:
    """As ``Node`` drives the ports: some passes at once, then a pause for the thread."""
    ports = kafka.open()
    log, sent = log_of(ports), 0
    offsets: list[int] = []
    for burst in range(200):
        for _ in range(burst % 4 + 1):
            kafka.ports.begin_pass()
            offsets += log.acknowledged()
            for _ in range(20):
                log.append(b"k%d" % sent, b"v")
                sent += 1
            kafka.ports.end_pass()
        kafka.ports.watch()
        time.sleep(0.001 * (burst % 3))
    offsets += acknowledged(log, sent - len(offsets))
    assert offsets == list(range(sent))


@EITHER_PRODUCER
def test_what_is_produced_outside_a_pass_is_not_held_back(kafka: Adapters) -> None:
    """Up to three times: on a busy machine, the broker itself may take longer."""
    log = log_of(kafka.open())
    for round in range(3):
        kafka.ports.begin_pass()
        kafka.ports.end_pass()
        log.append(b"k", b"v")
        assert acknowledged(log, 1) == [4 * round]
        time.sleep(0.1)  # the thread has woken the loop, and leaves the client to it
        for number in range(1, 4):
            log.append(b"k%d" % number, b"v")
        begun, end = time.monotonic(), 4 * (round + 1)
        until(partial(_ends, log, end), "all of them, though the loop sleeps")
        if time.monotonic() - begun < 0.5:
            return
        assert acknowledged(log, 3) == [end - 3, end - 2, end - 1]
    raise AssertionError("the thread does not leave them to the loop")


def _ends(log: KafkaLog, end: int) -> bool:
    return log.bounds()[1] == end


def test_how_many_partitions_a_topic_has(kafka: Adapters) -> None:
    found = [kafka.transport.partitions(kafka.topic(name)) for name in ("events", "nowhere")]
    assert found == [PARTITIONS, 0]


def test_reading_is_fast(kafka: Adapters) -> None:
    log = log_of(kafka.open())
    value = b"x" * 300
    for number in range(100_000):
        log.append(b"k%d" % number, value)
    acknowledged(log, 100_000)
    begun = time.perf_counter()
    assert sum(1 for _ in log.read(0, 100_000)) == 100_000
    rate = 100_000 / (time.perf_counter() - begun)
    print(f"read {rate:,.0f} records/s")
    assert rate > 30_000  # a slow CI machine; 200,000 and more where nothing else runs


def test_a_turn_that_cannot_fit_is_refused_before_it_is_sent(kafka: Adapters) -> None:
    log = log_of(kafka.open())
    with pytest.raises(PayloadTooLarge, match="16,777,216"):
        log.append(b"k", b"x" * LOG_RECORD_BYTES_MAX)
    log.append(b"k", b"y" * 15_000_000)
    assert acknowledged(log, 1) == [0]


@EITHER_PRODUCER
def test_the_log_stops_at_a_refused_record_and_has_no_hole(kafka: Adapters) -> None:
    """Without the gapless guarantee, the records behind the refused one would be written."""
    set_config(kafka.admin, kafka.topic("events"), "max.message.bytes", "2000")
    log = log_of(kafka.open())
    log.append(b"0", b"small")
    assert acknowledged(log, 1) == [0]
    for number in range(1, 30):
        try:
            log.append(b"%d" % number, os.urandom(10_000) if number == 10 else b"small")
        except LogNotWritable:
            break
        time.sleep(0.0005)

    def failed() -> bool:
        try:
            log.acknowledged()
        except LogNotWritable as error:
            return "processor topics apply" in str(error)
        return False

    until(failed, "the refusal")
    time.sleep(0.3)
    low, high = log.bounds()
    keys = [int(record.key) for record in log.read(low, high)]
    assert keys == list(range(len(keys))), "no hole"
    assert len(keys) <= 10
    with pytest.raises(LogNotWritable):
        log.append(b"k", b"v")
    again = log_of(kafka.open(1))
    again.append(b"k", b"v")
    assert acknowledged(again, 1) == [0]


def test_reading_what_was_deleted_is_an_error(kafka: Adapters) -> None:
    log = log_of(kafka.open())
    for number in range(10):
        log.append(b"k%d" % number, b"v")
    acknowledged(log, 10)
    set_config(kafka.admin, kafka.topic("events"), "cleanup.policy", "delete")
    delete_below(kafka.admin, kafka.topic("events"), 0, 5)
    assert log.bounds() == (5, 10)
    with pytest.raises(LogTruncated, match="5 to 10"):
        list(log.read(2, 10))
    assert [record.offset for record in log.read(5, 10)] == [5, 6, 7, 8, 9]


# ---- the inbox


def test_inputs_arrive_decoded_and_in_order(kafka: Adapters) -> None:
    workflow_id = id_on(0)
    ports = kafka.open()
    ports.inbox.open(Positions())
    report = ActivityReport(workflow_id, "0-0", 1, 1, "completed", b"1")
    due = TimerDue(workflow_id, "0-0", "timer", 1, 0, 5)
    key = workflow_id.encode()
    for _ in range(3):
        kafka.produce("commands", 0, key, encode(start(workflow_id)))
    kafka.produce("commands", 0, key, b'{"type": "event", "name": "paid"}')
    kafka.produce("activity-results", 0, key, encode(report))
    kafka.produce("timers", 0, key, encode(due))
    records = taken(ports, 6)
    by_source = {
        source: [(r.offset, r.input) for r in records if r.source == source]
        for source in ("commands", "results", "timers")
    }
    assert [offset for offset, _ in by_source["commands"]] == [0, 1, 2, 3]
    assert by_source["commands"][0][1] == start(workflow_id)
    assert by_source["commands"][3][1] == ClientCommand(workflow_id, RaiseEvent("paid"))
    assert by_source["results"] == [(0, report)]
    assert by_source["timers"] == [(0, due)]
    assert kafka.ports.next_command(0) == 4


def test_what_cannot_be_used_becomes_a_dead_letter_in_its_place(kafka: Adapters) -> None:
    here, elsewhere = id_on(0), id_on(1)
    ports = kafka.open()
    ports.inbox.open(Positions())
    describe = ClientCommand(elsewhere, DescribeRun())
    bad: list[tuple[bytes | None, bytes | None, str]] = [
        (b"k", b"\x00garbage", "not a command"),
        (b"k", None, "no value"),
        (here.encode(), encode(TimerDue(here, "0-0", "timer", 1, 0, 5)), "expected a ClientComm"),
        (b"other", encode(start(here)), "the key must be the workflow id"),
        (None, encode(start(here)), "the key must be the workflow id"),
        (elsewhere.encode(), encode(start(elsewhere)), "partitioner=murmur2_random"),
    ]
    for key, value, _ in bad:
        kafka.produce("commands", 0, key, value)
    kafka.produce("commands", 0, elsewhere.encode(), encode(describe))
    kafka.produce("commands", 0, here.encode(), encode(start(here)))
    caller = Caller(Address("billing", "p"), "run-p", 3)
    called = replace(start(elsewhere), cause=Origin(bytes(16), 0, 5, 0), caller=caller)
    kafka.produce("commands", 0, elsewhere.encode(), encode(called))
    *records, lost = taken(ports, len(bad) + 3)
    assert lost.envelope == Envelope(elsewhere, called.cause, False, None, caller)
    assert lost.error == "CommandRejected" and isinstance(lost.input, DeadLetter)
    assert [record.offset for record in records] == list(range(len(bad) + 2))
    for record, (key, value, why) in zip(records, bad, strict=False):
        letter = record.input
        assert isinstance(letter, DeadLetter)
        assert (letter.topic, letter.partition, letter.key, letter.value) == (
            "commands",
            0,
            key,
            value,
        )
        assert why in letter.reason
    assert records[-2].input == describe
    assert records[-1].input == start(here)


def test_a_full_inbox_pauses_and_goes_on(kafka: Adapters) -> None:
    workflow_id = id_on(0)
    producer = Producer(kafka.connection.producer())
    for _ in range(20_000):
        producer.produce(
            kafka.topic("commands"), encode(start(workflow_id)), workflow_id.encode(), 0
        )
    assert producer.flush(20) == 0
    ports = kafka.open()
    ports.inbox.open(Positions())
    stream = ports.inbox._stream  # type: ignore[attr-defined]
    until(lambda: bool(stream.paused), "the pause")
    time.sleep(0.5)
    assert len(stream.records) < 5_000
    records = taken(ports, 20_000)
    assert [record.offset for record in records] == list(range(20_000))


def test_an_inbox_begins_where_it_is_told_and_ends_when_closed(kafka: Adapters) -> None:
    workflow_id = id_on(0)
    for _ in range(10):
        kafka.produce("commands", 0, workflow_id.encode(), encode(start(workflow_id)))
    ports = kafka.open()
    ports.inbox.open(Positions(7, 0, 0))
    assert [record.offset for record in taken(ports, 3)] == [7, 8, 9]
    ports.inbox.close()
    ports.tables.close()
    other = kafka.open(1)
    other.inbox.open(Positions())
    again = kafka.open()
    again.inbox.open(Positions(9, 0, 0))
    assert [record.offset for record in taken(again, 1)] == [9]


def test_inputs_that_were_lost_stop_the_shard(kafka: Adapters) -> None:
    workflow_id = id_on(0)
    for _ in range(10):
        kafka.produce("commands", 0, workflow_id.encode(), encode(start(workflow_id)))
    delete_below(kafka.admin, kafka.topic("commands"), 0, 6)
    ports = kafka.open()
    with pytest.raises(LogTruncated, match=r"commands\[0\].*offset 2.* 6 to 10.*2 to 5"):
        ports.inbox.open(Positions(2, 0, 0))
    with pytest.raises(LogTruncated, match=r"timers\[0\].*made again"):
        ports.inbox.open(Positions(6, 0, 3))
    ports.inbox.open(Positions(6, 0, 0))
    assert [record.offset for record in taken(ports, 4)] == [6, 7, 8, 9]


# ---- the outbox


@EITHER_PRODUCER
def test_effects_go_to_their_topics_and_their_tokens_come_back(kafka: Adapters) -> None:
    ports = kafka.open(2)
    target = id_on(3)
    due = TimerDue("w", "0-0", "timer", 1, 0, 5)
    letter = DeadLetter("commands", 2, 7, b"k", b"v", "why")
    ports.outbox.send(task(), 10)
    ports.outbox.send(task(id=2), 10)
    origins = [Origin(ports.log.id, 2, offset, 0) for offset in (11, 12)]
    ports.outbox.send(Message(target, RaiseEvent("paid", b"1")), 11, origins[0])
    ports.outbox.send(Message(target, CancelRun("too late")), 12, origins[1])
    ports.outbox.send(due, None)
    ports.outbox.send(letter, -1)
    tokens: list[int] = []

    def all_there() -> bool:
        tokens.extend(ports.outbox.delivered())
        return len(tokens) == 5

    until(all_there, "tokens")
    assert sorted(tokens) == [-1, 10, 10, 11, 12]
    tasks = kafka.records(kafka.topic("activities.default"), 2, PARTITIONS)
    assert {message.key() for message in tasks} == {b"0-0/1", b"0-0/2"}
    assert {decode(message.value() or b"") for message in tasks} == {task(), task(id=2)}
    commands = kafka.records(kafka.topic("commands"), 2, PARTITIONS)
    assert {message.partition() for message in commands} == {3}
    assert [decode(message.value() or b"") for message in commands] == [
        ClientCommand(target, RaiseEvent("paid", b"1"), origins[0]),
        ClientCommand(target, CancelRun("too late"), origins[1]),
    ]
    (timer,) = kafka.records(kafka.topic("timers"), 1, PARTITIONS)
    assert (timer.partition(), timer.key(), decode(timer.value() or b"")) == (2, b"w", due)
    (buried,) = kafka.records(kafka.topic("dead-letters"), 1)
    assert decode(buried.value() or b"") == letter


@EITHER_PRODUCER
def test_no_message_overtakes_one_that_was_refused(kafka: Adapters) -> None:
    """It would be dropped when it is sent again, as one that is older than the last."""
    set_config(kafka.admin, kafka.topic("commands"), "max.message.bytes", "2000")
    ports, target = kafka.open(2), id_on(3)

    def send(number: int) -> None:
        payload = os.urandom(10_000) if number == 2 else b"1"
        message = Message(target, RaiseEvent(f"m{number}", payload))
        ports.outbox.send(message, number, Origin(ports.log.id, 2, number, 0))

    for number in range(2):  # each alone: a batch is refused as a whole
        send(number)
        until(lambda number=number: list(ports.outbox.delivered()) == [number], "the message")
    for number in range(2, 5):
        send(number)
        time.sleep(0.05)

    def refused() -> bool:
        try:
            ports.outbox.delivered()
        except MessageNotSent as error:
            return "sends it first" in str(error)
        return False

    until(refused, "the refusal")
    time.sleep(0.3)
    found = kafka.records(kafka.topic("commands"), 2, PARTITIONS)
    bodies = [decode_as(ClientCommand, message.value() or b"").body for message in found]
    assert bodies == [RaiseEvent("m0", b"1"), RaiseEvent("m1", b"1")]
    again = kafka.open(1)
    message = Message(target, RaiseEvent("m2", b"1"))
    again.outbox.send(message, 2, Origin(again.log.id, 2, 2, 0))
    until(lambda: list(again.outbox.delivered()) == [2], "the next owner's message")


def test_a_dead_letter_of_any_size_fits(kafka: Adapters) -> None:
    ports = kafka.open()
    value = os.urandom(2_097_000)
    ports.outbox.send(DeadLetter("commands", 0, 1, b"k", value, "poison"), -1)
    until(lambda: list(ports.outbox.delivered()) == [-1], "the letter")
    (message,) = kafka.records(kafka.topic("dead-letters"), 1)
    letter = decode_as(DeadLetter, message.value() or b"")
    assert letter.value == value[:COMMAND_BYTES_MAX]
    assert letter.reason == "poison (the first 2,000,000 of 2,097,000 bytes are here)"


def test_a_task_that_its_topic_refuses_is_buried_and_counts_as_delivered(kafka: Adapters) -> None:
    ports = kafka.open()
    ports.outbox.send(task(value=os.urandom(2_200_000)), 4)
    ports.outbox.send(task("no such name"), 5)
    tokens: list[int] = []

    def both_there() -> bool:
        tokens.extend(ports.outbox.delivered())
        return len(tokens) == 2

    until(both_there, "tokens")
    letters = kafka.records(kafka.topic("dead-letters"), 2)
    reasons = sorted(decode_as(DeadLetter, m.value() or b"").reason for m in letters)
    assert "no such name" in reasons[0]
    assert "too large" in reasons[1]


@pytest.mark.timeout(90)
def test_a_queue_without_a_topic_is_named_and_waited_for(
    kafka: Adapters, caplog: pytest.LogCaptureFixture
) -> None:
    ports = kafka.open()
    ports.outbox.send(task("gpu"), 1)
    ports.outbox.send(task(), 2)
    until(lambda: list(ports.outbox.delivered()) == [2], "the other queue's task")
    until(lambda: "--queue gpu" in caplog.text, "the hint", 45)
    assert "activity queue 'gpu' has no topic" in caplog.text
    apply(kafka.admin, plan(kafka.admin, kafka.connection.namespace, PARTITIONS, 1, ["gpu"]))
    until(lambda: list(ports.outbox.delivered()) == [1], "the task", 40)


# ---- ports


def test_a_store_of_another_log_is_told_from_a_corrupt_one(kafka: Adapters, tmp_path: Path) -> None:
    kafka.open(0).tables.close()
    kafka.open(1).tables.close()
    folder = tmp_path / "me" / kafka.connection.namespace
    (folder / "0").rename(folder / "swapped")
    (folder / "1").rename(folder / "0")
    with pytest.raises(StoreCorrupt, match="/1@"):
        kafka.open(0)
    kafka.ports.wipe(0)
    kafka.open(0).tables.close()
    recreate(kafka.admin, kafka.topic("events"), PARTITIONS)
    with pytest.raises(LogTruncated, match="deleted and made again"):
        kafka.open(0)
    for future in kafka.admin.delete_topics([kafka.topic("events")]).values():
        future.result()
    until(lambda: not read_topics(kafka.admin, [kafka.topic("events")]), "the deletion")
    with pytest.raises(TopicsNotReady, match="processor topics apply"):
        kafka.open(0)
