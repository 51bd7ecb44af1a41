"""The producer against brokers that lose answers, move partitions, refuse, and fall silent."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError

from processor.kafka.clients.log import client_log
from processor.kafka.wire import machine, records
from processor.kafka.wire.producer import WireProducer
from processor.kafka.wire.security import Security
from tests.wire.scripted import NOT_LEADER, SHORT_S, Cluster, Fault, Place
from tests.wire.sent import TOPICS, Sent

FAULTS: list[Fault] = ["answer lost", "request lost", "not replicated", "garbage", 19, NOT_LEADER]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(TOPICS) as running:
        yield running


def values(count: int, partition: int = 0) -> list[bytes]:
    return [b"%d/%d" % (partition, number) for number in range(count)]


def test_each_record_is_called_back_with_its_offset(cluster: Cluster, sent: Sent) -> None:
    sent.send(3, *values(5))
    sent.wait()
    assert sent.outcomes == {value: offset for offset, value in enumerate(values(5))}
    assert [value for _, value in cluster.records("events", 3)] == values(5)


def test_what_is_produced_while_a_request_is_out_travels_in_one(
    cluster: Cluster, sent: Sent
) -> None:
    sent.send(0, b"warm")
    sent.send(0, b"warm too", topic="commands")
    sent.wait()
    cluster.requests.clear()
    cluster.delay_s = 0.2
    sent.send(0, b"first")
    for partition in range(8):
        sent.send(partition, *values(3, partition))
    sent.send(1, b"a command", topic="commands")
    sent.wait()
    everywhere = [("events", partition) for partition in range(8)]
    assert [sorted(each) for each in cluster.requests] == [
        [("events", 0)],
        [("commands", 1), *everywhere],
    ]


@pytest.mark.parametrize("seed", range(40))
def test_whatever_breaks_each_record_is_written_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(records, "_RETRY_S", 0.005)
    monkeypatch.setattr(client_log, "disabled", True)
    chance = random.Random(seed)

    with Cluster(TOPICS, nodes=2) as cluster:

        def misbehave(place: Place) -> Fault:
            if chance.random() < 0.1:
                cluster.leaders[place] = chance.randrange(2)
            return chance.choice(FAULTS) if chance.random() < 0.15 else 0

        cluster.misbehave = misbehave
        producer = WireProducer(cluster.servers, Security(), "a test")
        sent = Sent(producer)
        for number in range(60):
            for partition in range(4):
                sent.send(partition, b"%d/%d" % (partition, number))
            producer.poll(chance.choice((0, 0, 0.002)))
            if chance.random() < 0.05:
                cluster.hang_up()
        sent.wait()
        producer.close()
        for partition in range(4):
            expected = values(60, partition)
            written = [value for _, value in cluster.records("events", partition)]
            assert written == expected
            assert [sent.outcomes[value] for value in expected] == list(range(60))


@pytest.mark.parametrize("seed", range(20))
def test_a_gapless_producer_writes_nothing_behind_what_was_refused(seed: int) -> None:
    chance = random.Random(seed)
    refusing: set[Place] = set()

    def misbehave(place: Place) -> Fault:
        if not refusing and chance.random() < 0.05:
            refusing.add(place)
        return KafkaError.RECORD_LIST_TOO_LARGE if place in refusing else 0

    with Cluster(TOPICS) as cluster:
        producer = WireProducer(cluster.servers, Security(), "a test", gapless=True)
        sent = Sent(producer)
        sent.send(0, b"0/0")
        sent.wait()
        cluster.misbehave = misbehave
        for number in range(1, 200):
            for partition in range(2):
                sent.send(partition, b"%d/%d" % (partition, number))
            producer.poll(chance.choice((0, 0.001, 0.003)))
        sent.wait()
        producer.close()
        [refused] = refusing
        for partition in range(2):
            written = [value for _, value in cluster.records("events", partition)]
            assert written == values(200, partition)[partition > 0 :][: len(written)]
            assert all(sent.outcomes[value] == n for n, value in enumerate(written))
        assert len(cluster.records(*refused)) < 199


def test_a_refusal_is_told_and_what_comes_later_is_written(cluster: Cluster, sent: Sent) -> None:
    refusals = [KafkaError.TOPIC_AUTHORIZATION_FAILED]
    cluster.misbehave = lambda _: refusals.pop() if refusals else 0
    sent.send(0, b"refused")
    sent.wait()
    sent.send(0, b"taken")
    sent.wait()
    error = sent.outcomes[b"refused"]
    assert isinstance(error, KafkaError)
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED and error.str() == "because"
    assert not error.fatal()
    assert cluster.records("events", 0) == [(b"key", b"taken")]


@pytest.mark.parametrize("gapless", [False, True])
def test_a_record_that_is_too_large_does_not_take_its_neighbours_along(
    cluster: Cluster, gapless: bool
) -> None:
    """All of them travel in one batch; behind it, a gapless producer sends nothing."""
    producer = WireProducer(cluster.servers, Security(), "a test", gapless=gapless)
    sent = Sent(producer)
    cluster.batch_max = 400
    large = random.Random(1).randbytes(500)
    before, after = values(5), values(5, 1)
    sent.send(0, *before, large, *after)
    sent.wait()
    producer.close()
    assert sent.code(large) == KafkaError.MSG_SIZE_TOO_LARGE
    written = before if gapless else before + after
    assert [value for _, value in cluster.records("events", 0)] == written
    assert [sent.outcomes[value] for value in written] == list(range(len(written)))
    assert not gapless or {sent.code(value) for value in after} == {KafkaError._PURGE_QUEUE}


@pytest.mark.parametrize(
    "code", [KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, KafkaError.UNKNOWN_PRODUCER_ID]
)
def test_a_broker_that_does_not_know_the_producer_ends_it(
    cluster: Cluster, sent: Sent, code: int
) -> None:
    cluster.misbehave = lambda _: code
    sent.send(0, b"lost")
    sent.wait()
    error = sent.outcomes[b"lost"]
    assert isinstance(error, KafkaError) and error.fatal()


def test_what_is_given_up_is_never_sent(cluster: Cluster, sent: Sent) -> None:
    """Neither what waits, nor what a broker did not take for now."""
    sent.send(0, b"warm")
    sent.send(1, b"warm too")
    sent.wait()
    cluster.delay_s = 0.2
    cluster.misbehave = lambda place: 19 if place == ("events", 0) else 0
    sent.produce("events", 0, b"key", b"refused")
    sent.send(1, b"out")
    sent.send(2, b"waiting")
    sent.send(-1, b"of no place yet", topic="commands")
    sent.producer.purge(in_flight=False)
    sent.wait()
    cluster.misbehave = lambda _: 0
    cluster.delay_s = 0
    sent.send(0)
    time.sleep(0.3)
    sent.producer.poll(0)
    assert cluster.records("events", 0) == [(b"key", b"warm")]
    assert cluster.records("events", 2) == []
    assert sent.outcomes[b"out"] == 1
    assert sent.code(b"refused") == KafkaError.NOT_ENOUGH_REPLICAS
    assert sent.code(b"waiting") == KafkaError._PURGE_QUEUE
    assert sent.code(b"of no place yet") == KafkaError._PURGE_QUEUE


def test_what_is_out_can_be_given_up_as_well(cluster: Cluster, sent: Sent) -> None:
    cluster.answering = False
    sent.send(0, b"out")
    sent.until(lambda: sent.producer._records.places["events", 0].out or sent.producer._looking)
    sent.producer.purge(in_flight=True)
    sent.wait()
    assert sent.code(b"out") in (KafkaError._PURGE_INFLIGHT, KafkaError._PURGE_QUEUE)


def test_a_broker_that_falls_silent_is_asked_again_over_another_connection(
    cluster: Cluster, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processor.kafka.wire.producer.ANSWER_S", 0.3)
    sent.send(0, b"warm")
    sent.wait()
    cluster.answering = False
    begun = time.monotonic()
    sent.send(0, b"unanswered")
    sent.until(lambda: len(cluster.records("events", 0)) == 2)
    time.sleep(0.1)
    cluster.answering = True
    sent.wait()
    assert time.monotonic() - begun < SHORT_S / 2, "it is we who hang up"
    assert sent.outcomes[b"unanswered"] == 1
    assert len(cluster.records("events", 0)) == 2, "written once, answered later"


def test_a_connection_that_was_closed_while_idle_is_made_again(
    cluster: Cluster, sent: Sent
) -> None:
    sent.send(0, b"one")
    sent.wait()
    cluster.hang_up()
    sent.producer.poll(0.1)
    sent.send(0, b"two")
    sent.wait()
    assert sent.outcomes == {b"one": 0, b"two": 1}


def test_answers_arrive_in_pieces(cluster: Cluster, sent: Sent) -> None:
    cluster.chunk = 3
    sent.send(0, *values(3))
    sent.send(1, b"other")
    sent.wait()
    assert sent.outcomes == {**{v: n for n, v in enumerate(values(3))}, b"other": 0}


def test_a_large_request_is_sent_as_the_connection_takes_it(cluster: Cluster, sent: Sent) -> None:
    large = [random.Random(partition).randbytes(2_000_000) for partition in range(8)]
    for partition, value in enumerate(large):
        sent.produce("events", partition, None, value)
    sent.wait()
    for partition, value in enumerate(large):
        assert cluster.records("events", partition) == [(None, value)]


def test_a_topic_that_no_broker_knows_is_waited_for_a_while(
    cluster: Cluster, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_MISSING_S", 60.0)
    sent.send(0, b"early", topic="new")
    sent.send(0, b"never", topic="nowhere")
    sent.send(-1, b"nor there", topic="nowhere")
    time.sleep(0.2)
    cluster.topics["new"] = 1
    sent.until(lambda: b"early" in sent.outcomes)
    monkeypatch.setattr(machine, "_MISSING_S", 0.5)
    sent.wait()
    assert sent.outcomes[b"early"] == 0
    assert sent.code(b"never") == sent.code(b"nor there") == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_partition_that_does_not_exist_is_told(
    sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_MISSING_S", 0.2)
    sent.send(99, b"beyond")
    sent.wait()
    assert sent.code(b"beyond") == KafkaError._UNKNOWN_PARTITION


def test_partitions_that_do_not_exist_are_forgotten(
    cluster: Cluster, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_MISSING_S", 0.2)
    sent.send(0, b"there")
    for round in range(3):
        for partition in range(1_000):
            sent.send(1_000 * (round + 1) + partition, b"%d/%d" % (round, partition))
        sent.wait()
    assert len(sent.producer._records.places) == 1
    sent.send(0, b"there as well")
    sent.wait()
    assert [value for _, value in cluster.records("events", 0)] == [b"there", b"there as well"]


def test_a_key_says_where_its_records_go_as_javas_partitioner_does(
    cluster: Cluster, sent: Sent
) -> None:
    """``murmur2("key") & 0x7fffffff`` is 1 of 3."""
    sent.send(-1, b"one", b"two", topic="commands")
    sent.wait()
    [place] = cluster.logs
    assert [value for _, value in cluster.records(*place)] == [b"one", b"two"]


def test_brokers_that_nobody_reaches_are_tried_until_one_is_there(caplog: Any) -> None:
    with Cluster(TOPICS) as cluster:
        producer = WireProducer(f"127.0.0.1:1,{cluster.servers}", Security(), "a test")
        sent = Sent(producer)
        sent.send(0, b"there")
        sent.wait()
        producer.close()
    nobody = WireProducer("127.0.0.1:1", Security(), "nobody")
    sent = Sent(nobody)
    sent.send(0, b"waits")
    sent.producer.poll(0.3)
    assert len(nobody) == 1 and "nobody: no broker serves us yet: " in caplog.text
    nobody.close()


def test_an_answer_to_another_request_is_not_believed(cluster: Cluster, sent: Sent) -> None:
    sent.send(0, b"first")
    sent.wait()
    before = cluster.connections
    cluster.misnumbered = 1
    sent.send(0, b"second")
    sent.wait()
    assert cluster.connections > before, "the connection is given up"
    assert sent.outcomes == {b"first": 0, b"second": 1}


def test_a_hang_up_while_nothing_is_out_is_heard(cluster: Cluster, sent: Sent) -> None:
    """Else the next record is written into a connection that is closed, and `poll` never rests."""
    sent.send(0, b"first")
    sent.wait()
    cluster.hang_up()
    deadline = time.monotonic() + 20
    while any(broker.up for broker in sent.producer._machine.brokers.values()):
        assert time.monotonic() < deadline, "the connection is known to be closed"
        sent.producer.poll(0.1)


def test_a_topic_that_a_broker_leaves_out_is_asked_for_with_patience(
    cluster: Cluster, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_MISSING_S", 1.5)
    sent.send(0, b"warm")
    sent.wait()
    cluster.left_out = {"unnamed"}
    before = cluster.connections
    sent.send(-1, b"lost", topic="unnamed")
    sent.wait()
    assert isinstance(sent.outcomes[b"lost"], KafkaError)
    assert cluster.connections - before < 30


@pytest.mark.parametrize("host", [b"a..b", b"x" * 64, b"\0"])
def test_a_host_that_can_be_none_is_a_broker_that_does_not_answer(
    cluster: Cluster, sent: Sent, host: bytes, caplog: Any
) -> None:
    cluster.host = host
    sent.send(0, b"first")
    for _ in range(10):
        sent.producer.poll(0.05)
    assert "a bug" not in caplog.text and "died" not in caplog.text
    cluster.host = b"127.0.0.1"
    sent.wait()
    assert sent.outcomes == {b"first": 0}


def test_a_producer_id_that_is_none_is_not_taken(cluster: Cluster) -> None:
    cluster.producer_id = -1
    sent = Sent(WireProducer(cluster.servers, Security(), "a test"))
    sent.send(0, b"first")
    for _ in range(5):
        sent.producer.poll(0.05)
    assert not cluster.records("events", 0)
    cluster.producer_id = None
    sent.wait()
    assert sent.outcomes == {b"first": 0}
    sent.producer.close()
