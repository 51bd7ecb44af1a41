"""Writes marks: how far everything is, where inputs left no record that says so."""

from __future__ import annotations

from typing import Final

from processor.core.records.turn import Positions
from processor.shard.flight import Flight
from processor.shard.gate import Gate
from processor.shard.outbox import Deliveries
from processor.shard.ports import Outbox
from processor.shard.recovery.forgetting import Forgetting
from processor.shard.storing import Storing
from processor.shard.turns.writer import Writer

__all__ = ("Marks",)

_MARK_EVERY_MS: Final = 60_000


class Marks:
    """``due_ms``: when it is looked next whether a mark is needed."""

    def __init__(
        self,
        partition: int,
        outbox: Outbox,
        gate: Gate,
        flight: Flight,
        deliveries: Deliveries,
        writer: Writer,
        storing: Storing,
        forgetting: Forgetting,
        now_ms: int,
    ) -> None:
        self.due_ms = now_ms + _MARK_EVERY_MS
        self._partition = partition
        self._outbox = outbox
        self._gate = gate
        self._flight = flight
        self._deliveries = deliveries
        self._writer = writer
        self._storing = storing
        self._forgetting = forgetting
        self._last: tuple[Positions, int, int] | None = None

    def step(self, now_ms: int) -> None:
        """Write a mark where one is needed: an idle week must not lose the positions."""
        self.due_ms = now_ms + _MARK_EVERY_MS
        moved = self._gate.positions != self._storing.checkpoint.positions
        if (moved and not self._flight) or self._forgetting.is_waiting():
            if self._says() != self._last:
                self.write()

    def write(self) -> None:
        self._last = self._says()
        self._writer.mark(*self._last)

    def view(self) -> dict[str, object]:
        """Return what the shard says of itself."""
        checkpoint = self._storing.checkpoint
        return {
            "shard": self._partition,
            "level": checkpoint.level,
            "epoch": checkpoint.epoch,
            "positions": self._gate.positions._asdict(),
            "delivered": self._deliveries.floor,
        }

    def _says(self) -> tuple[Positions, int, int]:
        floor = self._deliveries.floor
        return self._gate.positions, floor, self._outbox.published_floor(floor)
