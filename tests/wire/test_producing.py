"""Whoever shares a producer hears what becomes of each record, whatever happens to its thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError

from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.producing import Lasting, Producing
from processor.kafka.clients.record_producer import Outgoing, Produced
from tests.wire.scripted import OUT_OF_ORDER, Cluster

BOUND_S = 60.0


def until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND_S
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster({"events": 2}) as running:
        yield running


@pytest.fixture
def lasting(cluster: Cluster) -> Iterator[Lasting]:
    made: list[Producing] = []

    def make() -> Producing:
        made.append(Producing(KafkaSettings(cluster.servers).producer(), {}, "a test"))
        return made[-1]

    yield Lasting(make)
    for each in made:
        each.close(0)


class Told:
    """What was called back, by value."""

    def __init__(self) -> None:
        self.outcomes: dict[bytes, KafkaError | None] = {}

    def outgoing(self, value: bytes) -> Outgoing:
        def delivered(error: KafkaError | None, _written: Produced | None) -> None:
            self.outcomes[value] = error
            if value.startswith(b"bug"):
                raise ValueError("of who sent it")

        return Outgoing("events", 0, None, value, delivered)


def test_a_record_that_is_put_off_is_sent_though_its_producer_was_replaced(
    cluster: Cluster, lasting: Lasting
) -> None:
    told = Told()
    producing = lasting.get()
    producing.produce_later(told.outgoing(b"later"), 0.3)
    producing.retire()
    until(lambda: b"later" in told.outcomes)
    assert told.outcomes[b"later"] is None and cluster.records("events", 0) == [(None, b"later")]


@pytest.mark.parametrize("served", ["by its thread", "by a loop"])
def test_who_fails_when_called_back_takes_no_other_along(
    cluster: Cluster, lasting: Lasting, caplog: Any, served: str
) -> None:
    """It is said, and the producer is replaced: what one did not hear, it may wait for."""
    told, producing = Told(), lasting.get()
    values = [b"first", b"bug", b"last"]
    producing.collect()
    for value in values:
        producing.produce(*told.outgoing(value))
    producing.flush()

    def done() -> bool:
        if served == "by a loop":
            producing.poll(0.01)
        return told.outcomes.keys() == set(values) and producing.broken is not None

    until(done)
    assert not any(told.outcomes.values()), "all of them are written"
    assert "a bug in the Kafka producer for a test" in caplog.text and "Traceback" in caplog.text
    assert lasting.get() is not producing
    lasting.get().produce(*told.outgoing(b"next"))
    until(lambda: b"next" in told.outcomes)
    assert [value for _, value in cluster.records("events", 0)] == [*values, b"next"]


def test_a_fatal_error_is_told_and_the_next_record_has_a_new_producer(
    cluster: Cluster, lasting: Lasting, caplog: Any
) -> None:
    told, first = Told(), lasting.get()
    faults = [OUT_OF_ORDER]
    cluster.misbehave = lambda _: faults.pop() if faults else 0
    first.produce(*told.outgoing(b"lost"))
    until(lambda: first.broken is not None)
    error = told.outcomes[b"lost"]
    assert error is not None and error.fatal()
    until(lambda: "the Kafka producer for a test stops" in caplog.text)
    lasting.get().produce(*told.outgoing(b"next"))
    until(lambda: b"next" in told.outcomes)
    assert told.outcomes[b"next"] is None and cluster.records("events", 0) == [(None, b"next")]


def test_a_producer_that_stops_again_and_again_is_not_made_as_fast_as_there_are_records(
    cluster: Cluster, lasting: Lasting
) -> None:
    told = Told()
    cluster.misbehave = lambda _: OUT_OF_ORDER
    deadline, number = time.monotonic() + 2.0, 0
    while time.monotonic() < deadline:
        value = b"%d" % number
        lasting.get().produce(*told.outgoing(value))
        until(lambda value=value: value in told.outcomes)  # type: ignore[misc]
        number += 1
        time.sleep(0.005)
    assert 2 <= cluster.producers <= 5, "one, the next at once, and another after a second"
    assert all(error is not None for error in told.outcomes.values())
