"""What a producer knows: the partitions that it writes to, and the brokers that lead them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from processor.kafka.record_producer import Outgoing
from processor.kafka.wire.link import Link

__all__ = ("RECORDS_MAX", "Batch", "Broker", "Place", "Taken")

RECORDS_MAX: Final = 100_000
"""Of one batch; its bytes end it long before, unless its records have next to none."""


class Taken:
    """A record that a broker took: ``Written``."""

    __slots__ = ("_offset",)

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def offset(self) -> int:
        """Return its offset; -1 where the broker knows only that it has it."""
        return self._offset


@dataclass(slots=True)
class Batch:
    records: Sequence[Outgoing]
    data: bytes


@dataclass(slots=True, eq=False)
class Place:
    """One partition. ``batch`` waits for its answer if ``out``, and else to be sent again.

    ``room``: how many records the next batch may have; fewer after one that was too large.
    """

    topic: str
    partition: int
    leader: Broker | None = None
    waiting: deque[Outgoing] = field(default_factory=deque)
    batch: Batch | None = None
    out: bool = False
    sequence: int = 0
    room: int = RECORDS_MAX

    @property
    def busy(self) -> bool:
        return self.batch is not None or bool(self.waiting)


@dataclass(slots=True, eq=False)
class Broker:
    """``ready`` are the places that it leads and that have something to send, in order."""

    host: str
    port: int
    link: Link | None = None
    dialing: bool = False
    ready: dict[Place, None] = field(default_factory=dict)
    out: Sequence[Place] | None = None
    sent_at: float = 0.0
    lost_at: float = 0.0
