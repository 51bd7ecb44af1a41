"""The Kafka clients that all shards and queues of one process share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock

from confluent_kafka import Consumer, KafkaException, TopicPartition

from processor.config import Settings
from processor.core.data.cause import Origin
from processor.errors import ShardUnavailable
from processor.kafka.clients.connection import READ_AHEAD, KafkaSettings
from processor.kafka.clients.faults import made, watermarks_of
from processor.kafka.clients.producing import Lasting, Producing
from processor.kafka.shards.inbox import INPUTS
from processor.kafka.shards.reading import InputReader
from processor.kafka.shards.reply_topics import ReplyTopics

__all__ = ("KafkaTransport",)

_ASK_S = 2.0
_LIST_S = 10.0


class KafkaTransport:
    """Clients are made when they are first needed: a worker of queues alone needs few of them.

    Two producers, because a first error stops the one of the log (see ``log_producer``), and an
    activity queue without a topic is no reason to stop it.
    """

    def __init__(self, connection: KafkaSettings, settings: Settings) -> None:
        self.connection = connection
        self.settings = settings
        self.too_large: set[Origin] = set()
        """Messages between instances that their topic refused: they go to dead letters."""

        self._lock = Lock()
        self._asks_lock = Lock()
        extra = connection.extra
        self._log = Lasting(
            lambda: self._wired(
                Producing(connection.log_producer(), extra, "the log", stop_at_error=True)
            ),
            self._lock,
        )
        self._sends = Lasting(
            lambda: self._wired(Producing(connection.producer(), extra, "effects")),
            self._lock,
        )
        self._reader: InputReader | None = None
        self._asks: Consumer | None = None
        self._closed = False
        self._wakes: list[Callable[[], None]] = []
        self.reply_topics = ReplyTopics(self._find_reply_topics)

    @property
    def log(self) -> Producing:
        """The producer of ``events``."""
        return self._log.get()

    @property
    def sends(self) -> Producing:
        """The producer of everything else that needs no transaction."""
        return self._sends.get()

    @property
    def reader(self) -> InputReader:
        with self._lock:
            if self._reader is None:
                sources = {self.connection.topic(name): source for source, name in INPUTS.items()}
                config = self.connection.consumer(
                    {
                        "isolation.level": "read_committed",
                        "queued.min.messages": 20_000,
                        **READ_AHEAD,
                    }
                )
                self._reader = InputReader(config, sources, self.settings.inbox_records_max)
            return self._reader

    def warm(self) -> None:
        """Make the shards' clients now, so that they are connected when the first shard is ours."""
        _ = (self.log, self.sends, self.reader)

    def wake_on_delivery(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` once after each round of acknowledgements. From any thread."""
        with self._lock:
            if wake in self._wakes:
                return
            self._wakes.append(wake)
            for producing in (self._log.made, self._sends.made):
                if producing is not None:
                    producing.wake_on_delivery(wake)

    def begin_pass(self) -> None:
        """Take in acknowledgements and inputs, and collect what is produced from now on.

        This, ``end_pass`` and ``watch`` are for the loop that runs the shards.
        """
        for producing in (self._log.made, self._sends.made):
            if producing is not None:
                producing.poll()
                producing.collect()
        if self._reader is not None:
            self._reader.poll()

    def end_pass(self) -> bool:
        """Hand over what was produced; take in what has arrived meanwhile, and say if it did."""
        arrived = 0
        for producing in (self._log.made, self._sends.made):
            if producing is not None:
                producing.flush()
                arrived += producing.poll()
        if self._reader is not None:
            arrived += self._reader.poll()
        return arrived > 0

    def wait(self, timeout_s: float) -> bool:
        """Wait for an acknowledgement of the log, if one is due."""
        made = self._log.made
        return made is not None and made.wait(timeout_s) > 0

    def watch(self) -> None:
        """Wake the loop when something arrives."""
        for client in (self._log.made, self._sends.made, self._reader):
            if client is not None:
                client.watch()

    def watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the first offset that is kept and the end, as the leader says. Blocks."""
        with self._asks_lock:
            return watermarks_of(self._asking(), TopicPartition(topic, partition))

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has, 0 where there is no such topic. Blocks."""
        with self._asks_lock:
            found = self._asking().list_topics(topic, _LIST_S).topics.get(topic)
        return 0 if found is None or found.error is not None else len(found.partitions)

    def _find_reply_topics(self) -> Mapping[str, int]:
        with self._asks_lock:
            found = self._asking().list_topics(timeout=_LIST_S).topics
        prefix = self.connection.topic("replies.")
        return {
            name: len(each.partitions) for name, each in found.items() if name.startswith(prefix)
        }

    def last_committed(self, place: TopicPartition) -> TopicPartition:
        """Return an offset of the shards' group, whatever an open transaction makes it. Blocks."""
        with self._asks_lock:
            [found] = self._asking().committed([place], _ASK_S)
        if found.error is not None:
            raise KafkaException(found.error)
        return found

    def close(self) -> None:
        """Stop everything. Blocks for a few seconds where brokers do not answer."""
        for client in (self._reader, self._log.made, self._sends.made):
            if client is not None:
                client.close()
        with self._asks_lock:
            self._closed = True
            if self._asks is not None:
                self._asks.close()
                self._asks = None

    def _asking(self) -> Consumer:
        if self._closed:  # a thread that reads a log whose broker is silent hears of it here
            raise ShardUnavailable("the worker was stopped")
        if self._asks is None:
            config = self.connection.consumer({"isolation.level": "read_uncommitted"})
            self._asks = made(Consumer, config)
        return self._asks

    def _wired(self, producing: Producing) -> Producing:
        for wake in self._wakes:
            producing.wake_on_delivery(wake)
        return producing
