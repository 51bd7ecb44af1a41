"""Messages between the instances of one shard: it hands them over itself, without a topic.

One path for each target: what is for an instance of this shard never goes through a topic, since
the highest origin that has counted would overtake what is still on its way there. A message is
handed over once the turn that sent it is acknowledged, in the order of the log, and counts as
delivered once the record that took it is. Until then it is owed: the next owner derives it again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from processor.checks import MESSAGE_BYTES_MAX
from processor.core.data.bounds import size_of
from processor.core.data.cause import Origin
from processor.core.inputs import ClientCommand
from processor.core.nouns.call import AnswerCall
from processor.core.records.effects import DeadLetter, Message
from processor.core.records.turn import Positions
from processor.shard.flight import Flight
from processor.shard.gate import Gate
from processor.shard.intake.overflow import Overflow
from processor.shard.messages.border import Border
from processor.shard.messages.carrying import message_command, too_large_message, too_large_to_tell
from processor.shard.outbox import NEVER_OFFSET, Deliveries
from processor.shard.ports import NO_PLACE, Outbox

__all__ = ("Handover",)

KEPT_MAX: Final = 10_000
BYTES_MAX: Final = 64_000_000
"""So many messages wait in memory, and the rest of the last one's record: the others in the log."""

_READ_MAX: Final = 64
"""So many of those are read in one go."""

Take: TypeAlias = Callable[[ClientCommand, int, Positions], None]
"""Takes a command in, with its offset in a topic and the positions past it."""


class _Waiting(NamedTuple):
    command: ClientCommand
    token: int
    size: int


class Handover:
    """``is_own`` says whether a workflow id is of this shard. No message crosses the ``border``.
    ``waiting`` is to be taken in.

    ``records`` have messages that no record has taken yet, and ``bytes`` is about how much memory
    those take whose messages wait. ``taken``: how many messages were handed over since another
    input was decided. With ``KEPT_MAX`` in ``waiting``, or ``BYTES_MAX``, those of further records
    stay in the log: ``overflow`` reads them again, some at a time, when ``waiting`` is empty.
    """

    def __init__(
        self,
        is_own: Callable[[str], bool],
        border: Border,
        outbox: Outbox,
        gate: Gate,
        flight: Flight,
        deliveries: Deliveries,
        overflow: Overflow,
    ) -> None:
        self.bytes = self.records = self.taken = 0
        self.overflow = overflow
        self._is_own = is_own
        self._border = border
        self._outbox = outbox
        self._gate = gate
        self._flight = flight
        self._deliveries = deliveries
        self.waiting: deque[_Waiting] = deque()
        self._untaken: deque[int] = deque()

    def send(self, message: Message, token: int, origin: Origin, size: int = 0) -> bool:
        """Send a message of the record at the log offset ``token``, which has ``size`` bytes.

        Return whether the outbox has it, and says when it is delivered.
        """
        sent = self._border.within(message)
        if isinstance(sent, DeadLetter) or not self._is_own(sent.workflow_id):
            self._outbox.send(sent, token, origin)
            return True
        is_new = not (self.waiting and self.waiting[-1].token == token)
        if self.overflow or (is_new and self._is_full()):
            self.overflow.add(token)
        else:
            self._keep(sent, token, origin, size, is_new)
        return False

    def _keep(self, message: Message, token: int, origin: Origin, size: int, is_new: bool) -> None:
        if is_new:
            assert not self._is_full(), f"{len(self.waiting)} messages wait in memory"
            self.bytes += size
            self.records += 1
            if self._deliveries.handed_over == NEVER_OFFSET:
                self._deliveries.handed_over = token
        self.waiting.append(_Waiting(_told(message_command(message, origin)), token, size))

    def take_in(self, most: int, take: Take) -> int:
        """Hand up to so many messages over; return how many, fewer where an input has to wait."""
        taken = 0
        while taken < most and self.waiting and not self._gate.held:
            command, token, size = self.waiting.popleft()
            is_last = not (self.waiting and self.waiting[0].token == token)
            if is_last:
                self.bytes -= size
                self._untaken.append(token)
            take(command, NO_PLACE, self._gate.positions)
            if is_last:
                self._flight.then(self._is_taken)
            self.look()
            taken += 1
        self.taken += taken
        return taken

    def _is_taken(self) -> None:
        """Note that the log has the records which took the messages of one record, the oldest."""
        self._untaken.popleft()
        self.records -= 1
        if self._untaken:
            self._deliveries.handed_over = self._untaken[0]
        elif self.waiting:
            self._deliveries.handed_over = self.waiting[0].token
        else:
            self._deliveries.handed_over = NEVER_OFFSET

    def look(self) -> None:
        """Read some of what was left in the log, where nothing waits in memory.

        It comes before anything is written down in a step: that counts what is left as undelivered.
        """
        if self.waiting or not self.overflow:
            return
        for token, size, messages in self.overflow.read():
            is_new = True
            for message, origin in messages:
                sent = self._border.within(message)
                if isinstance(sent, Message) and self._is_own(sent.workflow_id):
                    self._keep(sent, token, origin, size, is_new)
                    is_new = False
            if len(self.waiting) >= _READ_MAX or self._is_full():
                break
        if not (self.waiting or self._untaken):
            left = self.overflow
            self._deliveries.handed_over = left.first if left else NEVER_OFFSET

    def _is_full(self) -> bool:
        return len(self.waiting) >= KEPT_MAX or self.bytes >= BYTES_MAX


def _told(command: ClientCommand) -> ClientCommand:
    """Return the command; an answer that no topic would take is told to be too large."""
    body = command.body
    if isinstance(body, AnswerCall):
        size = size_of(body.outcome)
        if size > MESSAGE_BYTES_MAX:
            reason = too_large_message(size, f"{MESSAGE_BYTES_MAX:,}")
            return too_large_to_tell(command, reason) or command
    return command
