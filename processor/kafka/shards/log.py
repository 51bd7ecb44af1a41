"""The ``Log`` port: one partition of ``events``."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from processor.errors import LogTruncated, PayloadTooLarge, ProcessorError, TopicsNotReady
from processor.kafka.clients.connection import LOG_RECORD_BYTES_MAX, KafkaSettings
from processor.kafka.clients.faults import MISSING, TOO_LARGE, TRUNCATED, forbidding, made
from processor.kafka.clients.producing import Producing
from processor.kafka.clients.record_producer import Delivered, Produced
from processor.shard.ports import LogRecord

__all__ = ("KafkaLog", "KafkaLogReader", "LogNotWritable")

_log = logging.getLogger("processor.kafka")

_READ_BATCH = 5_000
_ALONG_BATCH = 50
_RECORD_OVERHEAD_BYTES = 1_024
_SILENT_S = 10.0
_SHORT_LOG_S = 30.0


class LogNotWritable(ProcessorError):
    """Kafka refused a record of the log: the shard is given up and taken over again."""


class KafkaLogReader:
    """Reads one partition of ``events``; ``watermarks`` asks its leader for its bounds."""

    def __init__(
        self,
        connection: KafkaSettings,
        partition: int,
        watermarks: Callable[[str, int], tuple[int, int]],
    ) -> None:
        self._connection = connection
        self._topic = connection.events
        self._partition = partition
        self._watermarks = watermarks

    def read(self, first: int, end: int) -> Iterator[LogRecord]:
        """Yield what is kept of [first, end); compacted records are simply not there.

        The end is found by ``position``, never by the last record seen: compaction may have
        removed the last records before ``end``.
        """
        return (each for each in self._records(first, end) if each is not None)

    def _records(
        self, first: int, end: int, wait_s: float = 0.5, batch: int = _READ_BATCH
    ) -> Iterator[LogRecord | None]:
        """Yield records, and None where none has arrived within ``wait_s``."""
        if first >= end:
            return
        consumer = made(Consumer, self._reader_config())
        place = TopicPartition(self._topic, self._partition, first)
        try:
            consumer.assign([place])
            patience = _Patience(f"{self._topic}[{self._partition}]", end, self.bounds)
            position = first
            while position < end:
                head = consumer.poll(wait_s)
                messages = [] if head is None else [head, *consumer.consume(batch, 0)]
                for message in messages:
                    if message.error() is not None:
                        position = max(position, self._end_or_error(message))
                        continue
                    offset: int = message.offset()  # type: ignore[assignment]
                    if offset >= end:
                        return
                    yield LogRecord(offset, message.key() or b"", message.value())
                position = max(position, consumer.position([place])[0].offset)
                patience.check(position, bool(messages))
                if head is None:
                    yield None
        finally:
            consumer.close()

    def bounds(self) -> tuple[int, int]:
        return self._watermarks(self._topic, self._partition)

    def _reader_config(self) -> dict[str, Any]:
        """``fetch.wait.max.ms`` bounds how long the broker keeps the news that the end is reached.

        Turns are never transactional, and a transaction somebody left open must not hide them.
        """
        return self._connection.consumer(
            {
                "isolation.level": "read_uncommitted",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,
                "fetch.message.max.bytes": 8_388_608,
                "fetch.max.bytes": 67_108_864,
                "queued.min.messages": 200_000,
                "queued.max.messages.kbytes": 131_072,
            }
        )

    def _end_or_error(self, message: Message) -> int:
        """Return the position that an end-of-partition event tells; raise for a real error."""
        error = message.error()
        assert error is not None, "called for errors"
        if error.code() == KafkaError._PARTITION_EOF:
            return message.offset() or 0
        place = f"{self._topic}[{self._partition}]"
        if error.code() in TRUNCATED:
            low, high = self.bounds()
            raise LogTruncated(
                f"{place} holds offsets {low} to {high} and not what the shard needs "
                f"({error.str()}): records were deleted, or the topic was made again"
            )
        if error.code() in MISSING:
            raise TopicsNotReady(f"{place} does not exist. Run `processor topics check`")
        if error.fatal():
            raise KafkaException(error)
        _log.warning("reading %s: %s", place, forbidding(error))
        return 0


class KafkaLog(KafkaLogReader):
    """``producing`` is the process's producer of ``events``; it stops for all at a first error.

    ``id`` is the topic id of ``events``.
    """

    def __init__(
        self,
        connection: KafkaSettings,
        partition: int,
        id: bytes,
        producing: Producing,
        watermarks: Callable[[str, int], tuple[int, int]],
    ) -> None:
        super().__init__(connection, partition, watermarks)
        self.id = id
        self._producing = producing
        self._acknowledged: deque[int] = deque()
        self._failure: ProcessorError | None = None
        self._delivered = self._new_callback()

    def append(self, key: bytes, value: bytes | None) -> None:
        if self._failure is not None:
            raise self._failure
        size = len(key) + len(value or b"") + _RECORD_OVERHEAD_BYTES
        if size > LOG_RECORD_BYTES_MAX:
            raise PayloadTooLarge(
                f"a turn of {size:,} bytes does not fit into {self._topic}: the limit of a record "
                f"is {LOG_RECORD_BYTES_MAX:,} bytes. Ask for less at once"
            )
        self._producing.produce(self._topic, self._partition, key, value, self._delivered)

    def read_along(self, first: int, end: int) -> Iterator[LogRecord | None]:
        return self._records(first, end, 0.0, _ALONG_BATCH)

    @property
    def waiting(self) -> bool:
        return bool(self._acknowledged) or self._failure is not None

    def acknowledged(self) -> Sequence[int]:
        if self._failure is not None:
            raise self._failure
        offsets = self._acknowledged
        return [offsets.popleft() for _ in range(len(offsets))]

    def _new_callback(self) -> Delivered:
        """Return the callback of every append: it is called once a record, so it does little."""
        acknowledge = self._acknowledged.append

        def delivered(error: KafkaError | None, written: Produced | None) -> None:
            if error is not None:
                self._fail(error)
                return
            offset = written.offset()  # type: ignore[union-attr]
            acknowledge(-1 if offset is None or offset < 0 else offset)

        return delivered

    def _fail(self, error: KafkaError) -> None:
        """Note why; the cause replaces what only follows from it (fatal, purged)."""
        self._producing.fail(error)
        if self._failure is not None and error.code() not in MISSING | TOO_LARGE:
            return
        place = f"{self._topic}[{self._partition}]"
        if error.code() in MISSING:
            self._failure = TopicsNotReady(
                f"{place} does not exist ({error.str()}). If it was deleted, the workflows in it "
                "are lost; run `processor topics check`"
            )
        elif error.code() in TOO_LARGE:
            self._failure = LogNotWritable(
                f"{place} refused a turn as too large ({error.str()}): its max.message.bytes is "
                f"below {LOG_RECORD_BYTES_MAX}. Run `processor topics apply`"
            )
        else:
            self._failure = LogNotWritable(
                f"{place} could not be appended to ({error.name()}: {forbidding(error)}); the "
                "shard is given up, and taken over again if it is still ours"
            )


class _Patience:
    """Says when a read makes no progress, and gives up a log that ends before what it held."""

    def __init__(self, place: str, end: int, bounds: Callable[[], tuple[int, int]]) -> None:
        self._place = place
        self._end = end
        self._bounds = bounds
        self._position = -1
        self._since = self._said = monotonic()

    def check(self, position: int, answered: bool) -> None:
        now = monotonic()
        if position != self._position:
            self._position, self._since = position, now
            return
        if answered:
            return
        silent_s = now - self._since
        if now - max(self._since, self._said) > _SILENT_S:
            self._said = now
            _log.warning(
                "%s: nothing arrives at offset %d of %d for %.0f s; does its leader answer?",
                self._place,
                position,
                self._end,
                silent_s,
            )
            low, high = self._bounds()
            if silent_s > _SHORT_LOG_S and high < self._end:
                raise LogTruncated(
                    f"{self._place} holds offsets {low} to {high}, but offset {self._end - 1} was "
                    "acknowledged before: its end was lost (unclean leader election, a disk), or "
                    "the topic was made again"
                )
