"""Reads the inputs of all shards of a process: one consumer, one thread, manual assignment.

A consumer of confluent-kafka serves one call at a time: while one thread polls, a call from
another waits for its turn and may never get it (measured with 2.16: a second thread's ``pause``
beside a tight loop of ``poll`` did not return). So everything here is asked of the one thread,
or, while that is parked, of the event loop (see ``serving``): ``poll`` and ``watch``.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import Future
from threading import Thread
from time import sleep
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from processor.core.records.turn import Source
from processor.errors import LogTruncated, ProcessorError, TopicsNotReady
from processor.kafka.clients.faults import MISSING, TRUNCATED, forbidding, made, watermarks_of
from processor.kafka.clients.memory import memory_of_message
from processor.kafka.clients.serving import Serving

__all__ = ("InputReader", "Stream")

_log = logging.getLogger("processor.kafka")

_POLL_S = 0.05
_POLL_PAUSED_S = 0.005
_BATCH = 500
"""Records that are taken at once: of the largest they are 1 GB, which librdkafka never holds."""

_BYTES_MAX = 64_000_000
"""What is read ahead for one shard; as with ``inbox_records_max``, its inputs pause then."""

_OPEN_S = 30.0
_HELD_S = 3.0
_AFTER_A_BUG_S = 1.0


class Stream:
    """What has arrived for one shard. ``records`` is filled by the reader and emptied by the shard.

    ``error`` says why nothing more will arrive.
    """

    def __init__(self, places: Sequence[TopicPartition], wake: Callable[[], None]) -> None:
        self.places = places
        self.wake = wake
        self.records: deque[tuple[Source, Message]] = deque()
        self.bytes_in = self.bytes_out = 0  # one is the reader's, the other the shard's
        self.error: ProcessorError | None = None
        self.paused = False
        self.resuming = False

    @property
    def bytes(self) -> int:
        return self.bytes_in - self.bytes_out

    def arrived(self, source: Source, message: Message) -> None:
        self.bytes_in += memory_of_message(message)
        self.records.append((source, message))

    def take(self) -> tuple[Source, Message]:
        source, message = self.records.popleft()
        self.bytes_out += memory_of_message(message)
        return source, message

    def wants_resume(self, below: int) -> bool:
        few = len(self.records) < below and self.bytes < _BYTES_MAX // 2
        return self.paused and not self.resuming and few


class InputReader:
    """``sources`` are the inputs by their topics' full names. Thread-safe."""

    def __init__(
        self, config: dict[str, Any], sources: Mapping[str, Source], records_max: int
    ) -> None:
        self._sources = sources
        self._records_max = records_max
        self._requests: deque[Callable[[], None]] = deque()
        self._streams: dict[tuple[str, int], Stream] = {}
        self._paused: set[Stream] = set()
        self._closed = False
        self._serving = Serving()
        self._thread = Thread(target=self._run, name="kafka inputs", daemon=True)
        self._consumer = made(Consumer, config)
        self._thread.start()

    def poll(self) -> int:
        """Take in what has arrived, without waiting; return how much that was.

        Nothing arrives at a reader that is closed: a shard may ask that is not given up in time.
        """
        if self._closed or not self._serving.begin():
            return 0
        try:
            self._serve_requests()
            messages = self._consumer.consume(_BATCH, 0)
            self._sort(messages)
        except KafkaException as error:
            _log.warning("reading inputs: %s", error)
            return 1
        except Exception as error:  # as on the thread
            self._broke(error)
            return 1
        finally:
            self._serving.end()
        return len(messages)

    def watch(self) -> None:
        """Let the thread wait for what arrives; it wakes the shards."""
        self._serving.watch()

    def open(self, places: Sequence[TopicPartition], wake: Callable[[], None]) -> Stream:
        """Begin to read at the offsets of ``places``. Blocks until the consumer took them."""
        stream = Stream(places, wake)
        done: Future[None] = Future()

        def assign() -> None:
            try:
                self._consumer.incremental_assign(list(places))
            except KafkaException as error:
                done.set_exception(error)
                return
            for place in places:
                self._streams[place.topic, place.partition] = stream
            done.set_result(None)

        self._requests.append(assign)
        done.result(_OPEN_S)
        return stream

    def taken(self, stream: Stream) -> None:
        """Go on with a stream that was paused because it was full, if it is half empty now."""

        def resume() -> None:
            if self._owns(stream):
                self._consumer.resume(list(stream.places))
            stream.paused = stream.resuming = False
            self._paused.discard(stream)

        if stream.wants_resume(self._records_max // 2):
            stream.resuming = True
            self._requests.append(resume)

    def close_stream(self, stream: Stream) -> None:
        def unassign() -> None:
            if self._owns(stream):
                for place in stream.places:
                    del self._streams[place.topic, place.partition]
                if stream.paused:  # it would stay paused for whoever opens it next
                    self._consumer.resume(list(stream.places))
                self._consumer.incremental_unassign(list(stream.places))
            self._paused.discard(stream)

        self._requests.append(unassign)

    def close(self) -> None:
        """Stop reading. Blocks shortly."""
        self._closed = True
        self._serving.leave_to_thread()
        self._thread.join(5.0)

    # --- the reader's thread --------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed:
            try:
                with self._serving:
                    wakes = self._read()
                if wakes:
                    self._serving.arrived()
                    for wake in wakes:
                        wake()
                    self._serving.park()
            except Exception as error:  # what was read may be lost: all begin again where they were
                self._broke(error)
                sleep(_AFTER_A_BUG_S)
        self._consumer.close()

    def _broke(self, error: Exception) -> None:
        _log.exception("a bug in reading the inputs")
        for stream in set(self._streams.values()):
            stream.error = ProcessorError(
                f"reading the inputs failed: {error!r}. The shard begins again at the last record "
                "that it took; the log has the traceback"
            )
            stream.wake()

    def _read(self) -> Set[Callable[[], None]]:
        """Wait for what arrives next; return whom to wake."""
        self._serve_requests()
        try:
            first = self._consumer.poll(_POLL_PAUSED_S if self._paused else _POLL_S)
            if first is None:
                return frozenset()
            return self._sort([first, *self._consumer.consume(_BATCH, 0)])
        except KafkaException as error:
            _log.warning("reading inputs: %s", error)
            return frozenset()

    def _serve_requests(self) -> None:
        while self._requests:
            request = self._requests.popleft()
            try:
                request()
            except KafkaException as error:
                _log.warning("the reader of the inputs was refused: %s", error)

    def _owns(self, stream: Stream) -> bool:
        place = stream.places[0]
        return self._streams.get((place.topic, place.partition)) is stream

    def _sort(self, messages: Sequence[Message]) -> Set[Callable[[], None]]:
        """Give each stream its messages; return whom to wake."""
        touched: set[Stream] = set()
        streams, sources = self._streams, self._sources
        for message in messages:
            topic = message.topic()
            stream = streams.get((topic, message.partition()))  # type: ignore[arg-type]
            error = message.error()
            if error is not None:
                self._note_error(stream, topic, message, error)
            elif stream is not None and stream.error is None:
                stream.arrived(sources[topic], message)  # type: ignore[index]
            if stream is not None:
                touched.add(stream)
        wakes = set()
        for stream in touched:
            wakes.add(stream.wake)
            full = len(stream.records) >= self._records_max or stream.bytes >= _BYTES_MAX
            if full and not stream.paused:
                stream.paused = True
                self._paused.add(stream)
                self._consumer.pause(list(stream.places))
        return wakes

    def _note_error(
        self, stream: Stream | None, topic: str | None, message: Message, error: KafkaError
    ) -> None:
        if stream is None:
            _log.info("reading inputs: %s", error.str())
            return
        place = f"{topic}[{message.partition()}]"
        if error.code() in TRUNCATED:
            stream.error = LogTruncated(
                f"{place}: its shard reads offset {message.offset()} next, but it holds "
                f"{self._held(topic, message.partition())} ({error.str()}): records were deleted "
                "before they were read, or the topic was made again. Nothing was skipped. If the "
                "loss is intended, begin again in a new namespace"
            )
        elif error.code() in MISSING:
            stream.error = TopicsNotReady(
                f"{place} does not exist any more ({error.str()}): it was deleted while its shard "
                "was reading it. Run `processor topics check`"
            )
        else:
            _log.warning("reading %s: %s", place, forbidding(error))

    def _held(self, topic: str | None, partition: int | None) -> str:
        """Return what a partition holds, in words."""
        try:
            place = TopicPartition(topic or "", partition or 0)
            low, high = watermarks_of(self._consumer, place, _HELD_S)
        except KafkaException as error:
            return f"other ones, and which is not known ({error})"
        return f"offsets {low} to {high}"
