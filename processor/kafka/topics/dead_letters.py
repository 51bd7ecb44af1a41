"""The records of ``dead-letters``: what they are, and sending them again to where they came from.

A letter is replayed in a transaction, together with a record that says so: its key is
``replayed/`` and the letter's offset, and it has no value. Whoever replays has the same
transactional id, and reads these records once all others are shut out. So a letter is replayed
once, whoever asks for it, however often, and whatever dies in between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from time import monotonic, sleep
from typing import Any, Final

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from processor.checks import is_topic
from processor.codec.inputs import decode_command
from processor.codec.records import decode_as, encode
from processor.core.data.cause import NamedRequest, Origin
from processor.core.records.effects import DeadLetter
from processor.errors import SchemaMismatch, ShardUnavailable, TopicsNotReady
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.faults import FORBIDDEN, MISSING, ends_of, made, watermarks_of
from processor.kafka.clients.headers import Headers, headers_of
from processor.kafka.connecting.letters import CONNECTION_HEADER
from processor.kafka.publishing.writing import NAMESPACE_HEADER, RESULT_HEADERS, TOPIC_HEADER
from processor.node.publishing.undeliverable import OWN_TOPIC

__all__ = ("DeadLetters", "Kept", "LetterOutcome")

_CALL_S: Final = 30.0
_SETTLED_S: Final = 20.0
"""A publisher's transaction is over by then: its time-out is 15 s."""

_LOOK_S: Final = 0.1
_BATCH_MAX: Final = 500
_BATCH_BYTES_MAX: Final = 8_000_000
_REPLAYED_KEY: Final = re.compile(rb"replayed/(\d{1,19})")
_CUT: Final = re.compile(r"\(the first [\d,]+ of [\d,]+ bytes (of the key )?are here\)")


@dataclass(frozen=True)
class Kept:
    """One dead letter. ``topic`` is the full name of the topic that its record is for, or was of.

    ``why_not``: why it cannot be replayed, empty where it can. ``connection`` is the group of the
    connection that could not use the record, if it was one; ``headers`` are the letter's.
    """

    offset: int
    time_ms: int
    topic: str
    letter: DeadLetter
    replayed: bool
    why_not: str
    connection: bytes | None = None
    headers: Headers = field(default_factory=list)


@dataclass(frozen=True)
class LetterOutcome:
    """What became of one letter: "replayed", "replayed before", or why it was not."""

    offset: int
    topic: str
    outcome: str


