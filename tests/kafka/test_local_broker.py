"""The local broker keeps what it acknowledged when it is killed, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from processor.dev.local_broker import BrokerUnavailable, LocalBroker
from processor.kafka.topics.upkeep import BrokerUnreachable, apply, check, connect, plan
from tests.kafka.harness import until
from tests.kafka.own_broker import QUICK, need_jars, own_cluster, short_lived


@pytest.fixture(scope="module", autouse=True)
def parts() -> Iterator[None]:
    need_jars()
    with short_lived():
        yield


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LocalBroker]:
    with LocalBroker(tmp_path / "broker", overrides=QUICK) as running:
        yield running


def make_topic(servers: str, topic: str) -> None:
    admin = connect(servers)  # held until the futures are done: they die with their client
    for future in admin.create_topics([NewTopic(topic, 1, 1)]).values():
        future.result()


PATIENCE_S = 60.0
"""A cluster whose controller died needs a while to name another, on a machine that is busy."""


def produce(servers: str, topic: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": servers, "acks": "all", "log_level": 0})
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(PATIENCE_S) == 0


def read(servers: str, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": uuid.uuid4().hex, "log_level": 0}
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[bytes | None] = []
    deadline = time.monotonic() + PATIENCE_S
    try:
        while len(found) < count and time.monotonic() < deadline:
            news = consumer.consume(count - len(found), timeout=1)
            found += [message.value() for message in news if message.error() is None]
        return found
    finally:
        consumer.close()


def test_kill_and_restart_keep_the_data(broker: LocalBroker) -> None:
    servers = broker.bootstrap_servers
    make_topic(servers, "kept")
    produce(servers, "kept", [b"before"])
    broker.kill()
    assert not broker.is_running
    broker.start()
    assert broker.bootstrap_servers == servers
    produce(servers, "kept", [b"after"])
    assert read(servers, "kept", 2) == [b"before", b"after"]


def test_pause_stops_answers_and_resume_brings_them_back(broker: LocalBroker) -> None:
    make_topic(broker.bootstrap_servers, "paused")
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
    producer.produce("paused", b"first")
    assert producer.flush(30) == 0
    broker.pause()
    producer.produce("paused", b"second")
    assert producer.flush(1) == 1
    broker.resume()
    assert producer.flush(30) == 0


def test_a_broker_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    broken = LocalBroker(tmp_path / "broken", overrides={"num.io.threads": "none"})
    with pytest.raises(BrokerUnavailable, match=r"num\.io\.threads"):
        broken.start()
    assert not broken.is_running


def test_a_folder_has_one_broker(broker: LocalBroker) -> None:
    servers = broker.bootstrap_servers
    second = LocalBroker(broker.data_dir)
    with pytest.raises(BrokerUnavailable, match=rf"process {os.getpid()} runs a Kafka .*{servers}"):
        second.start()
    make_topic(servers, "unharmed")
    broker.kill()
    with second:
        assert connect(second.bootstrap_servers).list_topics(timeout=10).topics["unharmed"]
    broker.start()


def test_a_broker_dies_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib; from processor.dev.local_broker import LocalBroker;"
        "b = LocalBroker(pathlib.Path(sys.argv[1])); b.launch(); b.await_ready();"
        "print(b.bootstrap_servers, flush=True); os.kill(os.getpid(), 9)"
    )
    parent = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "orphan")],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    servers = parent.stdout.strip()
    assert servers, parent.stderr
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            connect(servers)
        except BrokerUnreachable:
            return
        time.sleep(0.1)
    pytest.fail(f"The broker at {servers} outlived its parent")


def test_three_brokers_are_one_cluster(tmp_path: Path, namespace: str) -> None:
    with own_cluster(tmp_path / "cluster") as cluster:
        admin = connect(cluster.bootstrap_servers)
        apply(admin, plan(admin, namespace, 2, 3))
        until(lambda: check(admin, namespace) == [], "every broker has heard of the topics")
        until(lambda: plan(admin, namespace, 2, 3) == [], "the same for the plan")
        produce(cluster.bootstrap_servers, f"{namespace}.commands", [b"before"])
        cluster.brokers[0].kill()
        produce(cluster.bootstrap_servers, f"{namespace}.commands", [b"after"])
        servers = cluster.brokers[1].bootstrap_servers
        assert read(servers, f"{namespace}.commands", 2) == [b"before", b"after"]
