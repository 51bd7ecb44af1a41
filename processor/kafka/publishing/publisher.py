"""The publisher of a process: ``Publishing`` on a thread, with a transactional client."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from threading import Event, Thread
from time import monotonic, sleep
from typing import Final

import lz4.frame
from confluent_kafka import TopicPartition

from processor.kafka.clients.backoff import Backoff
from processor.kafka.clients.connection import COMMAND_BYTES_MAX, KafkaSettings
from processor.kafka.publishing.transactions import TransactionalClient
from processor.kafka.topics.specs import is_own
from processor.node.publishing.publishing import Publishing
from processor.node.publishing.steps import Standing
from processor.node.publishing.undeliverable import Outlets
from processor.shard.ports import OutputRecord

__all__ = ("KafkaPublisher", "ShardPublisher")

_log = logging.getLogger("processor.kafka")

_STOP_S: Final = 10.0
_AFTER_A_BUG_S: Final = 5.0


class KafkaPublisher:
    """``instance_id`` names this process; ``standing`` is the membership's.

    ``last_committed`` reads a committed offset, although a transaction may be about to change it.
    ``linger_s`` is the time from one transaction to the next while there is something to publish:
    what comes after a pause is published at once, and a busy process publishes much in few.
    """

    def __init__(
        self,
        connection: KafkaSettings,
        instance_id: str,
        standing: Callable[[], Standing],
        last_committed: Callable[[TopicPartition], TopicPartition],
        linger_s: float,
    ) -> None:
        outlets = _outlets(connection)
        self.publishing = Publishing(instance_id, outlets, standing, monotonic, Backoff)
        self._client = TransactionalClient(connection, instance_id, last_committed)
        self._linger_s = linger_s
        self._hurry = Event()
        self._work = Event()
        self._thread = Thread(target=self._run, name="kafka publisher", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        if not self._work.is_set():
            self._work.set()

    def take_over(self, shard: ShardPublisher) -> int:
        """Shut the owner before out; return the position below which all is published. Blocks."""
        position: int = self._client.drive(self.publishing.take_over(shard.outputs))
        self.wake()
        return position

    def drain(self, timeout_s: float) -> None:
        """Publish what is pending, without lingering from now on. Blocks."""
        deadline = monotonic() + timeout_s
        self._hurry.set()
        self._work.set()
        while self.publishing.backlog and monotonic() < deadline:
            sleep(0.005)

    def close(self) -> None:
        """Stop after the transaction that is open now. Blocks."""
        self.publishing.closed = True
        self._hurry.set()
        self._work.set()
        self._thread.join(_STOP_S)
        self._client.close()

    def _run(self) -> None:
        begun = next_at = monotonic()
        while not self.publishing.closed:
            self._work.wait(max(next_at - monotonic(), 0.0))
            self._hurry.wait(max(begun + self._linger_s - monotonic(), 0.0))
            self._work.clear()
            begun = monotonic()
            try:
                next_at = self._client.drive(self.publishing.round())
            except Exception:  # a bug must not silence the results for ever
                _log.exception("publishing results")
                next_at = begun + _AFTER_A_BUG_S


class ShardPublisher:
    """What one shard publishes through. ``ids`` are those of its topics.

    ``log_is_new`` says whether no turn was ever written; it may block. ``publish`` and ``close``
    are called from the event loop.
    """

    def __init__(
        self,
        partition: int,
        publisher: KafkaPublisher,
        ids: str,
        log_is_new: Callable[[], bool],
    ) -> None:
        self.outputs = publisher.publishing.shard(partition, ids, log_is_new)
        self._publisher = publisher

    def begin(self) -> int:
        """Shut the owner before us out and return the position below which all is published."""
        return self._publisher.take_over(self)

    def publish(self, offset: int, records: Sequence[OutputRecord]) -> None:
        """Publish a turn's records; an empty sequence only moves the position."""
        self.outputs.publish(offset, records)
        self._publisher.wake()

    def close(self) -> None:
        """Give up what is pending; the next owner publishes it."""
        self._publisher.publishing.remove(self.outputs)
        self._publisher.wake()


def _outlets(connection: KafkaSettings) -> Outlets:
    return Outlets(
        connection.topic("results"),
        connection.topic("dead-letters"),
        connection.events,
        connection.shards_group,
        connection.servers,
        COMMAND_BYTES_MAX,
        partial(is_own, connection.namespace),
        lambda parts: len(lz4.frame.compress(parts)),
    )
