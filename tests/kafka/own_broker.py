"""A broker that a test may break: killed, paused, or reached through a network that fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from processor.dev.kafka_jars import BrokerUnavailable, find_java, kafka_jars
from processor.dev.local_broker import (
    HOST,
    LocalBroker,
    LocalCluster,
    Quorum,
    free_ports,
    new_cluster_id,
)
from processor.kafka.topics.upkeep import apply, connect, plan
from tests.kafka.load import make_published_topic
from tests.kafka.proxy import Proxy

__all__ = (
    "QUICK",
    "REPLICAS",
    "OwnBroker",
    "need_jars",
    "own_broker",
    "own_cluster",
    "prepare",
    "short_lived",
)

QUICK = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
"""A killed broker is let in again when the session of its former life is over."""

PARTITIONS = 4

REPLICAS = 3

SHORT_LIVED = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:ActiveProcessorCount=1"
"""For a broker of one test: a compiler that pays off later costs it half of its start."""


@dataclass(frozen=True)
class OwnBroker:
    """``servers`` lead to the broker, ``proxied`` to the same broker through ``network``."""

    broker: LocalBroker
    network: Proxy

    @property
    def servers(self) -> str:
        return self.broker.bootstrap_servers

    @property
    def proxied(self) -> str:
        return f"{HOST}:{self.network.port}"


def need_jars() -> None:
    """Skip where no broker can be run as a process, or fail in CI."""
    try:
        kafka_jars()
        find_java()
    except BrokerUnavailable as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@contextmanager
def short_lived() -> Iterator[None]:
    """Let brokers that start meanwhile be ready soon, and never be fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", SHORT_LIVED)
        yield


@contextmanager
def own_broker(folder: Path) -> Iterator[OwnBroker]:
    """Run a broker with a second listener, which is advertised under the port of a proxy."""
    need_jars()
    port, controller_port, behind, front = free_ports(4)
    overrides = {
        **QUICK,
        "listeners": f"PLAINTEXT://{HOST}:{port},PROXIED://{HOST}:{behind},"
        f"CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port},PROXIED://{HOST}:{front}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,"
        "PROXIED:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
    }
    quorum = Quorum(new_cluster_id(), {1: controller_port})
    with Proxy(front, behind) as network, short_lived():
        broker = LocalBroker(folder, port, overrides=overrides, quorum=quorum)
        try:
            broker.start()
            yield OwnBroker(broker, network)
        finally:
            broker.kill()


@contextmanager
def own_cluster(folder: Path) -> Iterator[LocalCluster]:
    """Run three brokers with replication 3, any of which may be killed; all end by a kill."""
    need_jars()
    with short_lived():
        cluster = LocalCluster(folder, size=REPLICAS, overrides=QUICK)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.kill()


def prepare(servers: str, namespace: str, replication: int = 1) -> None:
    """Make a namespace, and the topic that the load publishes to."""
    admin = connect(servers)
    apply(admin, plan(admin, namespace, PARTITIONS, replication))
    make_published_topic(admin, namespace, replication)
