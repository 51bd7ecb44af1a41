"""Sends records until they are delivered, and says why one is not."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError

from processor.codec.records import decode_as, encode
from processor.core.data.failure import shortened, writable
from processor.core.records.effects import DeadLetter
from processor.kafka.clients.backoff import Rounds
from processor.kafka.clients.connection import COMMAND_BYTES_MAX
from processor.kafka.clients.faults import MISSING, TOO_LARGE
from processor.kafka.clients.memory import memory_of
from processor.kafka.clients.record_producer import Outgoing, Produced
from processor.seldom import Seldom

if TYPE_CHECKING:
    from processor.kafka.transport import KafkaTransport

__all__ = ("ANY_PARTITION", "STUCK_MAX", "Sending", "StuckRecords", "Unsent", "fitting")

_log = logging.getLogger("processor.kafka")

ANY_PARTITION: Final = -1
STUCK_MAX: Final = 10_000
"""Tasks of a shard that may wait for the topics of their queues."""

_STUCK_BYTES_MAX: Final = 64_000_000
_LETTER_LEAST: Final = 1_000
"""A dead letter of so many bytes is not cut any more: its topic has to take it."""

_REASON_LEAST: Final = 300
_KEY_BYTES_MAX: Final = 10_000
_REASON_MAX: Final = 10_000
_NOTHING_ELSE: Final = (
    ". Until then the shard takes no command, report or timer: what comes after a record that "
    "cannot be used waits until that one is buried"
)
_RETRY_FIRST_S = 1.0
_RETRY_MAX_S = 5.0
_CALM_S = 30.0
_SAY_EVERY_S = 30.0


class Sending:
    """``sender`` names, in the log, who sends."""

    def __init__(self, transport: KafkaTransport, sender: str) -> None:
        self._transport = transport
        self._sender = sender
        self._dead_letters = transport.connection.topic("dead-letters")
        self._queue_prefix = transport.connection.topic("activities.")
        self._is_time = Seldom(_SAY_EVERY_S)
        self._is_time_to_bury = Seldom(_SAY_EVERY_S)
        self._rounds: dict[str, Rounds] = {}
        self._closed = False
        self.unsent = Unsent()
        self.stuck = StuckRecords()

    @property
    def unsent_bytes(self) -> int:
        """How much is on its way, but for what waits for the topic of a queue."""
        return self.unsent.bytes - self.stuck.bytes

    def send(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes,
        done: Callable[[], None],
        turn: int | None = None,
    ) -> None:
        """Send until a broker acknowledged it, then call ``done``, from any thread.

        ``turn`` is the log offset of the turn that it is a task of: see ``stuck``.
        """
        size = self.unsent.add(key, value)
        self._produce(_Sent(self, topic, partition, key, value, done, turn, size))

    def bury(self, letter: DeadLetter, done: Callable[[], None]) -> None:
        """Send to ``dead-letters``, cut to what that topic takes."""
        place = f"{letter.topic}/{letter.partition}/{letter.offset}".encode()
        self.send(self._dead_letters, ANY_PARTITION, place, encode(fitting(letter)), done)

    def close(self) -> None:
        """Give up what was not delivered yet."""
        self._closed = True

    def settled(self, sent: _Sent, error: KafkaError | None) -> None:
        """Go on with a record that a broker has taken or refused. From any thread."""
        if error is None:
            self._gone(sent)
            sent.done()
        elif not self._closed:
            if not self._is_for_good(sent, error):
                self._failed(sent, error)
            elif sent.topic == self._dead_letters:
                self._produce(replace(sent, value=_cut(sent.value), turn=None))
            else:
                self._bury_sent(sent, error)

    def _produce(self, sent: _Sent) -> None:
        topic, partition, key, value = sent.topic, sent.partition, sent.key, sent.value
        self._transport.sends.produce(topic, partition, key, value, sent.delivered)

    def _is_for_good(self, sent: _Sent, error: KafkaError) -> bool:
        """Return whether a record is not to be sent again as it is."""
        if error.code() in TOO_LARGE:
            shortest = len(sent.value) <= _LETTER_LEAST
            return not (sent.topic == self._dead_letters and shortest)
        if sent.turn is None or error.code() not in MISSING:
            return False
        return not self.stuck.takes(sent.turn, sent.key, sent.size)

    def _failed(self, sent: _Sent, error: KafkaError) -> None:
        """Say what is wrong, and send again."""
        topic = sent.topic
        if self._is_time(topic):
            reason, remedy = error.str(), self._remedy(topic, error)
            if topic == self._dead_letters:
                remedy += _NOTHING_ELSE
            _log.error("%s: sending to %s failed (%s). %s", self._sender, topic, reason, remedy)
        rounds = self._rounds.setdefault(
            topic, Rounds(_RETRY_FIRST_S, _RETRY_MAX_S, calm_s=_CALM_S)
        )
        outgoing = Outgoing(topic, sent.partition, sent.key, sent.value, sent.delivered)
        self._transport.sends.produce_later(outgoing, rounds.wait_s(monotonic()))

    def _remedy(self, topic: str, error: KafkaError) -> str:
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return (
                "Allow this process's user Write and Describe on that topic; it is sent again "
                "until then"
            )
        if error.code() in TOO_LARGE:
            return "Give the topic the max.message.bytes of `processor topics apply`"
        if error.code() not in MISSING:
            return "It is sent again until it is delivered"
        command = f"processor topics apply --namespace {self._transport.connection.namespace}"
        if not topic.startswith(self._queue_prefix):
            return f"The topic is missing: run `{command}`; it is sent again until then"
        queue = topic.removeprefix(self._queue_prefix)
        return (
            f"The activity queue {queue!r} has no topic: run `{command} --queue {queue}`, or "
            "correct the queue's name in the workflow. Its tasks wait until then and other work "
            f"goes on; beyond {STUCK_MAX:,} tasks they go to dead-letters"
        )

    def _bury_sent(self, sent: _Sent, error: KafkaError) -> None:
        """Dead-letter it instead."""
        topic, value = sent.topic, sent.value
        reason = f"{topic} refused {len(value):,} bytes as too large: {error.str()}"
        if error.code() in MISSING:
            reason = f"{topic} does not exist, and too many tasks wait for it"
        if self._is_time_to_bury():
            text = "%s: a record of %d bytes goes to dead-letters, as others may: %s. %s"
            _log.error(text, self._sender, len(value), reason, self._remedy(topic, error))
        letter = DeadLetter(topic, sent.partition, -1, sent.key, value, reason)
        self._gone(sent)
        self.bury(letter, sent.done)

    def _gone(self, sent: _Sent) -> None:
        self.unsent.gone(sent.size)
        if sent.turn is not None:
            self.stuck.delivered(sent.turn, sent.key)


@dataclass(slots=True)
class _Sent:
    """A record until a broker has it. ``size``: what it counts for in ``unsent``.

    A closure would name itself to be sent again: a cycle, which holds megabytes until the garbage
    collector comes.
    """

    sending: Sending
    topic: str
    partition: int
    key: bytes | None
    value: bytes
    done: Callable[[], None]
    turn: int | None
    size: int

    def delivered(self, error: KafkaError | None, _written: Produced | None) -> None:
        self.sending.settled(self, error)


class Unsent:
    """``bytes``: about how much memory records take that were handed over and no broker has."""

    def __init__(self) -> None:
        self.bytes = 0
        self._lock = Lock()

    def add(self, key: bytes | None, value: bytes) -> int:
        """Count a record; return what is to be given to ``gone`` once a broker has it."""
        size = memory_of(key, value)
        with self._lock:
            self.bytes += size
        return size

    def gone(self, size: int) -> None:
        """From any thread."""
        with self._lock:
            self.bytes -= size


class StuckRecords:
    """Tasks that wait for the topic of their queue, and the turns that they are of.

    What a shard may have in flight does not count them, so that other work goes on: they have a
    bound of their own. They stay owed: the next owner sends them again.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._tasks: dict[tuple[int, bytes | None], int] = {}
        self._turns: Counter[int] = Counter()
        self.bytes = 0

    @property
    def turns(self) -> int:
        return len(self._turns)

    def takes(self, turn: int, key: bytes | None, size: int) -> bool:
        """Note a task that has to wait; False where there are too many."""
        with self._lock:
            if (turn, key) in self._tasks:
                return True
            if len(self._tasks) >= STUCK_MAX or self.bytes + size > _STUCK_BYTES_MAX:
                return False
            self._tasks[turn, key] = size
            self._turns[turn] += 1
            self.bytes += size
            return True

    def delivered(self, turn: int, key: bytes | None) -> None:
        if not self._tasks:
            return
        with self._lock:
            size = self._tasks.pop((turn, key), None)
            if size is None:
                return
            self.bytes -= size
            self._turns[turn] -= 1
            if not self._turns[turn]:
                del self._turns[turn]


def _cut(value: bytes) -> bytes:
    """Return a dead letter of about half the size: its topic takes less than ours do."""
    letter = decode_as(DeadLetter, value)
    half = max(len(value) // 2 - len(letter.reason), 0)
    shorter = fitting(letter, half)
    if len(encode(shorter)) > len(value) * 3 // 4:  # its key and its reason are what is large
        key = letter.key and letter.key[: len(letter.key) // 2]
        shorter = replace(shorter, key=key, reason=shortened(shorter.reason, _REASON_LEAST))
    return encode(shorter)


def fitting(letter: DeadLetter, value_max: int = COMMAND_BYTES_MAX) -> DeadLetter:
    """Return a letter that its topic takes, with its key and its reason."""
    key, value, reason = letter.key, letter.value, writable(shortened(letter.reason, _REASON_MAX))
    if key is not None and len(key) > _KEY_BYTES_MAX:
        reason += f" (the first {_KEY_BYTES_MAX:,} of {len(key):,} bytes of the key are here)"
        key = key[:_KEY_BYTES_MAX]
    if value is not None and len(value) > value_max:
        reason += f" (the first {value_max:,} of {len(value):,} bytes are here)"
        value = value[:value_max]
    return replace(letter, key=key, value=value, reason=reason)
