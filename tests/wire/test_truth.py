"""What the producer reports as delivered is in the log, and what it cannot do it says."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from processor.kafka.clients.log import client_log
from processor.kafka.wire import machine, records
from processor.kafka.wire import producer as shell
from processor.kafka.wire.producer import WireProducer
from processor.kafka.wire.security import Security
from tests.wire.scripted import (
    DUPLICATE,
    NOT_LEADER,
    OUT_OF_ORDER,
    SEQUENCES,
    Cluster,
    Fault,
    Place,
)
from tests.wire.sent import TOPICS, Sent

REFUSED = KafkaError.TOPIC_AUTHORIZATION_FAILED


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(TOPICS, nodes=2) as running:
        yield running


def in_turn(*faults: Fault) -> Callable[[Place], Fault]:
    """Misbehave so, one after the other, and then no more."""
    left = list(faults)
    return lambda _: left.pop(0) if left else 0


def values(cluster: Cluster, partition: int = 0) -> list[bytes | None]:
    return [value for _, value in cluster.records("events", partition)]


def told_the_truth(cluster: Cluster, sent: Sent, partition: int = 0) -> None:
    """Each record that was reported as delivered is in the log, where it was reported to be."""
    written = values(cluster, partition)
    for value, outcome in sent.outcomes.items():
        if isinstance(outcome, int):
            assert value in written if outcome < 0 else written[outcome] == value


@pytest.mark.parametrize("lost", ["answer lost", "not replicated", "request lost"])
def test_a_batch_of_unknown_outcome_that_is_refused_leaves_no_number_to_be_used_again(
    cluster: Cluster, sent: Sent, lost: Fault
) -> None:
    sent.send(0, b"warm")
    sent.wait()
    cluster.misbehave = in_turn(lost, REFUSED)
    sent.send(0, b"unknown")
    sent.wait()
    assert sent.code(b"unknown") == REFUSED
    sent.send(0, b"next")
    sent.wait()
    told_the_truth(cluster, sent)
    assert values(cluster)[-1] == b"next"


def test_a_batch_that_is_given_up_with_its_topic_leaves_no_number_to_be_used_again(
    cluster: Cluster, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_MISSING_S", 0.2)
    sent.send(0, b"warm")
    sent.wait()
    cluster.misbehave = in_turn("answer lost", *(3 for _ in range(1_000)))
    sent.send(0, b"unknown")
    sent.until(lambda: len(values(cluster)) == 2)
    cluster.topics["events"] = 0
    sent.wait()
    assert sent.code(b"unknown") == KafkaError.UNKNOWN_TOPIC_OR_PART
    cluster.topics["events"] = 8
    cluster.misbehave = lambda _: 0
    sent.send(0, b"next")
    sent.wait()
    told_the_truth(cluster, sent)
    assert values(cluster)[-1] == b"next"


def test_a_batch_of_unknown_outcome_that_is_too_large_now_is_split_under_a_new_epoch(
    cluster: Cluster, sent: Sent
) -> None:
    sent.send(0, b"warm")
    sent.wait()
    cluster.misbehave = in_turn("answer lost", KafkaError.MSG_SIZE_TOO_LARGE)
    for value in (b"one", b"two"):
        sent.produce("events", 0, b"key", value)
    sent.producer.send()
    sent.wait()
    told_the_truth(cluster, sent)
    assert sent.outcomes[b"one"] != sent.outcomes[b"two"]


def test_a_gapless_producer_does_not_split_what_may_be_written(cluster: Cluster) -> None:
    """The log would have the records twice."""
    producer = WireProducer(cluster.servers, Security(), "a test", gapless=True)
    sent = Sent(producer)
    sent.send(0, b"warm")
    sent.wait()
    cluster.misbehave = in_turn("answer lost", KafkaError.MSG_SIZE_TOO_LARGE)
    for value in (b"one", b"two"):
        sent.produce("events", 0, b"key", value)
    sent.producer.send()
    sent.wait()
    producer.close()
    assert sent.code(b"one") == sent.code(b"two") == KafkaError.MSG_SIZE_TOO_LARGE
    assert values(cluster) == [b"warm", b"one", b"two"]


@pytest.mark.parametrize("seed", range(40))
def test_whatever_breaks_and_is_refused_no_record_is_reported_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(records, "_RETRY_S", 0.005)
    monkeypatch.setattr(records, "_RETRY_MAX_S", 0.02)
    monkeypatch.setattr(client_log, "disabled", True)
    chance = random.Random(seed)
    faults: list[Fault] = ["answer lost", "request lost", "not replicated", 19, REFUSED, REFUSED]
    with Cluster(TOPICS) as cluster:
        cluster.misbehave = lambda _: chance.choice(faults) if chance.random() < 0.3 else 0
        producer = WireProducer(cluster.servers, Security(), "a test")
        sent = Sent(producer)
        for number in range(40):
            for partition in range(2):
                sent.send(partition, b"%d/%d" % (partition, number))
            producer.poll(chance.choice((0, 0.002, 0.005)))
        sent.wait()
        producer.close()
        assert len(sent.outcomes) == 80
        for value, outcome in sent.outcomes.items():
            if isinstance(outcome, int):
                assert values(cluster, int(value[:1]))[outcome] == value


def test_numbers_begin_again_after_the_last_one(cluster: Cluster, sent: Sent) -> None:
    """A batch ends at 2^31 - 1, and one goes over it; nothing is lost or taken for another."""
    sent.send(0, b"warm")
    sent.wait()
    sent.producer._records.places["events", 0].sequence = SEQUENCES - 3
    [known] = cluster.logs["events", 0].producers.values()
    known.last = SEQUENCES - 4, 1, 0
    records = [b"%d" % number for number in range(9)]
    for number in range(0, 9, 2):
        for value in records[number : number + 2]:
            sent.produce("events", 0, b"key", value)
        sent.producer.send()
        sent.wait()
    assert values(cluster) == [b"warm", *records]
    assert [sent.outcomes[value] for value in records] == list(range(1, 10))


def test_a_broker_that_knows_only_that_it_has_a_batch_is_believed(
    cluster: Cluster, sent: Sent
) -> None:
    sent.send(0, b"warm")
    sent.wait()
    cluster.logs["events", 0].knows = False
    cluster.misbehave = in_turn("answer lost")
    sent.send(0, b"twice")
    sent.wait()
    assert sent.outcomes[b"twice"] == -1, f"written, as error {DUPLICATE} says, nobody knows where"
    sent.send(0, b"next")
    sent.wait()
    assert values(cluster) == [b"warm", b"twice", b"next"]
    assert sent.outcomes[b"next"] == 2


def test_what_rests_at_a_purge_is_told_and_never_sent(cluster: Cluster, sent: Sent) -> None:
    """Refused for now, it waits to be sent again."""
    sent.send(0, b"warm")
    sent.wait()
    cluster.misbehave = lambda _: KafkaError.NOT_ENOUGH_REPLICAS
    sent.send(0, b"resting")
    place = sent.producer._records.places["events", 0]
    sent.until(lambda: place.resting)
    sent.producer.purge(in_flight=False)
    sent.wait()
    assert sent.code(b"resting") in (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
    cluster.misbehave = lambda _: 0
    asked = len(cluster.requests)
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        sent.producer.poll(0.05)
    assert values(cluster) == [b"warm"]
    assert len(cluster.requests) == asked


# --- brokers that are gone, or wrong ----------------------------------------------------------


@pytest.mark.parametrize("kind", ["dead", "stale"])
def test_a_leader_that_is_gone_is_asked_for_with_patience(
    cluster: Cluster, sent: Sent, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it was thousands of connections and threads in some seconds."""
    threads: list[str] = []
    begin = threading.Thread.start

    def counted(thread: threading.Thread) -> None:
        threads.append(thread.name)
        begin(thread)

    for partition in range(8):
        cluster.leaders["events", partition] = 1
        sent.send(partition, b"warm %d" % partition)
    sent.wait()
    before, asked = cluster.connections, len(cluster.requests)
    monkeypatch.setattr(threading.Thread, "start", counted)
    if kind == "dead":
        cluster.kill(1)
    else:
        cluster.misbehave = lambda _: NOT_LEADER
    for partition in range(8):
        sent.send(partition, b"late %d" % partition)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        sent.producer.poll(0.05)
    assert cluster.connections - before < 40
    assert len(cluster.requests) - asked < 40
    assert len([name for name in threads if "kafka" in name]) < 40
    cluster.misbehave = lambda _: 0
    cluster.leaders.clear()
    begun = time.monotonic()
    sent.wait()
    assert time.monotonic() - begun < 8
    assert all(values(cluster, partition)[-1] == b"late %d" % partition for partition in range(8))


