"""Sees that a group leaves no partition to nobody: a crash at the wrong moment makes it do so.

Cooperative members give partitions up in one generation and get them in the next one, for which
whoever gave them up asks. A static member that dies between the two, and is back before its
session times out, is let in without a new generation (KIP-345). What it had given up would be
nobody's until the next process comes or goes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from time import monotonic
from typing import Final

from confluent_kafka import ConsumerGroupState, KafkaException

from processor.errors import ProcessorError
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.topics.upkeep import connect

__all__ = ("Unassigned",)

_log = logging.getLogger("processor.kafka")

_LOOK_AFTER_S: Final = 3.0
_FAILED_S: Final = 60.0
_ASK_S: Final = 10.0


class Unassigned:
    """Looks, a while after each generation, for partitions that it gave to nobody.

    ``subscribe`` subscribes the member. All is called by the thread that polls the member's
    consumer; another one asks the broker meanwhile.
    """

    def __init__(
        self,
        connection: KafkaSettings,
        group: str,
        topic: str,
        subscribe: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._group = group
        self._topic = topic
        self._subscribe = subscribe
        self._due: float | None = None
        self._looking: Future[list[int]] | None = None
        self._asked = False

    def generation(self) -> None:
        """Note that a generation has begun."""
        self._due = monotonic() + _LOOK_AFTER_S

    def poll(self) -> None:
        """Look when it is time; have the group decide again where partitions are nobody's."""
        if self._looking is not None:
            if self._looking.done():
                looking, self._looking = self._looking, None
                self._heard(looking)
        elif self._due is not None and monotonic() >= self._due:
            self._due, self._looking = None, Future()
            Thread(
                target=self._look, args=(self._looking,), name="kafka group look", daemon=True
            ).start()

    def _heard(self, looking: Future[list[int]]) -> None:
        try:
            left = looking.result()
        except (KafkaException, ProcessorError) as error:
            _log.debug("looking at group %s: %s", self._group, error)
            self._due = monotonic() + _FAILED_S
            return
        if self._asked:
            self._subscribe(self._topic)
            self._asked = False
        if left:
            _log.warning(
                "partitions %s of %s are nobody's: a process ended while they were on their way "
                "from it to another one. Group %s is asked to decide again",
                left,
                self._topic,
                self._group,
            )
            # librdkafka joins again where what is subscribed looks new. This pattern does, and
            # means the same topic.
            self._subscribe(f"^{self._topic.replace('.', '[.]')}$")
            self._asked = True
            self._due = monotonic() + _LOOK_AFTER_S

    def _look(self, looking: Future[list[int]]) -> None:
        try:
            looking.set_result(self._left())
        except BaseException as error:
            looking.set_exception(error)

    def _left(self) -> list[int]:
        """Return the partitions that no member has; none while the group decides. Blocks."""
        admin = connect(self._connection.servers, self._connection.extra)
        asked = admin.describe_consumer_groups([self._group], request_timeout=_ASK_S)
        group = asked[self._group].result(_ASK_S)
        if group.state is not ConsumerGroupState.STABLE:
            return []
        given = {
            place.partition
            for member in group.members
            for place in member.assignment.topic_partitions
            if place.topic == self._topic
        }
        found = admin.list_topics(self._topic, timeout=_ASK_S).topics[self._topic].partitions
        return sorted(set(found) - given)
