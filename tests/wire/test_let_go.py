"""A producer of a publisher that is of no use is freed, whatever its end says."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from processor.kafka.clients.bounded import let_go


class Closing:
    """A producer whose end fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.thread: threading.Thread | None = None
        self.closes = threading.Event()

    def close(self) -> None:
        self.thread = threading.current_thread()
        self.closes.set()
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        KafkaException(KafkaError(KafkaError._STATE)),
        SystemError("<method 'close'> returned a result with an exception set"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_end_that_fails_ends_nothing_else(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    producer: Any = Closing(error)
    let_go(producer)
    assert producer.closes.wait(60)
    producer.thread.join(60)
    assert not producer.thread.is_alive() and not failed
