"""Brokers of several releases: the producer writes what they take, or steps aside and says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from processor.kafka.clients import producers
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.producers import open_producer, which_producer
from processor.kafka.clients.producing import Lasting, Producing
from processor.kafka.clients.record_producer import Produced
from processor.kafka.wire.producer import WireProducer
from processor.kafka.wire.security import Sasl, Security
from tests.wire.scripted import (
    AUTHENTICATE,
    HANDSHAKE,
    IDENTIFY,
    KAFKA_2_8,
    KAFKA_3_9,
    KAFKA_4_3,
    METADATA,
    NOT_LEADER,
    PRODUCE,
    REDPANDA,
    VERSIONS,
    Cluster,
    Fault,
    Offered,
)
from tests.wire.sent import TOPICS, Sent

PLAIN = Security(None, Sasl("PLAIN", "alice", "secret"))
RELEASES = {"redpanda": REDPANDA, "2.8": KAFKA_2_8, "3.9": KAFKA_3_9, "4.3": KAFKA_4_3}


@pytest.fixture(autouse=True)
def _none_is_known_to_be_unfit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producers, "_unfit", {})


@pytest.mark.parametrize(
    ("release", "produce"), [("redpanda", 7), ("2.8", 8), ("3.9", 8), ("4.3", 8)]
)
@pytest.mark.parametrize("security", [Security(), PLAIN], ids=["open", "sasl"])
def test_what_a_release_takes_is_what_it_is_asked(
    release: str, produce: int, security: Security
) -> None:
    """Once for each connection it is asked what that is. Faults and refusals are understood."""
    faults: list[Fault] = [NOT_LEADER, "answer lost", KafkaError.TOPIC_AUTHORIZATION_FAILED]
    with Cluster(TOPICS, nodes=2, offered=RELEASES[release]) as cluster:
        cluster.leaders["events", 1] = 1
        producer = WireProducer(cluster.servers, security, "a test")
        sent = Sent(producer)
        sent.send(0, b"one", b"two")
        sent.send(1, b"elsewhere")
        sent.wait()
        cluster.misbehave = lambda _: faults.pop(0) if faults else 0
        sent.send(0, b"refused")
        sent.wait()
        producer.close()
        written = [value for _, value in cluster.records("events", 0)]
        assert written == [b"one", b"two", b"refused"]
        assert sent.code(b"refused") == KafkaError.TOPIC_AUTHORIZATION_FAILED
        versions = {PRODUCE: produce, METADATA: 4, IDENTIFY: 1, VERSIONS: 0}
        if security.sasl:
            versions |= {HANDSHAKE: 1, AUTHENTICATE: 1}
        assert cluster.asked.keys() == versions.items()
        assert cluster.asked[VERSIONS, 0] == cluster.connections


def test_a_session_of_a_broker_that_says_no_end_has_none() -> None:
    with Cluster(TOPICS, offered={**KAFKA_2_8, AUTHENTICATE: (0, 0)}) as cluster:
        sent = Sent(WireProducer(cluster.servers, PLAIN, "a test"))
        sent.send(0, b"taken")
        sent.wait()
        sent.producer.close()
        assert cluster.asked[AUTHENTICATE, 0] == cluster.connections


UNFIT: list[tuple[Offered, str]] = [
    ({**KAFKA_2_8, PRODUCE: (0, 6)}, "of Produce it takes version 0 to 6, and ours writes 7 to 8"),
    ({**KAFKA_4_3, PRODUCE: (9, 14)}, "of Produce it takes version 9 to 14"),
    ({**KAFKA_4_3, METADATA: (5, 13)}, "of Metadata it takes version 5 to 13"),
    ({**KAFKA_4_3, IDENTIFY: (2, 6)}, "of InitProducerId it takes version 2 to 6"),
    ({PRODUCE: (0, 8), METADATA: (0, 5)}, "of InitProducerId it takes version none"),
    ({**KAFKA_4_3, HANDSHAKE: (0, 0)}, "of SaslHandshake it takes version 0 to 0"),
    ({**KAFKA_4_3, AUTHENTICATE: (2, 2)}, "of SaslAuthenticate it takes version 2 to 2"),
]


@pytest.mark.parametrize(("offered", "why"), UNFIT)
def test_where_no_version_fits_the_producer_ends_and_says_why(offered: Offered, why: str) -> None:
    with Cluster(TOPICS, offered=offered) as cluster:
        told: list[str] = []
        producer = WireProducer(cluster.servers, PLAIN, "a test", unfit=told.append)
        sent = Sent(producer)
        with pytest.raises(KafkaException, match=why):
            until(lambda: bool(producer.poll(0.05)) and False)
        assert len(told) == 1 and told[0].startswith(f"the broker {cluster.servers}")
        with pytest.raises(KafkaException, match=why):
            sent.send(0, b"later")
        producer.close()
        assert cluster.asked.keys() == {(VERSIONS, 0)}, "nothing is sent that it does not take"


@pytest.fixture
def mixed() -> Iterator[Cluster]:
    """A cluster in which one broker, that leads a partition, is of an earlier release."""
    with Cluster({"events": 2}, nodes=2) as cluster:
        cluster.leaders["events", 1] = 1
        cluster.offered_by[1] = {**KAFKA_2_8, PRODUCE: (0, 6)}
        yield cluster


def test_a_process_steps_aside_to_librdkafka_and_its_log_says_why(
    mixed: Cluster, caplog: Any
) -> None:
    """What is produced meanwhile is told that it failed, and the next producer is librdkafka's."""
    made: list[Producing] = []
    config = KafkaSettings(mixed.servers).producer()

    def make() -> Producing:
        made.append(Producing(config, {}, "a test"))
        return made[-1]

    lasting, outcomes = Lasting(make), list[KafkaError | None]()

    def delivered(error: KafkaError | None, _: Produced | None) -> None:
        outcomes.append(error)

    lasting.get().produce("events", 1, b"key", b"value", delivered)
    until(lambda: bool(outcomes) and made[0].broken is not None)
    assert outcomes[0] is not None and outcomes[0].code() == KafkaError.UNSUPPORTED_VERSION
    mixed.kill(0)  # librdkafka's speaks more than a scripted broker
    mixed.kill(1)
    assert lasting.get() is made[1]
    whose = "records are sent by librdkafka's producer, because the broker 127.0.0.1:"
    assert caplog.text.count(f"from now on {whose}") == 1
    assert which_producer(mixed.servers, {}).startswith(whose)
    opened = open_producer(config, {})
    assert not isinstance(opened, WireProducer)
    opened.close()
    for each in made:
        each.close(0)


def test_librdkafkas_producer_runs_where_it_is_named() -> None:
    extra = {"producer": "librdkafka"}
    config = KafkaSettings("127.0.0.1:1", "none", extra).producer()
    opened = open_producer(config, extra)
    assert not isinstance(opened, WireProducer)
    opened.close()


def until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.005)
