"""How much a shard may take in now: what is in flight, undelivered or unpublished is bounded."""

from __future__ import annotations

import logging
from typing import Final

from processor.config import Settings
from processor.shard.flight import Flight
from processor.shard.gate import Gate
from processor.shard.intake.handover import Handover
from processor.shard.outbox import Deliveries, Unpublished
from processor.shard.ports import NEVER_MS, ShardPorts
from processor.shard.storing import Storing

__all__ = ("Room",)

_log = logging.getLogger("processor.shard")

_LOOK_AGAIN_MS: Final = 10
"""How long commands wait for slots until it is asked again whether they should."""

_ARRIVES_MS: Final = 1
"""How long to wait for a record of the log that is read again."""

_PUBLISHED_AGAIN_MS: Final = 1_000
"""How long intake waits for the publisher until it is asked again how far that has come."""


class Room:
    """``look_again_ms``: when to ask again though nothing has arrived."""

    def __init__(
        self,
        partition: int,
        settings: Settings,
        ports: ShardPorts,
        gate: Gate,
        flight: Flight,
        deliveries: Deliveries,
        unpublished: Unpublished,
        storing: Storing,
        handover: Handover,
    ) -> None:
        self.look_again_ms = NEVER_MS
        self._partition = partition
        self._settings = settings
        self._inbox, self._outbox = ports.inbox, ports.outbox
        self._activities, self._clock = ports.activities, ports.clock
        self._gate = gate
        self._flight = flight
        self._deliveries = deliveries
        self._unpublished = unpublished
        self._storing = storing
        self._handover = handover
        self._says_behind = False

    def inputs(self) -> int:
        """Return how many inputs may be decided now."""
        if not self._is_full():
            return self.messages()
        if self._handover.taken < self._settings.turns_in_flight_max:
            return 0
        return min(self.messages(), 1)  # messages that never end keep nobody waiting for ever

    def _is_full(self) -> bool:
        """Return whether inputs wait for what is outstanding of the turns before them."""
        settings, handover = self._settings, self._handover
        if handover.bytes >= settings.bytes_in_flight_max or handover.overflow:
            return True
        outstanding = self._deliveries.outstanding + handover.records
        if outstanding < settings.turns_in_flight_max:
            return False
        return outstanding - self._outbox.stuck >= settings.turns_in_flight_max

    def messages(self) -> int:
        """Return how many messages of the shard to itself may be decided now.

        Turns whose delivery is outstanding may wait for just them.
        """
        settings, unpublished = self._settings, self._unpublished
        if self._gate.failed:
            return 0
        bytes_max = settings.bytes_in_flight_max
        if self._flight.bytes >= bytes_max or self._outbox.unsent_bytes >= bytes_max:
            return 0
        if unpublished.bytes >= settings.unpublished_bytes_max and self._is_behind():
            return 0
        return settings.turns_in_flight_max - max(len(self._flight), self._flight.answers)

    def commands(self, room: int) -> int:
        """Return how many of so many inputs may be commands: they may wait for slots."""
        room = min(room, self._activities.room())
        if room == 0 and (self._inbox.waiting or self._handover.waiting):
            self.look_again_ms = self._clock.now_ms() + _LOOK_AGAIN_MS
        return room

    def look_at_overflow(self) -> None:
        """Look again soon where messages that were left in the log have not arrived."""
        if self._handover.overflow and not self._handover.waiting:
            self.look_again_ms = self._clock.now_ms() + _ARRIVES_MS

    def look_at_published(self) -> None:
        """Forget what was handed over and is published by now."""
        floor = self._outbox.published_floor(self._storing.checkpoint.next_offset)
        self._unpublished.published(floor)

    def _is_behind(self) -> bool:
        """Return whether too much waits to be published; then it is asked again soon."""
        self.look_at_published()
        unpublished, limit = self._unpublished, self._settings.unpublished_bytes_max
        was, self._says_behind = self._says_behind, unpublished.bytes >= limit
        if self._says_behind:
            self.look_again_ms = self._clock.now_ms() + _PUBLISHED_AGAIN_MS
            if not was:
                _log.warning(
                    "shard %d takes no input for now: %d bytes of results and published records "
                    "are not published yet; the limit is %d (unpublished_bytes_max)",
                    self._partition,
                    unpublished.bytes,
                    limit,
                )
        return self._says_behind
