"""How far a consumer group is in its queue, and what of that is committed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from confluent_kafka import TopicPartition

from processor.kafka.clients.offsets import OffsetTracker

__all__ = ("GroupPositions",)


class GroupPositions:
    """Lives on the queue's thread; what ``finisher`` returns may be called from any other one."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._trackers: dict[int, OffsetTracker] = {}
        self._committed: dict[int, int] = {}
        self._finished: deque[tuple[OffsetTracker, int]] = deque()

    @property
    def partitions(self) -> list[int]:
        return list(self._trackers)

    def started(self, partition: int, offset: int, end: Callable[[int], int]) -> OffsetTracker:
        """Note a record; ``end`` tells where its partition ended when it was first read."""
        tracker = self._trackers.get(partition)
        if tracker is None:
            tracker = self._trackers[partition] = OffsetTracker(end(partition))
        tracker.started(offset)
        return tracker

    def finisher(self, tracker: OffsetTracker, offset: int) -> Callable[[], None]:
        """Return what notes that a record needs no second delivery."""
        return partial(self._finished.append, (tracker, offset))

    def due(self, partitions: Iterable[int]) -> list[TopicPartition]:
        """Return what there is to commit now of some partitions; it counts as committed then."""
        while self._finished:
            tracker, offset = self._finished.popleft()
            tracker.finished(offset)
        offsets = []
        for partition in partitions:
            known = self._trackers.get(partition)
            position = None if known is None else known.position
            if position is not None and self._committed.get(partition) != position:
                self._committed[partition] = position
                offsets.append(TopicPartition(self._topic, partition, position))
        return offsets

    def forget(self, partitions: Iterable[int]) -> None:
        """Let go of partitions. Their unfinished tasks run on here, and again where they went."""
        for partition in partitions:
            self._committed.pop(partition, None)
            tracker = self._trackers.pop(partition, None)
            if tracker is not None:
                tracker.revoked = True