def test_what_is_refused_for_now_is_sent_again_with_patience(cluster: Cluster, sent: Sent) -> None:
    sent.send(0, b"warm")
    sent.wait()
    asked = len(cluster.requests)
    cluster.misbehave = lambda _: KafkaError.NOT_ENOUGH_REPLICAS
    sent.send(0, b"late")
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        sent.producer.poll(0.01)
    assert len(cluster.requests) - asked <= 9
    sent.until(lambda: len(cluster.requests) - asked >= 3)
    cluster.misbehave = lambda _: 0
    sent.wait()
    assert values(cluster) == [b"warm", b"late"]


def test_a_broker_that_is_gone_is_called_with_patience_whatever_is_learnt_meanwhile() -> None:
    """Each new topic is looked for at once, and all of them are led by the one that is gone."""
    topics = [f"topic-{number}" for number in range(30)]
    with Cluster(dict.fromkeys(topics, 1), nodes=2) as cluster:
        cluster.leaders = {(topic, 0): 1 for topic in topics}
        cluster.dead.add(1)
        producer = WireProducer(cluster.servers, Security(), "a test")
        sent = Sent(producer)
        for topic in topics:
            sent.send(0, topic.encode(), topic=topic)
            until = time.monotonic() + 0.05
            while time.monotonic() < until:
                producer.poll(0.01)
        producer.close()
        assert 1 <= cluster.refused <= 10


