"""The machine of the producer alone: what it asks to be sent, by what it was told."""

from __future__ import annotations

import pytest

from processor.kafka.clients.record_producer import Outgoing
from processor.kafka.wire.machine import Machine
from processor.kafka.wire.protocol import BatchAnswer, Cluster, Identity, Topic
from processor.kafka.wire.records import Records

HOSTS = {1: ("host", 1)}


def produce(machine: Machine, topic: str, partition: int) -> None:
    machine.records.produce(Outgoing(topic, partition, None, b"v", lambda _error, _message: None))


def learn(machine: Machine, now: float, **leaders: dict[int, int]) -> None:
    topics = {name: Topic(0 if found else 3, found) for name, found in leaders.items()}
    machine.learnt(Cluster(HOSTS, topics), None, now)


@pytest.mark.parametrize("written_before", [False, True])
def test_what_is_given_up_while_its_leader_is_busy_leaves_no_batch_without_records(
    written_before: bool,
) -> None:
    machine = Machine(Records())
    produce(machine, "busy", 0)
    partition = 0 if written_before else 1
    if written_before:
        produce(machine, "gone", partition)
    machine.learnt(Cluster(HOSTS, {}), Identity(5, 0), 0.0)
    learn(machine, 0.0, busy={0: 1}, gone={0: 1})
    broker = machine.brokers[1]
    machine.connected(broker)
    sent = machine.request(broker, 0.0, 0)
    answers = [BatchAnswer(topic, part, 0, 0, "") for topic in sent for part, _ in sent[topic]]
    machine.answered(broker, answers, 0.0)

    produce(machine, "busy", 0)
    machine.request(broker, 1.0, 0)
    produce(machine, "gone", partition)
    learn(machine, 1.0, gone={0: 1, 1: 1})
    for now in (2.0, 9.0):
        learn(machine, now, gone={} if written_before else {0: 1})
    errors = [error for records, error, _ in machine.records.outcomes if error and records]
    assert len(errors) == 1, "it was given up"
    machine.answered(broker, [BatchAnswer("busy", 0, 0, 1, "")], 9.0)
    assert not machine.due(9.0), "there is nothing to send"
    learn(machine, 10.0, gone={0: 1, 1: 1})
    produce(machine, "gone", partition)
    assert machine.due(10.0) == [broker]
    (batch,) = machine.request(broker, 10.0, 0)["gone"]
    assert batch[0] == partition
