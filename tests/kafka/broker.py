"""Finds a real Kafka broker for the tests: one that runs already, a container, or a process.

The order is from the most explicit to the least. ``PROCESSOR_TEST_BROKER`` set to ``external``,
``container`` or ``local`` allows that one only, so that CI can prove each of them.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import cast

from processor.dev.local_broker import HOST, BrokerUnavailable, LocalBroker, free_port
from processor.kafka.topics.upkeep import BrokerUnreachable, connect

IMAGE = "apache/kafka:4.3.1"
START_TIMEOUT_S = 60.0


class NoBrokerError(Exception):
    """This way to a broker is closed on this machine; the message says why."""


@contextmanager
def external() -> Iterator[str]:
    """Use the broker that ``KAFKA_BOOTSTRAP_SERVERS`` names."""
    servers = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if not servers:
        raise NoBrokerError("KAFKA_BOOTSTRAP_SERVERS is not set")
    connect(servers)
    yield servers


@contextmanager
def container() -> Iterator[str]:
    """Run the official image with testcontainers.

    The port is chosen beforehand, because the broker must be told where its clients see it. Any
    ``KAFKA_*`` variable makes the image drop all its own defaults, so all of them are here.
    """
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    try:
        docker = importlib.import_module("docker")  # it has no type hints
        from testcontainers.core.container import DockerContainer
    except ImportError as error:
        raise NoBrokerError(f"testcontainers is not installed ({error})") from error
    if not _docker_socket().exists() and "DOCKER_HOST" not in os.environ:
        raise NoBrokerError("no Docker engine: there is no socket to ask")
    try:
        docker.from_env(timeout=5).ping()
    except docker.errors.DockerException as error:
        raise NoBrokerError(f"no Docker engine answers ({error})") from error
    port = free_port()
    node = DockerContainer(IMAGE).with_envs(**container_environment(port))
    ports = cast("dict[str, object]", node.ports)  # with_bind_ports would open all interfaces
    ports[f"{port}/tcp"] = (HOST, port)
    try:
        node.start()
    except docker.errors.DockerException as error:
        raise NoBrokerError(f"the image {IMAGE} cannot be run ({error})") from error
    try:
        await_broker(f"{HOST}:{port}", node.get_logs)
        yield f"{HOST}:{port}"
    finally:
        node.stop()


def _docker_socket() -> Path:
    return Path("/var/run/docker.sock")


def container_environment(port: int) -> dict[str, str]:
    """Return the variables of a single node whose clients see it on the loopback address."""
    properties = {
        "node.id": "1",
        "process.roles": "broker,controller",
        "controller.quorum.voters": "1@localhost:9093",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
    }
    return {"KAFKA_" + name.upper().replace(".", "_"): value for name, value in properties.items()}


def await_broker(servers: str, logs: Callable[[], tuple[bytes, bytes]]) -> None:
    """Wait until a broker in a container answers; show the end of its log if it does not."""
    for _ in range(int(START_TIMEOUT_S / 5)):
        try:
            connect(servers)
        except BrokerUnreachable:
            continue
        return
    output = b"".join(logs()).decode(errors="replace").splitlines()[-20:]
    raise NoBrokerError(f"{IMAGE} did not answer at {servers}:\n" + "\n".join(output))


@contextmanager
def local() -> Iterator[str]:
    """Run a broker from Maven Central's jars as a process."""
    with tempfile.TemporaryDirectory(prefix="processor-kafka-") as folder:
        broker = LocalBroker(Path(folder))
        try:
            broker.start()
        except BrokerUnavailable as error:
            raise NoBrokerError(str(error)) from error
        try:
            yield broker.bootstrap_servers
        finally:
            broker.kill()


WAYS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "external": external,
    "container": container,
    "local": local,
}


@contextmanager
def any_broker() -> Iterator[str]:
    """Yield the servers of the first broker that can be had; raise with every reason if none."""
    only = os.environ.get("PROCESSOR_TEST_BROKER")
    if only and only not in WAYS:
        raise ValueError(f"PROCESSOR_TEST_BROKER is {only!r}; it may be one of {', '.join(WAYS)}")
    ways = {only: WAYS[only]} if only else WAYS
    reasons = []
    for name, way in ways.items():
        manager = way()
        try:
            servers = manager.__enter__()
        except (NoBrokerError, BrokerUnreachable) as error:
            if name == "external" and os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
                raise  # the user named a broker: to test on another one would hide that it is dead
            reasons.append(f"{name}: {error}")
            continue
        try:
            yield servers
        finally:
            manager.__exit__(None, None, None)
        return
    raise NoBrokerError("; ".join(reasons))