def test_brokers_that_are_gone_are_forgotten(cluster: Cluster, sent: Sent) -> None:
    cluster.leaders["events", 1] = 1
    sent.send(1, b"one")
    sent.wait()
    assert len(sent.producer._machine.brokers) == 2
    cluster.kill(1)
    cluster.unnamed.add(1)
    cluster.leaders.clear()
    sent.send(1, b"two")
    sent.wait()
    sent.send(0, b"new place", topic="commands")
    sent.wait()
    assert [node for node, _ in sent.producer._machine.brokers.items()] == [0]


def test_partitions_that_nobody_knows_are_forgotten(
    sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger names any number of them to reply to."""
    monkeypatch.setattr(machine, "_MISSING_S", 0.2)
    sent.send(0, b"known")
    for partition in range(100, 300):
        sent.send(partition, b"%d" % partition)
    sent.wait()
    assert sent.code(b"100") == KafkaError._UNKNOWN_PARTITION
    assert list(sent.producer._records.places) == [("events", 0)]


# --- what ends a producer ----------------------------------------------------------------------


def test_a_broker_that_lost_what_it_had_ends_the_producer_for_all(
    cluster: Cluster, sent: Sent
) -> None:
    """Nothing more is sent under its name: who uses it is told at once, and makes another."""
    sent.send(1, b"warm")
    sent.wait()
    cluster.misbehave = in_turn(OUT_OF_ORDER)
    sent.send(0, b"lost")
    sent.until(lambda: b"lost" in sent.outcomes)
    with pytest.raises(KafkaException) as caught:
        sent.send(1, b"later")
    assert caught.value.args[0].fatal()


def test_an_epoch_has_an_end(cluster: Cluster, sent: Sent) -> None:
    sent.send(0, b"warm")
    sent.wait()
    sent.producer._records.places["events", 0].epoch = 32_767
    [known] = cluster.logs["events", 0].producers.values()
    known.epoch, known.last = 32_767, (0, 1, 0)
    cluster.misbehave = in_turn("answer lost", REFUSED)
    sent.send(0, b"unknown")
    sent.until(lambda: b"unknown" in sent.outcomes)
    with pytest.raises(KafkaException, match="epoch"):
        sent.send(0, b"next")


def ended(sent: Sent) -> KafkaError:
    """Return why the producer ended, as it tells whoever polls, once."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            sent.producer.poll(0.05)
        except KafkaException as error:
            cause = error.args[0]
            assert isinstance(cause, KafkaError) and cause.fatal()
            return cause
    raise AssertionError("it goes on")


@pytest.mark.parametrize("task", ["ask", "Link"])
def test_a_thread_that_dies_ends_the_producer_loudly(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: Any, task: str
) -> None:
    produced = threading.Event()

    def broken(*_: object, **__: object) -> Any:
        assert produced.wait(10), "the record is there before the thread dies"
        raise ValueError("a bug")

    monkeypatch.setattr(shell, task, broken)
    producer = WireProducer(cluster.servers, Security(), "a test")
    sent = Sent(producer)
    sent.send(0, b"waits")
    produced.set()
    error = ended(sent)
    assert "a bug" in error.str() and "Traceback" in caplog.text
    outcome = sent.outcomes[b"waits"]
    assert isinstance(outcome, KafkaError) and outcome.fatal()
    with pytest.raises(KafkaException, match="a bug"):
        sent.send(0, b"later")
    producer.close()


def test_a_process_that_gets_no_more_threads_says_so(
    cluster: Cluster, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = threading.Thread.start

    def none_left(thread: threading.Thread) -> None:
        if thread.name.startswith("kafka"):
            raise RuntimeError("can't start new thread")
        begin(thread)

    sent.send(0, b"warm")
    sent.wait()
    sent.until(lambda: not sent.producer._looking)
    monkeypatch.setattr(threading.Thread, "start", none_left)
    sent.send(0, b"elsewhere", topic="commands")
    assert "can't start new thread" in ended(sent).str()


@pytest.mark.parametrize(
    ("refusal", "remedy"),
    [
        (KafkaError.SASL_AUTHENTICATION_FAILED, "sasl.password"),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, "IdempotentWrite"),
    ],
)
def test_who_is_not_let_in_asks_a_few_times_and_says_what_to_do(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, refusal: int, remedy: str
) -> None:
    asked: list[float] = []

    def refused(*_: object, **__: object) -> Any:
        asked.append(time.monotonic())
        raise KafkaException(KafkaError(refusal))

    monkeypatch.setattr(shell, "ask", refused)
    producer = WireProducer(cluster.servers, Security(), "a test")
    sent = Sent(producer)
    sent.send(0, b"waits")
    error = ended(sent)
    assert error.code() == refusal and remedy in error.str()
    assert 3 <= len(asked) <= 8 and asked[-1] - asked[0] > 1.0
    time.sleep(0.5)
    assert len(asked) <= 8
    assert sent.code(b"waits") == refusal
    producer.close()
