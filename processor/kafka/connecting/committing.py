"""Commits of a connection's positions: each ends, and what keeps being refused is told."""

from __future__ import annotations

import logging
from time import monotonic
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from processor.kafka.clients.bounded import silence, within
from processor.kafka.clients.faults import NOT_A_MEMBER
from processor.seldom import Seldom

__all__ = ("Committing",)

_log = logging.getLogger("processor.connect")

_ANSWER_S: Final = 10.0
_PASSES_S: Final = 30.0
_SAY_EVERY_S: Final = 30.0


class Committing:
    """One thread calls all of it. The client waits for a coordinator as long as a session lasts."""

    def __init__(self, consumer: Consumer, group: str, session_s: float) -> None:
        self._consumer = consumer
        self._group = group
        self._limit_s = session_s + _ANSWER_S
        self._agreed_s = monotonic()
        self._is_time = Seldom(_SAY_EVERY_S)

    def begin(self) -> None:
        """Note that a generation of the group has begun, which takes commits."""
        self._agreed_s = monotonic()

    def commit(self, places: list[TopicPartition]) -> bool:
        """Commit, and return whether the group took it. Blocks.

        The client's call has no time-out, and now and then it never returns
        (confluent-kafka-python#1801). Raises ``KafkaException`` then: this client is of no use.
        """
        try:
            within(self._limit_s, lambda: self._consumer.commit(offsets=places, asynchronous=False))
        except TimeoutError:
            raise silence(f"its commit was not answered for {self._limit_s:g} s") from None
        except KafkaException as error:
            self._say_refused(error.args[0])
            return False
        self._agreed_s = monotonic()
        return True

    def commit_last(self, places: list[TopicPartition]) -> None:
        """Commit what is given up; the client itself waits for that before it gives it up."""
        if places:
            try:
                self._consumer.commit(offsets=places, asynchronous=True)
            except KafkaException as error:
                self._say_refused(error.args[0])

    def _say_refused(self, error: KafkaError) -> None:
        """Say that nothing was committed, unless it passes: a rebalance is over soon."""
        passes = error.code() in NOT_A_MEMBER and monotonic() - self._agreed_s < _PASSES_S
        if not passes and self._is_time():
            _log.warning(
                "connection %s: committing: %s. It is tried again, and what was sent counts once",
                *(self._group, error.str()),
            )
