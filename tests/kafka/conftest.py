"""What the tests on a real Kafka broker have: one for the whole session, or one of their own."""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from processor.kafka.publishing.publisher import ShardPublisher
from processor.kafka.topics.upkeep import apply, connect, plan

from .delivered import publishers
from .evidence import Evidence
from .harness import Adapters, adapters
from .own_broker import OwnBroker, own_broker
from .processes import StartWorker, WorkerProcess

HERE = Path(__file__).parent
PARTITIONS = 4


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.kafka)
            if "kafka_servers" not in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.own_broker)


LOG_END = 6_000


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a test that failed what its worker processes logged at last."""
    report = yield
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    if report.failed and folder is not None:
        for log in sorted(folder.glob("worker-*.log")):
            report.sections.append((f"end of {log.name}", log.read_text()[-LOG_END:]))
    return report


@pytest.fixture(scope="session")
def breakable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    """A second broker, for the tests that break it or the network to it. It runs between tests."""
    with own_broker(tmp_path_factory.mktemp("breakable")) as broker:
        yield broker


@pytest.fixture
def admin(kafka_servers: str) -> AdminClient:
    """An admin client of the session's broker."""
    return connect(kafka_servers)


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test has."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def start_worker(namespace: str, tmp_path: Path) -> Iterator[StartWorker]:
    """Start a worker of the test's namespace, in a slot, on brokers; all end with the test."""
    started: list[WorkerProcess] = []

    def start(servers: str, slot: int, *options: str) -> WorkerProcess:
        worker = WorkerProcess(servers, namespace, tmp_path, slot)
        started.append(worker)
        worker.start(*options)
        return worker

    yield start
    for worker in started:
        worker.end()


@pytest.fixture
def made(kafka_servers: str, namespace: str, admin: AdminClient) -> str:
    """A namespace with its topics."""
    apply(admin, plan(admin, namespace, PARTITIONS, 1))
    return namespace


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """Keeps what the test did and what held."""
    return Evidence(request.node.name.removeprefix("test_").replace("_", " "))


@pytest.fixture
def workers(
    kafka_servers: str, made: str, tmp_path: Path
) -> Iterator[tuple[WorkerProcess, WorkerProcess]]:
    """Two worker processes of the namespace ``made``."""
    first, second = (WorkerProcess(kafka_servers, made, tmp_path, slot) for slot in (0, 1))
    first.start()
    second.start()
    yield first, second
    first.end()
    second.end()


@pytest.fixture
def kafka(
    kafka_servers: str, namespace: str, admin: AdminClient, tmp_path: Path
) -> Iterator[Adapters]:
    with adapters(kafka_servers, namespace, admin, tmp_path) as made:
        yield made


@pytest.fixture
def publisher(kafka: Adapters) -> Iterator[ShardPublisher]:
    """The publisher of shard 0."""
    with_publisher = publishers(kafka)
    yield next(with_publisher)
    next(with_publisher, None)