class DeadLetters:
    """The letters of a namespace. All methods block."""

    def __init__(self, connection: KafkaSettings) -> None:
        self._connection = connection
        self._topic = connection.topic("dead-letters")
        self._done: Set[int] = frozenset()
        self._closed: dict[str, KafkaError] = {}

    def read(self) -> Iterator[Kept]:
        """Yield all letters, the oldest first."""
        replayed = self._replayed()
        for message in self._messages():
            if (kept := self._kept(message, replayed)) is not None:
                yield kept

    def replay(self, wanted: Callable[[Kept], bool]) -> Iterator[LetterOutcome]:
        """Send the letters that are wanted to their topics, and yield what becomes of each."""
        self._closed.clear()
        self._begin()
        batch: list[Kept] = []
        size = 0
        for kept in self.read():
            if not wanted(kept):
                continue
            why_not = kept.why_not or self._never(kept.topic)
            if kept.replayed or why_not:
                said = "replayed before" if kept.replayed else why_not
                yield LetterOutcome(kept.offset, kept.topic, said)
                continue
            batch.append(kept)
            size += len(kept.letter.value or b"")
            if len(batch) >= _BATCH_MAX or size >= _BATCH_BYTES_MAX:
                yield from self._sent(batch)
                batch, size = [], 0
        yield from self._sent(batch)

    def _sent(self, batch: Sequence[Kept]) -> Iterator[LetterOutcome]:
        """Send a batch together, or one by one if that fails."""
        whole = self._tried(batch) if batch else None
        for kept in batch:
            error = whole
            if whole is not None and len(batch) > 1:
                error = self._closed.get(kept.topic) or self._tried([kept])
            said = "replayed" if error is None else f"{error.name()}: {error.str()}"
            yield LetterOutcome(kept.offset, kept.topic, said)

    def _tried(self, batch: Sequence[Kept]) -> KafkaError | None:
        """Send letters together; return why they are not there, all of them."""
        batch = [kept for kept in batch if kept.offset not in self._done]
        error = self._transact(self._begun, batch) if batch else None
        if error is None:
            return None
        self._begin()
        self._done = self._replayed()  # whether it was committed may not be known
        if all(kept.offset in self._done for kept in batch):
            return None
        if len(batch) == 1 and error.code() in MISSING | FORBIDDEN:
            self._closed[batch[0].topic] = error
        return error

    def _begin(self) -> None:
        """Make the producer of replays; whoever replayed until now is shut out."""
        name = f"{self._connection.namespace}.dead-letters.replay"
        self._begun = made(Producer, self._connection.transactional_producer(name))
        try:
            self._begun.init_transactions(_CALL_S)
        except KafkaException as error:
            raise ShardUnavailable(f"replaying cannot begin: {error}") from error
        self._until_settled()

    def _until_settled(self) -> None:
        """Wait until no transaction is open on the topic: it hides which letters were replayed."""
        admin, place = made(AdminClient, self._connection.admin()), TopicPartition(self._topic, 0)
        deadline = monotonic() + _SETTLED_S
        while True:
            try:
                stable = ends_of(admin, [place], _CALL_S, committed=True)
                ends = ends_of(admin, [place], _CALL_S)
            except KafkaException as error:
                raise self._unreadable(error.args[0]) from error
            if stable[place] >= ends[place]:
                return
            if monotonic() > deadline:
                raise ShardUnavailable(
                    f"a transaction is open on {self._topic} at offset {stable[place]}, and hides "
                    "which letters were replayed, so nothing is replayed now. Try again when "
                    "whoever writes there is done. To find and end a transaction that nobody ends: "
                    f"`kafka-transactions.sh --bootstrap-server {self._connection.servers} "
                    "find-hanging --broker-id N`, and its `abort`"
                )
            sleep(_LOOK_S)

    def _transact(self, producer: Producer, batch: Sequence[Kept]) -> KafkaError | None:
        """Send letters together; return what went wrong. The producer is of no use then."""
        refused: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                refused.append(error)

        try:
            producer.begin_transaction()
            for kept in batch:
                self._produce(producer, kept, delivered)
                mark = b"replayed/%d" % kept.offset
                producer.produce(self._topic, None, mark, on_delivery=delivered)
            producer.commit_transaction(_CALL_S)
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            with suppress(KafkaException):  # else the next producer of this name ends it
                producer.abort_transaction(_CALL_S)
            return refused[0] if refused else cause
        return None

    def _produce(
        self,
        producer: Producer,
        kept: Kept,
        delivered: Callable[[KafkaError | None, Message], None],
    ) -> None:
        letter, topic = kept.letter, kept.topic
        if kept.connection is not None:  # for the connection alone: the topic has it already
            retries, headers = self._connection.topic("connect-retries"), kept.headers
            producer.produce(
                retries, encode(letter), kept.connection, -1, delivered, headers=headers
            )
            return
        value, partition = letter.value, -1
        if topic == self._connection.topic("commands") or NAMESPACE_HEADER in dict(kept.headers):
            value = _identified(kept)
        elif topic in (
            self._connection.topic("timers"),
            self._connection.topic("activity-results"),
        ):
            partition = letter.partition
        headers = RESULT_HEADERS if topic == self._connection.topic("results") else []
        producer.produce(topic, value, letter.key, partition, delivered, headers=headers)

    # --- reading ----------------------------------------------------------------------------------

    def _replayed(self) -> Set[int]:
        found = set()
        for message in self._messages():
            key = _REPLAYED_KEY.fullmatch(message.key() or b"")
            if message.value() is None and key is not None:
                found.add(int(key[1]))
        return found

    def _messages(self) -> Iterator[Message]:
        """Yield what the topic holds, up to where it ends now."""
        config = self._connection.consumer(
            {"isolation.level": "read_committed", "enable.partition.eof": True}
        )
        consumer = made(Consumer, config)
        try:
            low, high = watermarks_of(consumer, TopicPartition(self._topic, 0), _CALL_S)
            consumer.assign([TopicPartition(self._topic, 0, low)])
            while low < high:
                message = consumer.poll(_CALL_S)
                if message is None:
                    raise ShardUnavailable(f"{self._topic} did not answer within {_CALL_S:g} s")
                if (error := message.error()) is None:
                    low = (message.offset() or 0) + 1
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    return
                else:
                    raise KafkaException(error)
        except KafkaException as error:
            raise self._unreadable(error.args[0]) from error
        finally:
            consumer.close()

    def _unreadable(self, error: KafkaError) -> Exception:
        if error.code() in MISSING:
            name = self._connection.namespace
            return TopicsNotReady(
                f"{self._topic} does not exist: run `processor topics apply --namespace {name}`"
            )
        return ShardUnavailable(f"{self._topic} cannot be read: {error.str()}")

    def _kept(self, message: Message, replayed: Set[int]) -> Kept | None:
        offset, value = message.offset() or 0, message.value()
        if value is None:
            return None
        try:
            letter = decode_as(DeadLetter, value)
            headers: Any = headers_of(message)
        except SchemaMismatch as error:
            letter = DeadLetter(self._topic, 0, offset, message.key(), value, str(error))
            why_not = "it is no dead letter"
            return Kept(offset, message.timestamp()[1], self._topic, letter, False, why_not)
        found = dict(headers)
        named, connection = found.get(TOPIC_HEADER), found.get(CONNECTION_HEADER)
        topic = self._full_name(letter.topic) if named is None else named.decode(errors="replace")
        why_not = _why_not(letter, published=named is not None)
        place = offset, message.timestamp()[1], topic
        return Kept(*place, letter, offset in replayed, why_not, connection, headers)

    def _never(self, topic: str) -> str:
        """Return why no record of ours can be for a topic, empty where one can."""
        if not is_topic(topic):
            return "it names what can be no topic"
        never = {self._connection.topic(name) for name in ("events", "dead-letters", "replies")}
        refused = topic in never or topic.startswith(("__", self._connection.topic("replies.")))
        return f"no record is replayed to {topic}" if refused else ""

    def _full_name(self, topic: str) -> str:
        """Return a topic of the namespace's; some letters have its full name, others not."""
        prefix = f"{self._connection.namespace}."
        return topic if topic.startswith(prefix) else prefix + topic


