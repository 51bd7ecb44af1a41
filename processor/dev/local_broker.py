"""A real Apache Kafka on this machine, for tests and ``processor dev --kafka``.

It is one Java process in KRaft mode, listening on the loopback address only. It can be killed,
paused and started again on the same data and the same port, which is what a test of durability
needs. POSIX systems only.
"""

from __future__ import annotations

import base64
import os
import random
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from processor.dev.kafka_jars import BrokerUnavailable, find_java, kafka_jars
from processor.store.lock import hold, holder

__all__ = ("BrokerUnavailable", "LocalBroker", "LocalCluster", "free_port")

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
LOCK_WITHIN_S = 3.0
"""A broker whose parent was killed just now ends within that time."""
LOG_TAIL_LINES = 30

PORTS = range(20_000, 32_000)
"""Below the ephemeral ports: a client that reconnects to a dead broker there can be given that
very port as its own, connects to itself, and the broker cannot come back."""

JAVA_OPTIONS = (
    "-Xmx512m",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
)
SMALL_BROKER: Mapping[str, str] = MappingProxyType(
    {
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
)
NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Quorum:
    """The controllers that a node belongs to, by node id, and the cluster's identity."""

    cluster_id: str
    controller_ports: Mapping[int, int]

    @property
    def voters(self) -> str:
        return ",".join(f"{node}@{HOST}:{port}" for node, port in self.controller_ports.items())


class LocalBroker:
    """One broker, with its data, its configuration and its log file in ``data_dir``.

    It dies with the process that started it. A folder has one broker: a second one would open the
    log of the first before Kafka finds that it is locked, and end the first. ``overrides`` are
    broker properties. Used as a context manager, it is started and stopped.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        *,
        overrides: Mapping[str, str] = NO_OVERRIDES,
        node_id: int = 1,
        quorum: Quorum | None = None,
    ) -> None:
        self.data_dir = data_dir
        free = free_ports(2)
        self.port = free[0] if port is None else port
        self.node_id = node_id
        self.log_file = data_dir / "broker.log"
        self._quorum = quorum or Quorum(new_cluster_id(), {node_id: free[1]})
        self._overrides = dict(overrides)
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect; the same after every restart."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the broker that runs."""
        if self._process is None:
            raise RuntimeError(f"The broker at {self.bootstrap_servers} does not run; start it")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives; a paused one does."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the broker and wait until it answers; raise with the log's tail if it does not."""
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Start the process, and do not wait until it answers."""
        if self.is_running:
            raise RuntimeError(
                f"The broker at {self.bootstrap_servers} runs already; stop it first"
            )
        lock = self._hold()
        try:
            self._process = self._spawn(lock)
        finally:
            os.close(lock)  # the broker holds it from now on
        self._watcher = watch(self._process.pid)

    def _hold(self) -> int:
        """Take the folder, or raise where a broker runs on it."""
        path, deadline = self.data_dir / "broker.lock", time.monotonic() + LOCK_WITHIN_S
        while (lock := hold(path)) is None:
            if time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"{holder(path)} runs a Kafka in {self.data_dir} already{self._address()}, and "
                    "a folder has one. Use that one (`processor worker MODULE --server ...`), or "
                    "stop it first, or name another folder (`processor dev --kafka --state FOLDER`)"
                )
            time.sleep(0.05)
        return lock

    def _address(self) -> str:
        """Return where the broker of this folder listens, as its configuration says."""
        try:
            lines = self._config.read_text(encoding="utf-8").splitlines()
        except OSError:
            return ""
        name = "advertised.listeners=PLAINTEXT://"
        found = [line.removeprefix(name) for line in lines if line.startswith(name)]
        return f" (at {found[0]})" if found else ""

    def _spawn(self, lock: int) -> subprocess.Popen[bytes]:
        classpath, java = f"{kafka_jars()}/*", str(find_java())
        config = self._write_config()
        command = [java, *JAVA_OPTIONS, "-cp", classpath]
        with self.log_file.open("ab") as log:
            if not (self._kafka_dir / "meta.properties").exists():
                self._format([*command, "kafka.tools.StorageTool", "format"], config)
            return subprocess.Popen(
                [*command, "kafka.Kafka", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(lock,),
                start_new_session=True,  # Ctrl-C is for the parent, which then stops the broker
            )

    def await_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until the broker answers requests."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        deadline = time.monotonic() + timeout_s
        while self.is_running and time.monotonic() < deadline:
            try:
                if self.node_id in admin.list_topics(timeout=1).brokers:
                    return
            except KafkaException:
                time.sleep(0.05)
        state = "did not answer in time" if self.is_running else "ended at once"
        self.kill()
        raise BrokerUnavailable(
            f"The local Kafka broker at {self.bootstrap_servers} {state}. Correct what the end of"
            f" {self.log_file} says, or delete {self.data_dir}, and try again:\n{self.log_tail()}"
        )

    def stop(self) -> None:
        """End the broker in order: it writes what it has and hands over what it leads."""
        if self._process is not None and self.is_running:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._reap()

    def kill(self) -> None:
        """End the broker as a crash would (SIGKILL); also when it is paused."""
        if self._process is not None and self.is_running:
            self._process.kill()
        self._reap()

    def pause(self) -> None:
        """Freeze the broker (SIGSTOP): connections stay open, and nobody answers.

        All of its threads stand still when this returns.
        """
        self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused broker go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def log_tail(self) -> str:
        """Return the last lines of the broker's log file."""
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def _kafka_dir(self) -> Path:
        return self.data_dir / "kafka"

    @property
    def _config(self) -> Path:
        return self.data_dir / "server.properties"

    def _write_config(self) -> Path:
        controller_port = self._quorum.controller_ports[self.node_id]
        properties = {
            "process.roles": "broker,controller",
            "node.id": str(self.node_id),
            "controller.quorum.voters": self._quorum.voters,
            "listeners": f"PLAINTEXT://{HOST}:{self.port},CONTROLLER://{HOST}:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(self._kafka_dir),
            **SMALL_BROKER,
            **self._overrides,
        }
        text = "".join(f"{k}={v}\n" for k, v in properties.items())
        self._config.write_text(text, encoding="utf-8")
        return self._config

    def _format(self, command: list[str], config: Path) -> None:
        arguments = ["-t", self._quorum.cluster_id, "-c", str(config)]
        done = subprocess.run(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise BrokerUnavailable(
                f"Kafka could not format its storage in {self._kafka_dir}; correct what it says,"
                f" or delete the folder:\n{done.stdout}{done.stderr}"
            )

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or not self.is_running:
            raise RuntimeError(f"The broker at {self.bootstrap_servers} does not run; start it")
        self._process.send_signal(number)

    def _reap(self) -> None:
        # The broker first: as long as it is not waited for, its id cannot be another process's.
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.communicate()
            self._watcher = None
        if self._process is not None:
            self._process.wait()
            self._process = None


class LocalCluster:
    """Several brokers that are one cluster, each a controller too: one may die of three.

    Topics may have replication 3, and Kafka's own topics have it.
    """

    def __init__(
        self, data_dir: Path, *, size: int = 3, overrides: Mapping[str, str] = NO_OVERRIDES
    ) -> None:
        nodes = range(1, size + 1)
        ports = free_ports(2 * size)
        quorum = Quorum(new_cluster_id(), dict(zip(nodes, ports[size:], strict=True)))
        replicated = {
            "offsets.topic.replication.factor": str(size),
            "share.coordinator.state.topic.replication.factor": str(size),
            "transaction.state.log.replication.factor": str(size),
            "transaction.state.log.min.isr": str(min(2, size)),
            **overrides,
        }
        self.brokers = tuple(
            LocalBroker(
                data_dir / f"node-{node}", port, overrides=replicated, node_id=node, quorum=quorum
            )
            for node, port in zip(nodes, ports[:size], strict=True)
        )

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect."""
        return ",".join(broker.bootstrap_servers for broker in self.brokers)

    def start(self) -> None:
        """Start all brokers at once; none answers before most of them run."""
        try:
            for broker in self.brokers:
                broker.launch()
            for broker in self.brokers:
                broker.await_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End all brokers but the last in order: it has nobody left to agree with."""
        for broker in self.brokers[:-1]:
            broker.stop()
        self.brokers[-1].kill()

    def kill(self) -> None:
        """End all brokers as a crash would."""
        for broker in self.brokers:
            broker.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return several different free ports."""
    free: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        free.append(port)
        if len(free) == count:
            return free
    raise BrokerUnavailable(
        f"There are not {count} free ports from {PORTS.start} to {PORTS.stop}: end the programs"
        " that listen there"
    )


def new_cluster_id() -> str:
    """Return a cluster id as Kafka writes them; never with a leading dash, which is an option."""
    return base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")


def watch(pid: int) -> subprocess.Popen[bytes]:
    """Start a process that kills ``pid`` when this one dies, however it dies.

    The watcher reads from a pipe that only this process holds open. The kernel's own way
    (PR_SET_PDEATHSIG) ends the child with the thread that started it, and exists on Linux only.
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _; kill -9 "$1"', "broker-watcher", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
