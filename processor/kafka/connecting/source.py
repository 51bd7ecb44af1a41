"""Reads a topic of the user's as a member of a group, and keeps how far everything is done.

Positions are committed with the id of their topic: one that was deleted and made again begins at
its beginning, whatever was committed of the old one. What a fetch brings is used only after the
topic was found to have the id that it had before the fetch.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from processor.config import Settings
from processor.connect.connection import Begin
from processor.errors import ProcessorError, TopicsNotReady
from processor.kafka.clients.bounded import answered, within
from processor.kafka.clients.connection import READ_AHEAD, KafkaSettings
from processor.kafka.clients.faults import MISSING, TRUNCATED, made, watermarks_of
from processor.kafka.connecting.committing import Committing
from processor.kafka.shards.identity import describe
from processor.seldom import Seldom

__all__ = ("BATCH_MAX", "Place", "Source", "TopicChanged", "Unverified", "group_of", "topic_ids")

_log = logging.getLogger("processor.connect")

Place = tuple[str, int]

BATCH_MAX: Final = 500
"""Records that are taken at once."""

_CALL_S: Final = 10.0
_SETTLED_S: Final = 30.0
"""A transaction of a process that died is over by then: its time-out is 15 s."""
_SAY_EVERY_S: Final = 30.0
_NOTHING: Final = -1


class TopicChanged(TopicsNotReady):
    """A topic is not the one any more that was read."""


def group_of(connection: KafkaSettings, group: str) -> str:
    """Return the name that the group of a connection has on the broker."""
    return connection.topic(f"connect.{group}")


def topic_ids(admin: AdminClient, topics: Sequence[str]) -> dict[str, str]:
    """Return the ids of those of the topics that exist. Blocks."""
    return {name: str(found.topic_id) for name, found in describe(admin, list(topics)).items()}


class Unverified(ProcessorError):
    """No broker said which topic records are of; they are to be read again."""


class Source:
    """``topic`` is the user's; ``retries`` has records of it that are to be taken again.

    ``ids`` are the ids of both. ``done`` says for each partition that is ours below which offset
    all is done; ``member`` is what a transaction needs to be accepted. One thread calls all of it.
    """

    def __init__(
        self,
        connection: KafkaSettings,
        settings: Settings,
        group: str,
        topic: str,
        retries: str,
        ids: Mapping[str, str],
        begin: Begin,
        admin: AdminClient,
    ) -> None:
        self.ids = ids
        self.member: Any = None
        self.done: dict[Place, int] = {}
        self._committed: dict[Place, int] = {}
        self._first: dict[Place, int] = {}
        self._begun: dict[Place, int] = {}
        self._topic = topic
        self._group = group
        self._begin = begin
        self._admin = admin
        self._paused = False
        self._is_time = Seldom(_SAY_EVERY_S)
        session_ms = int(settings.session_timeout_s * 1000)
        self._consumer = made(
            Consumer,
            connection.consumer(
                {
                    **READ_AHEAD,
                    "isolation.level": "read_committed",
                    "group.protocol": "classic",
                    "partition.assignment.strategy": "cooperative-sticky",
                    "session.timeout.ms": session_ms,
                    "heartbeat.interval.ms": max(session_ms // 4, 100),
                    "topic.metadata.refresh.interval.ms": 10_000,
                },
                group=group_of(connection, group),
            ),
        )
        self._committing = Committing(self._consumer, group, settings.session_timeout_s)
        self._consumer.subscribe(
            [topic, retries],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def poll(self, timeout_s: float, most: int) -> Sequence[Message]:
        """Return what arrived and is not done, once it is known whose it is. Blocks.

        ``most``: how many records. Raises ``TopicChanged``, ``KafkaException``, and ``Unverified``:
        ``rewind`` then.
        """
        first = self._consumer.poll(timeout_s)
        if self._first or self.done != self._committed:
            self.commit()
        if first is None:
            return ()
        more = min(most, BATCH_MAX) - 1
        records = first, *(self._consumer.consume(more, 0) if more else ())
        taken = [each for each in records if self._is_next(each)]
        if taken:
            self._verify()
        return taken

    def hold(self, wanted: bool) -> None:
        """Fetch nothing more for now, or go on."""
        if wanted == self._paused:
            return
        places = [TopicPartition(*place) for place in self.done]
        (self._consumer.pause if wanted else self._consumer.resume)(places)
        self._paused = wanted

    def commit(self) -> None:
        """Commit how far everything is done; what the group refuses is committed later. Blocks.

        Raises ``KafkaException`` where the client does not come back from it.
        """
        places = self._not_committed()
        if places and self._committing.commit(places):
            self._first.clear()
            self._committed = dict(self.done)

    def _not_committed(self) -> list[TopicPartition]:
        wanted = {**self._first, **self.done}
        return self.places({p: at for p, at in wanted.items() if self._committed.get(p) != at})

    def places(self, positions: Mapping[Place, int]) -> list[TopicPartition]:
        """Return positions as they are committed: with the ids of their topics."""
        return [
            TopicPartition(topic, partition, offset, metadata=self.ids[topic])
            for (topic, partition), offset in positions.items()
        ]

    def committed(self, positions: Mapping[Place, int]) -> None:
        """Note that a transaction has committed these positions."""
        self.done.update(positions)
        self._committed.update(positions)

    def rewind(self) -> None:
        """Read again from what is committed, as the group says it. Blocks."""
        known = self._known([TopicPartition(*place) for place in self.done])
        self.done = {place: known.get(place, self._begun[place]) for place in self.done}

        def seek() -> None:  # the client's call has no time-out
            for place, at in self.done.items():
                self._consumer.seek(TopicPartition(*place, at))

        answered(_CALL_S, seek, f"its client did not go back within {_CALL_S:g} s")

    def close(self) -> None:
        """Commit, and leave the group. Blocks."""

        def end() -> None:
            self._committing.commit_last(self._not_committed())
            self._consumer.close()

        try:
            within(_CALL_S, end)
        except TimeoutError:
            _log.warning(
                "connection %s: its client does not leave the group within %g s, and is left to "
                "itself: the group gives its partitions to others after the session time-out",
                *(self._group, _CALL_S),
            )

    # --- what the group says ----------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        """Begin to read what we gained. This is called in each generation of the group."""
        starts = self._starts(places)
        self.done.update(starts)
        self._begun.update(starts)
        consumer.incremental_assign([TopicPartition(*place, at) for place, at in starts.items()])
        if self._paused and starts:
            consumer.pause([TopicPartition(*place) for place in starts])
        self.member = consumer.consumer_group_metadata()
        self._committing.begin()
        for (topic, partition), at in starts.items():
            _log.info("connection %s: %s[%d] from offset %d", self._group, topic, partition, at)

    def _on_revoke(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        lost = {(each.topic, each.partition) for each in places}
        due = self._not_committed()
        self._committing.commit_last([each for each in due if (each.topic, each.partition) in lost])
        self._lose(consumer, places)

    def _on_lost(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        _log.warning(
            "connection %s: this process did not answer for the session time-out, and others have "
            "its partitions. What it had sent without committing it counts once",
            self._group,
        )
        self._lose(consumer, places)

    def _lose(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        for place in places:
            self.done.pop((place.topic, place.partition), None)
            self._committed.pop((place.topic, place.partition), None)
        if self._paused:  # a partition that comes back would still be paused
            consumer.resume(list(places))
        consumer.incremental_unassign(list(places))

    # --- where to begin ---------------------------------------------------------------------------

    def _starts(self, places: Sequence[TopicPartition]) -> dict[Place, int]:
        """Return from where partitions are read. Blocks."""
        if not places:
            return {}
        of_topic = self._all_of_topic()
        both = {(each.topic, each.partition): each for each in (*places, *of_topic)}
        known = self._known([*both.values()])
        ends: dict[Place, int] = {}
        if self._begin == "latest" and not any(topic == self._topic for topic, _ in known):
            ends = {(each.topic, each.partition): self._kept(each)[1] for each in of_topic}
            self._first = {**ends}
        found: dict[Place, int] = {}
        for each in places:
            place = each.topic, each.partition
            low, high = self._kept(each)
            at = known.get(place, ends.get(place, _NOTHING))
            if place in known and not low <= at <= high:
                self._say_lost(place, at, low, high)
            found[place] = min(max(at, low), high)
            self._committed[place] = known.get(place, _NOTHING)
        return found

    def _known(self, places: Sequence[TopicPartition]) -> dict[Place, int]:
        """Return what is committed of the topics as they are now."""
        known = {}
        for each in self._consumer.committed([*places], _SETTLED_S):
            if each.offset < 0:
                continue
            if each.metadata in (None, "", self.ids[each.topic]):  # without one: set by hand
                known[each.topic, each.partition] = each.offset
            else:
                _log.warning(
                    "connection %s: %s was deleted and made again: it begins at the beginning of "
                    "%s[%d]",
                    *(self._group, each.topic, each.topic, each.partition),
                )
        return known

    def _all_of_topic(self) -> list[TopicPartition]:
        found = self._consumer.list_topics(self._topic, _CALL_S).topics.get(self._topic)
        partitions = () if found is None else found.partitions
        return [TopicPartition(self._topic, partition) for partition in partitions]

    def _kept(self, place: TopicPartition) -> tuple[int, int]:
        return watermarks_of(self._consumer, place, _CALL_S)

    def _say_lost(self, place: Place, at: int, low: int, high: int) -> None:
        _log.warning(
            "connection %s: %s[%d] holds offsets %d to %d, and %d is read next: %s. It goes on at "
            "the nearest one that is there",
            *(self._group, *place, low, high, at),
            "records were deleted before they were read" if at < low else "its end was lost",
        )

    # --- records ----------------------------------------------------------------------------------

    def _verify(self) -> None:
        """Make sure that what was fetched is of the topics that we know: ids never come back."""
        try:
            found = topic_ids(self._admin, list(self.ids))
        except KafkaException as error:
            raise Unverified(f"whose records these are is not known: {error}") from error
        if found != self.ids:
            raise TopicChanged(f"topic {self._topic} was deleted, or made again")

    def _is_next(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            place = message.topic() or "", message.partition() or 0
            at = self.done.get(place)
            return at is not None and (message.offset() or 0) >= at
        if error.code() in MISSING:
            raise TopicChanged(f"{message.topic()}: {error.str()}")
        if error.code() in TRUNCATED or error.fatal():
            raise KafkaException(error)
        if self._is_time(error.name()):
            _log.warning("connection %s: %s", self._group, error.str())
        return False
