"""Messages between the instances of one shard: it hands them over itself, without a topic.

One path for each target: what is for an instance of this shard never goes through a topic, since
the highest origin that has counted would overtake what is still on its way there. A message is
handed over once the turn that sent it is acknowledged, in the order of the log, and counts as
delivered once the record that took it is. Until then it is owed: the next owner derives it again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

from processor.checks import MESSAGE_BYTES_MAX
from processor.core.data.bounds import size_of
from processor.core.data.cause import Origin
from processor.core.inputs import ClientCommand
from processor.core.nouns.call import AnswerCall
from processor.core.records.effects import DeadLetter, Message
from processor.core.records.turn import Positions
from processor.shard.flight import Flight
from processor.shard.gate import Gate
from processor.shard.messages.border import Border
from processor.shard.messages.carrying import message_command, too_large_message, too_large_to_tell
from processor.shard.outbox import Deliveries
from processor.shard.ports import NO_PLACE, Outbox

__all__ = ("Handover",)

Take: TypeAlias = Callable[[ClientCommand, int, Positions], None]
"""Takes a command in, with its offset in a topic and the positions past it."""


class _Waiting(NamedTuple):
    command: ClientCommand
    token: int
    size: int


class Handover:
    """``is_own`` says whether a workflow id is of this shard. No message crosses the ``border``.
    ``waiting`` is to be taken in.

    ``bytes``: about how much memory is taken by records whose messages wait. ``taken``: how many
    messages were handed over since another input was decided.
    """

    def __init__(
        self,
        is_own: Callable[[str], bool],
        border: Border,
        outbox: Outbox,
        gate: Gate,
        flight: Flight,
        deliveries: Deliveries,
    ) -> None:
        self.bytes = self.taken = 0
        self._is_own = is_own
        self._border = border
        self._outbox = outbox
        self._gate = gate
        self._flight = flight
        self._deliveries = deliveries
        self.waiting: deque[_Waiting] = deque()

    def send(self, message: Message, token: int, origin: Origin, size: int = 0) -> None:
        """Send a message of the record at the log offset ``token``, which has ``size`` bytes."""
        kept = self._border.within(message)
        if isinstance(kept, DeadLetter) or not self._is_own(kept.workflow_id):
            self._outbox.send(kept, token, origin)
            return
        if not (self.waiting and self.waiting[-1].token == token):
            self.bytes += size
        self.waiting.append(_Waiting(_told(message_command(kept, origin)), token, size))

    def take_in(self, most: int, take: Take) -> int:
        """Hand up to so many messages over; return how many, fewer where an input has to wait."""
        taken = 0
        while taken < most and self.waiting and not self._gate.held:
            command, token, size = self.waiting.popleft()
            take(command, NO_PLACE, self._gate.positions)
            self._flight.then(partial(self._deliveries.delivered, token))
            if not (self.waiting and self.waiting[0].token == token):
                self.bytes -= size
            taken += 1
        self.taken += taken
        return taken


def _told(command: ClientCommand) -> ClientCommand:
    """Return the command; an answer that no topic would take is told to be too large."""
    body = command.body
    if isinstance(body, AnswerCall):
        size = size_of(body.outcome)
        if size > MESSAGE_BYTES_MAX:
            reason = too_large_message(size, f"{MESSAGE_BYTES_MAX:,}")
            return too_large_to_tell(command, reason) or command
    return command
