"""A process that runs one connection, and kills itself at a point that it is given.

``python -m tests.kafka.connecting SERVERS NAMESPACE TOPIC [POINT]``
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import confluent_kafka
from confluent_kafka import TopicPartition

from processor import Worker
from processor.kafka.connecting import outlet
from processor.kafka.connecting.letters import Buried
from processor.kafka.connecting.outlet import Command, Outlet
from processor.kafka.connecting.source import Source
from tests.kafka.connections import notes

__all__ = ("POINTS",)

_FLUSH_S = 10.0


def _die(_: object = None) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _before_anything_is_sent() -> None:
    Outlet.send = lambda self, commands: _die() if commands else None  # type: ignore[method-assign]


def _half_of_a_batch_is_sent() -> None:
    original = Outlet.send

    def send(self: Outlet, commands: Sequence[Command]) -> None:
        if commands:
            original(self, commands[: len(commands) // 2])
            _die()

    Outlet.send = send  # type: ignore[method-assign]


def _a_batch_is_sent() -> None:
    original = Outlet.send

    def send(self: Outlet, commands: Sequence[Command]) -> None:
        if commands:
            original(self, commands)
            _die()

    Outlet.send = send  # type: ignore[method-assign]


def _letters_are_written() -> None:
    """Their transaction stays open until the next process, or the broker, ends it."""

    class Crashing(confluent_kafka.Producer):
        def commit_transaction(self, *_: Any) -> None:
            self.flush(_FLUSH_S)
            _die()

    outlet.Producer = Crashing  # type: ignore[misc, attr-defined]


def _letters_are_committed() -> None:
    original = Outlet.bury

    def bury(
        self: Outlet, letters: Sequence[Buried], places: list[TopicPartition], member: Any
    ) -> None:
        original(self, letters, places, member)
        _die()

    Outlet.bury = bury  # type: ignore[method-assign]


def _positions_are_committed() -> None:
    original = Source.commit

    def commit(self: Source) -> None:
        original(self)
        if any(offset for (_, partition), offset in self._committed.items() if not partition):
            _die()

    Source.commit = commit  # type: ignore[method-assign]


POINTS: Final[Mapping[str, Callable[[], None]]] = {
    "before anything is sent": _before_anything_is_sent,
    "half of a batch is sent": _half_of_a_batch_is_sent,
    "a batch is sent": _a_batch_is_sent,
    "letters are written": _letters_are_written,
    "letters are committed": _letters_are_committed,
    "positions are committed": _positions_are_committed,
}


async def _serve(servers: str, namespace: str, topic: str) -> None:
    how: dict[str, Any] = {"connections": [notes(topic)], "shards": False, "queues": []}
    worker = Worker(servers, namespace=namespace, **how)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()


def main() -> None:
    servers, namespace, topic, *points = sys.argv[1:]
    for point in points:
        POINTS[point]()
    asyncio.run(_serve(servers, namespace, topic))


if __name__ == "__main__":
    main()
