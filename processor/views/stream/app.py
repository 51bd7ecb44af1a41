"""The Faust application of the views: an agent that gives what it reads of ``events`` to folds.

Where reading goes on is said by the folds, which keep that beside their rows, and never by offsets
that Faust commits: it acknowledges a record also where its agent fails. What it commits shows the
lag to Kafka's tools, and no more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final, Protocol

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from yarl import URL

from processor.kafka.clients.connection import LOG_RECORD_BYTES_MAX, KafkaSettings
from processor.shard.ports import LogRecord
from processor.views.stream.security import credentials_of

__all__ = ("Batches", "PartitionFold", "ViewsApp")

_BATCH: Final = 1_000
_BATCH_WITHIN_S: Final = 0.05
_BUFFERED: Final = 256
"""Messages that Faust holds for one partition."""

_FETCHED_MAX: Final = 2_000
"""Records of a batch, of all partitions together."""

_AHEAD: Final = 8
"""Batches that are read ahead of the folds."""

_ROOM_S: Final = 1.0
_LOOK_S: Final = 0.002

_COMMIT_EVERY_S: Final = 5.0
_HEARTBEAT_S: Final = 3.0
_SESSION_S: Final = 12.0
"""After so long the partitions of a process that is dead are given to others."""


class PartitionFold(Protocol):
    """What becomes of one partition of ``events``."""

    @property
    def position(self) -> int:
        """The first offset that it has not taken, as it is on disk."""

    def take(self, records: Sequence[LogRecord]) -> None:
        """Take records in their order, all of them or none. It passes over what it has taken."""

    def close(self) -> None: ...


class ViewsApp(faust.App):
    """``opened`` returns the fold of a partition; each is open while the partition is ours.

    ``failed`` is done where a fold failed: nothing more is read then. ``group`` is the name of the
    Kafka group in the namespace, ``settings`` are further ones of Faust's.
    """

    def __init__(
        self,
        connection: KafkaSettings,
        state_dir: Path,
        opened: Callable[[int], PartitionFold],
        instance_id: str,
        group: str = "views",
        **settings: Any,
    ) -> None:
        self.folds: dict[int, PartitionFold] = {}
        self.batches = Batches()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.events = connection.events
        self._opened = opened
        how: dict[str, Any] = {"web_enabled": False, **settings}
        credentials = credentials_of(connection.extra)
        if credentials is not None:
            how["broker_credentials"] = credentials
        super().__init__(
            f"{connection.namespace}.{group}",
            broker=[URL(f"kafka://{server.strip()}") for server in connection.servers.split(",")],
            broker_client_id=f"processor-{connection.namespace}-{group}",
            broker_commit_interval=_COMMIT_EVERY_S,
            broker_heartbeat_interval=_HEARTBEAT_S,
            broker_max_poll_records=_FETCHED_MAX,
            broker_session_timeout=_SESSION_S,
            consumer_auto_offset_reset="earliest",
            consumer_group_instance_id=instance_id,
            consumer_max_fetch_size=LOG_RECORD_BYTES_MAX,
            datadir=str(state_dir / "faust"),
            key_serializer="raw",
            value_serializer="raw",
            stream_buffer_maxsize=_BUFFERED,
            stream_wait_empty=False,
            # No topic is made but those that `processor topics apply` makes.
            topic_allow_declare=False,
            topic_disable_leader=True,
            reply_create_topic=False,
            **how,
        )
        events = self.topic(self.events, key_type=bytes, value_type=bytes, allow_empty=True)
        fed: Any = self._fed  # Faust's own hints name a protocol without take_events
        revoked: Any = self._revoked
        self.agent(events, name="folds")(fed)
        self.on_partitions_revoked.connect(revoked)

    def begins(self, partition: int) -> int:
        """Return where reading a partition goes on. Opens its fold."""
        fold = self.folds.get(partition)
        if fold is None:
            fold = self.folds[partition] = self._opened(partition)
        return fold.position

    def end(self, partition: int) -> int | None:
        """Return where a partition of ours ended when it was asked last; None: nobody knows."""
        try:
            end: int | None = self.consumer.highwater(TP(self.events, partition))
        except AssertionError:  # of aiokafka: it was taken from us, and its thread knows that first
            return None
        return end

    def lag(self) -> Mapping[int, int]:
        """Return how many offsets of each of our partitions are not folded, as far as is known."""
        lag = {}
        for partition, fold in self.folds.items():
            end = self.end(partition)
            if end is not None:
                lag[partition] = max(end - fold.position, 0)
        return lag

    async def give(self, fold: PartitionFold, records: Sequence[LogRecord]) -> None:
        """Give records to a fold. Whatever it raises ends the reading."""
        fold.take(records)

    def close(self) -> None:
        """Close all folds, once nothing is read any more."""
        while self.folds:
            self.folds.popitem()[1].close()

    async def _fed(self, stream: faust.Stream[bytes]) -> None:
        """Give what arrives to the folds. One agent for all partitions: a rebalance ends it not."""
        async for events in stream.take_events(_BATCH, within=_BATCH_WITHIN_S):
            came: dict[int, list[LogRecord]] = {}
            for event in events:
                told = event.message
                came.setdefault(told.partition, []).extend(
                    LogRecord(each.offset, each.key or b"", each.value)
                    for each in self.batches.taken(told.partition, told.offset)
                )
            try:
                for partition, records in came.items():
                    fold = self.folds.get(partition)
                    if fold is not None:  # else it was taken from us while they were on their way
                        await self.give(fold, records)
            except Exception as error:
                # Faust would start the agent again, behind the records that it has not folded.
                if not self.failed.done():
                    self.failed.set_exception(error)
                await asyncio.Event().wait()

    async def _revoked(self, app: faust.App, revoked: set[TP], **_: Any) -> None:
        for place in revoked:
            fold = self.folds.pop(place.partition, None)
            if fold is not None:
                fold.close()

    def _new_transport(self) -> _Transport:
        return _Transport(self.conf.broker_consumer, self)


class Batches:
    """What was fetched of each partition, and no agent has taken yet: one message stands for it.

    A message costs Faust 300 µs, twice as much as all else that is done for a record.
    """

    def __init__(self) -> None:
        self._fetched: dict[int, deque[Sequence[Any]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._fetched.values()))

    def put(self, partition: int, records: Sequence[Any]) -> Any:
        """Keep records; return the last one, which stands for all."""
        self._fetched.setdefault(partition, deque()).append(records)
        return records[-1]

    def taken(self, partition: int, last: int) -> Iterator[Any]:
        """Yield the records of what ends at the offset ``last``, and of what is before it."""
        waiting = self._fetched.get(partition, ())
        while waiting and waiting[0][-1].offset <= last:
            yield from waiting.popleft()

    def clear(self) -> None:
        self._fetched.clear()


class _Consumer(driver.Consumer):
    """Goes on where the folds are, and makes one message of a batch."""

    app: ViewsApp

    async def _wait_next_records(self, timeout: float) -> Any:
        batches, until = self.app.batches, monotonic() + _ROOM_S
        while len(batches) >= _AHEAD and monotonic() < until and self.flow_active:
            await asyncio.sleep(_LOOK_S)
        records, active = await super()._wait_next_records(timeout)
        if not records or not self.flow_active:
            return records, active
        return {
            place: [batches.put(place.partition, found)]
            if place.topic == self.app.events and found
            else found
            for place, found in records.items()
        }, active

    async def seek_to_committed(self) -> Mapping[TP, int]:
        self.app.batches.clear()
        events = [place for place in self.assignment() if place.topic == self.app.events]
        places = {place: self.app.begins(place.partition) for place in events}
        if places:
            await self.seek_wait(places)
        return places


class _Transport(driver.Transport):
    Consumer = _Consumer
