"""How much a connection may send: shards that lag are waited for, and with them their clients."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from time import monotonic
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from processor.kafka.clients.connection import KafkaSettings, partition_of
from processor.kafka.clients.faults import ends_of, made
from processor.kafka.shards.identity import describe
from processor.seldom import Seldom

__all__ = ("Headroom",)

_log = logging.getLogger("processor.connect")

BACKLOG_MAX: Final = 10_000
"""Commands that a shard may have unread before a connection waits for it.

Shards say every few seconds how far they are: that lets 2,000 a second through for each.
"""

_ASK_EVERY_S: Final = 0.5
_CALL_S: Final = 5.0
_SAY_EVERY_S: Final = 60.0


class Headroom:
    """Counts what is sent, and asks how far the shards are once that is used up. Blocks.

    A consumer asks for the positions. An admin client that is answered while the group moves to
    another coordinator ends its process (measured with librdkafka 2.16: SIGSEGV in
    ``ListConsumerGroupOffsets``).
    """

    def __init__(self, connection: KafkaSettings, admin: AdminClient, group: str) -> None:
        self._positions = made(Consumer, connection.consumer())  # of the shards' group
        self._topic = connection.topic("commands")
        self._admin = admin
        self._group = group
        self._left: list[int] = []
        self._asked_s = float("-inf")
        self._is_time = Seldom(_SAY_EVERY_S)

    def is_there(self) -> bool:
        """Return whether more may be sent."""
        if self._left and min(self._left) > 0:
            return True
        if monotonic() - self._asked_s < _ASK_EVERY_S:
            return False
        self._asked_s = monotonic()
        try:
            self._left = self._measured()
        except KafkaException as error:
            if self._is_time("unknown"):
                _log.warning(
                    "connection %s waits: how far the shards have read %s is not known: %s. It "
                    "asks again",
                    *(self._group, self._topic, error),
                )
            return False
        if self._left and min(self._left) > 0:
            return True
        if not self._left:
            if self._is_time("missing"):
                _log.warning("connection %s waits: there is no topic %s", self._group, self._topic)
        elif self._is_time():
            _log.warning(
                "connection %s waits: a shard has %d commands in %s that it has not read, or "
                "nobody has it. Start workers, or more of them",
                *(self._group, BACKLOG_MAX - min(self._left), self._topic),
            )
        return False

    def close(self) -> None:
        self._positions.close()

    def sent(self, workflow_ids: Iterable[str]) -> None:
        """Count commands."""
        for each in workflow_ids if self._left else ():
            self._left[partition_of(each, len(self._left))] -= 1

    def _measured(self) -> list[int]:
        found = describe(self._admin, [self._topic]).get(self._topic)
        count = 0 if found is None else len(found.partitions)
        places = [TopicPartition(self._topic, partition) for partition in range(count)]
        ends = ends_of(self._admin, places, _CALL_S)
        read = self._positions.committed(places, _CALL_S) if places else []
        return [BACKLOG_MAX - (ends[each] - max(each.offset, 0)) for each in read]
