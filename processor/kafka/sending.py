"""Sends records until they are delivered, and says why one is not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError

from processor.codec.records import encode
from processor.core.effects import DeadLetter
from processor.core.failure import shortened, writable
from processor.kafka.backoff import Rounds
from processor.kafka.connection import COMMAND_BYTES_MAX
from processor.kafka.faults import MISSING, TOO_LARGE
from processor.kafka.record_producer import Outgoing, Written

if TYPE_CHECKING:
    from processor.kafka.transport import KafkaTransport

__all__ = ("ANY_PARTITION", "Sending", "fitting")

_log = logging.getLogger("processor.kafka")

ANY_PARTITION: Final = -1
_KEY_BYTES_MAX: Final = 10_000
_REASON_MAX: Final = 10_000
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
        self._said: dict[str, float] = {}
        self._rounds: dict[str, Rounds] = {}
        self._closed = False

    def send(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes,
        done: Callable[[], None],
    ) -> None:
        """Send until a broker acknowledged it, then call ``done``, from any thread."""

        def delivered(error: KafkaError | None, _written: Written | None) -> None:
            if error is None:
                done()
            elif not self._closed:
                self._failed(Outgoing(topic, partition, key, value, delivered), error)

        self._transport.sends.produce(topic, partition, key, value, delivered)

    def bury(self, letter: DeadLetter, done: Callable[[], None]) -> None:
        """Send to ``dead-letters``, cut to what that topic takes."""
        place = f"{letter.topic}/{letter.partition}/{letter.offset}".encode()
        self.send(self._dead_letters, ANY_PARTITION, place, encode(fitting(letter)), done)

    def close(self) -> None:
        """Give up what was not delivered yet."""
        self._closed = True

    def _failed(self, outgoing: Outgoing, error: KafkaError) -> None:
        """Say what is wrong, and send again; or bury what its topic can never take."""
        topic = outgoing.topic
        if error.code() in TOO_LARGE and topic != self._dead_letters:
            self._bury_outgoing(outgoing, error)
            return
        if monotonic() - self._said.get(topic, -_SAY_EVERY_S) >= _SAY_EVERY_S:
            self._said[topic] = monotonic()
            reason, remedy = error.str(), self._remedy(topic, error)
            _log.error("%s: sending to %s failed (%s). %s", self._sender, topic, reason, remedy)
        rounds = self._rounds.setdefault(
            topic, Rounds(_RETRY_FIRST_S, _RETRY_MAX_S, calm_s=_CALM_S)
        )
        self._transport.sends.produce_later(outgoing, rounds.wait_s())

    def _remedy(self, topic: str, error: KafkaError) -> str:
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return (
                "Allow this process's user Write and Describe on that topic; it is sent again "
                "until then"
            )
        if error.code() not in MISSING:
            return "It is sent again until it is delivered"
        command = f"processor topics apply --namespace {self._transport.connection.namespace}"
        if not topic.startswith(self._queue_prefix):
            return f"The topic is missing: run `{command}`; it is sent again until then"
        queue = topic.removeprefix(self._queue_prefix)
        return (
            f"The activity queue {queue!r} has no topic: run `{command} --queue {queue}`, or "
            "correct the queue's name in the workflow. Its tasks wait until then"
        )

    def _bury_outgoing(self, outgoing: Outgoing, error: KafkaError) -> None:
        """Dead-letter it instead; its ``delivered`` then tells of the letter."""
        value = outgoing.value or b""
        _log.error(
            "%s: %s refuses a record of %d bytes (%s); it goes to dead-letters",
            self._sender,
            outgoing.topic,
            len(value),
            error.str(),
        )
        reason = f"{outgoing.topic} refused {len(value):,} bytes as too large: {error.str()}"
        letter = fitting(
            DeadLetter(outgoing.topic, outgoing.partition, -1, outgoing.key, value, reason)
        )
        self._transport.sends.produce(
            self._dead_letters, ANY_PARTITION, letter.key, encode(letter), outgoing.delivered
        )


def fitting(letter: DeadLetter) -> DeadLetter:
    """Return a letter that its topic takes, with its key and its reason."""
    key, value, reason = letter.key, letter.value, writable(shortened(letter.reason, _REASON_MAX))
    if key is not None and len(key) > _KEY_BYTES_MAX:
        reason += f" (the first {_KEY_BYTES_MAX:,} of {len(key):,} bytes of the key are here)"
        key = key[:_KEY_BYTES_MAX]
    if value is not None and len(value) > COMMAND_BYTES_MAX:
        reason += f" (the first {COMMAND_BYTES_MAX:,} of {len(value):,} bytes are here)"
        value = value[:COMMAND_BYTES_MAX]
    return replace(letter, key=key, value=value, reason=reason)
