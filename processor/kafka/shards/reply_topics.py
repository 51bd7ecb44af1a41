"""Which topics of replies there are beside ``replies``, which all clients share.

A command says in which one its sender reads. Anybody may write commands, so a name is looked up
before anything is sent there: the producer would else keep something of each name that it hears.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from threading import Lock
from time import monotonic
from typing import Final

from confluent_kafka import KafkaException

from processor.errors import ShardUnavailable
from processor.kafka.clients.threads import guarded_thread

__all__ = ("ReplyTopics",)

_log = logging.getLogger("processor.kafka")

_LOOK_EVERY_S: Final = 5.0
"""A name that was not there is looked for again after so long."""

_WAITING_MAX: Final = 10_000
"""Replies that wait for a look; a further one is not sent."""


class ReplyTopics:
    """``look`` returns the partitions of each topic of replies that the brokers have. It blocks."""

    def __init__(self, look: Callable[[], Mapping[str, int]]) -> None:
        self._look = look
        self._lock = Lock()
        self._known: Mapping[str, int] = {}
        self._waiting: list[tuple[str, int, Callable[[bool], None]]] = []
        self._looking = False
        self._looked = float("-inf")

    def look_up(self, topic: str, partition: int, found: Callable[[bool], None]) -> None:
        """Call ``found`` with whether a place is there: at once, or from a thread after a look."""
        there = partition < self._known.get(topic, 0)
        if not there:
            with self._lock:
                due = self._looking or monotonic() - self._looked >= _LOOK_EVERY_S
                if due and len(self._waiting) < _WAITING_MAX:
                    self._waiting.append((topic, partition, found))
                    if not self._looking:
                        self._looking = True
                        thread = guarded_thread("kafka reply topics", self._find, self._died)
                        thread.start()
                    return
        found(there)

    def forget(self, topic: str) -> None:
        """Look again for a topic that a broker says is not there."""
        with self._lock:
            self._known = {name: count for name, count in self._known.items() if name != topic}

    def _find(self) -> None:
        known = self._known
        try:
            known = self._look()
        except (KafkaException, ShardUnavailable) as error:
            _log.warning("topics of replies cannot be looked up: %s", error)
        self._tell(known)

    def _died(self, _: Exception) -> None:
        self._tell(self._known)

    def _tell(self, known: Mapping[str, int]) -> None:
        with self._lock:
            self._known, self._looked = known, monotonic()
            waiting, self._waiting, self._looking = self._waiting, [], False
        for topic, partition, found in waiting:
            found(partition < known.get(topic, 0))
