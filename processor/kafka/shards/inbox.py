"""The ``Inbox`` port: the three input partitions of one shard, decoded.

What cannot be used is not dropped and stops nobody: it comes out as a ``DeadLetter`` in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from confluent_kafka import Message, TopicPartition

from processor.codec.inputs import decode_input, envelope_of
from processor.core.inputs import ClientCommand, Input
from processor.core.nouns.start import StartRun
from processor.core.records.effects import DeadLetter
from processor.core.records.turn import Positions, Source
from processor.errors import LogTruncated, SchemaMismatch, TooNew
from processor.kafka.clients.connection import PARTITIONER_HINT, partition_of
from processor.kafka.shards.reading import InputReader, Stream
from processor.shard.ports import InboxRecord

__all__ = ("INPUTS", "KafkaInbox")

INPUTS: Final[dict[Source, str]] = {
    "commands": "commands",
    "results": "activity-results",
    "timers": "timers",
}
"""The topic of each input, in the order of the fields of ``Positions``."""

Watermarks = Callable[[str, int], tuple[int, int]]


class KafkaInbox:
    """``topics`` are the full names of ``INPUTS``; ``watermarks`` asks a topic's leader."""

    def __init__(
        self,
        partition: int,
        partitions: int,
        topics: Sequence[str],
        reader: InputReader,
        watermarks: Watermarks,
        wake: Callable[[], None],
    ) -> None:
        self._partition = partition
        self._partitions = partitions
        self._topics = topics
        self._reader = reader
        self._watermarks = watermarks
        self._wake = wake
        self._stream: Stream | None = None
        self._closed = False
        self._next_command = -1

    @property
    def next_command(self) -> int:
        """The offset in ``commands`` that is taken next, -1 where it is not known; for lag."""
        return self._next_command

    def open(self, positions: Positions) -> None:
        places = []
        for topic, position in zip(self._topics, positions, strict=True):
            self._check(topic, position)
            places.append(TopicPartition(topic, self._partition, position))
        self._next_command = positions.commands
        self._stream = self._reader.open(places, self._wake)
        if self._closed:  # the shard was revoked while its takeover blocked here
            self.close()

    @property
    def waiting(self) -> bool:
        stream = self._stream
        return stream is not None and (bool(stream.records) or stream.error is not None)

    def take(self, count: int) -> Sequence[InboxRecord]:
        stream = self._stream
        if stream is None:
            return ()
        records = stream.records
        taken = []
        for _ in range(min(count, len(records))):
            source, message = stream.take()
            offset = message.offset()
            assert offset is not None, "a message without an error has an offset"
            if source == "commands":
                self._next_command = offset + 1
            taken.append(self._decoded(source, message, offset))
        if stream.paused:
            self._reader.taken(stream)
        if stream.error is not None and not taken:
            raise stream.error
        return taken

    def close(self) -> None:
        self._closed = True
        if self._stream is not None:
            self._reader.close_stream(self._stream)
            self._stream = None

    def _check(self, topic: str, position: int) -> None:
        low, high = self._watermarks(topic, self._partition)
        if low <= position <= high:
            return
        lost = (
            f"records {position} to {low - 1} were deleted before they were read"
            if position < low
            else "the topic was made again, or lost its end"
        )
        raise LogTruncated(
            f"{topic}[{self._partition}]: the shard has read it up to offset {position}, but it "
            f"holds offsets {low} to {high}: {lost}. Nothing was skipped. If the loss is intended, "
            "begin again in a new namespace"
        )

    def _decoded(self, source: Source, message: Message, offset: int) -> InboxRecord:
        key, value = message.key(), message.value()
        try:
            if value is None:
                raise SchemaMismatch("it has no value; tombstones mean nothing here")
            return InboxRecord(source, offset, self._checked(source, key, value))
        except SchemaMismatch as error:
            reason, topic = str(error), INPUTS[source]
            letter = DeadLetter(topic, self._partition, offset, key, value, reason)
            envelope = envelope_of(key, value or b"") if source == "commands" else None
            told = "TooNew" if isinstance(error, TooNew) else "CommandRejected"
            return InboxRecord(source, offset, letter, envelope, told)

    def _checked(self, source: Source, key: bytes | None, value: bytes) -> Input:
        input = decode_input(source, key, value)
        self._check_key(input.workflow_id, key)
        if isinstance(input, ClientCommand) and isinstance(input.body, StartRun):
            self._check_partition(input.workflow_id)
        return input

    def _check_key(self, workflow_id: str, key: bytes | None) -> None:
        if (key or b"") != workflow_id.encode():
            raise SchemaMismatch(
                f"the record's key is {key!r} and its workflow id {workflow_id!r}; the key must be "
                "the workflow id, because it decides the partition"
            )

    def _check_partition(self, workflow_id: str) -> None:
        """Refuse a start elsewhere: its events and signals would go to another shard."""
        right = partition_of(workflow_id, self._partitions)
        if right != self._partition:
            raise SchemaMismatch(
                f"workflow id {workflow_id!r} belongs to partition {right}, and it was produced to "
                f"partition {self._partition}; {PARTITIONER_HINT}"
            )
