"""Every test runs on every adapter, or every store; those on Kafka need a broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .adapters import Adapter, Embedded, Simulated
from .stores import Store, made

__all__ = ("adapter", "log_adapter", "sharded_adapter", "store")

_KINDS = ["embedded", "simulated-0", "simulated-1"]
_KAFKA = [
    pytest.param(kind, marks=pytest.mark.kafka) for kind in ("kafka", "kafka through librdkafka")
]


@pytest.fixture(params=_KINDS)
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    """A runtime with all of the ports."""
    yield from _connected(_made(request.param, tmp_path))


@pytest.fixture(params=["simulated-0", "simulated-1"])
def sharded_adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    """A runtime with several shards, which send each other messages."""
    yield from _connected(_made(request.param, tmp_path))


@pytest.fixture(params=[*_KINDS, *_KAFKA])
def log_adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    """A runtime with a log."""
    if request.param.startswith("kafka"):
        from .kafka_log import LIBRDKAFKA, KafkaLogOnly

        extra = {} if request.param == "kafka" else LIBRDKAFKA
        yield from _connected(KafkaLogOnly(request.getfixturevalue("kafka_servers"), extra))
    else:
        yield from _connected(_made(request.param, tmp_path))


@pytest.fixture(params=["memory", "rocks"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store that a test can open again, or wipe."""
    store = made(request.param, tmp_path / "tables")
    yield store
    store.held.close()


def _made(param: str, path: Path) -> Adapter:
    kind, _, seed = param.partition("-")
    return Embedded(path) if kind == "embedded" else Simulated(int(seed))


def _connected(adapter: Adapter) -> Iterator[Adapter]:
    adapter.connect()
    yield adapter
    adapter.close()
