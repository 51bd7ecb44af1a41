"""What every outbox needs: the command that carries a message, and how far delivery has come."""

from __future__ import annotations

from collections import deque

from processor.core.cause import Origin
from processor.core.effects import Message
from processor.core.inputs import ClientCommand

__all__ = ("Deliveries", "message_command")


class Deliveries:
    """Counts, per turn, the sends that are not acknowledged yet.

    ``floor`` is the log offset below which every effect of every turn is delivered.
    """

    def __init__(self, next_offset: int) -> None:
        self._next_offset = next_offset
        self._order: deque[int] = deque()
        self._open: dict[int, int] = {}

    @property
    def floor(self) -> int:
        return self._order[0] if self._order else self._next_offset

    @property
    def outstanding(self) -> int:
        """How many turns wait for the delivery of an effect."""
        return len(self._open)

    def released(self, offset: int, sends: int) -> None:
        """Note that the turn at ``offset`` (turns come in log order) caused this many sends."""
        self._next_offset = max(self._next_offset, offset + 1)
        if sends:
            self._order.append(offset)
            self._open[offset] = sends

    def delivered(self, offset: int) -> None:
        left = self._open[offset] - 1
        if left:
            self._open[offset] = left
            return
        del self._open[offset]
        while self._order and self._order[0] not in self._open:
            self._order.popleft()


def message_command(message: Message, origin: Origin | None) -> ClientCommand:
    """Return the command that carries a message to its instance."""
    return ClientCommand(message.workflow_id, message.body, origin, caller=message.caller)