def _why_not(letter: DeadLetter, *, published: bool) -> str:
    if _CUT.search(letter.reason):
        return "the letter has only a part of the record"
    if published:
        return OWN_TOPIC if letter.reason.endswith(OWN_TOPIC) else ""
    if letter.topic == "commands" and letter.partition < 0:
        return "it is the payload of an event: send it with `processor event`"
    if letter.topic in ("timers", "activity-results") and letter.partition < 0:
        return "it does not say which shard it is for"
    if letter.topic == "activities":
        return "its queue can have no topic"
    return "" if letter.value is not None else "the record has no value"


def _identified(kept: Kept) -> bytes | None:
    """Return a command with another id: the one that it had may have counted.

    The id is that of the record that was buried. A crash can bury one record twice, and two letters
    are one request then.
    """
    letter = kept.letter
    try:
        command = decode_command(letter.key, letter.value or b"")
    except SchemaMismatch:
        return letter.value
    match command.cause:
        case _ if letter.offset >= 0:
            place = f"{letter.partition}/{letter.offset}"
        case Origin(log, shard, offset, index):
            place = f"{log.hex()}/{shard}/{offset}/{index}"
        case _:
            place = f"letter/{kept.offset}"
    cause = NamedRequest(f"dead-letters/{place}")
    return encode(replace(command, cause=cause, again=False, reply_to=None))
