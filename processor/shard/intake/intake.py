"""Takes inputs in, lot by lot, as far as there is room and nothing holds them up."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from processor.codec.records import Envelope
from processor.core.inputs import ClientCommand
from processor.core.records.answers import Refused
from processor.core.records.effects import DeadLetter, Reply
from processor.core.records.turn import Positions
from processor.shard.eager import Eager
from processor.shard.flight import Flight
from processor.shard.gate import Gate
from processor.shard.intake.commands import Commands
from processor.shard.intake.handover import Handover
from processor.shard.intake.room import Room
from processor.shard.ports import NEVER_MS, InboxRecord, ShardPorts
from processor.shard.timers import Timers
from processor.shard.turns.deciding import Deciding
from processor.shard.turns.resuming import Resuming

__all__ = ("INTAKE_MAX", "Intake")

INTAKE_MAX: Final = 256
"""Inputs per step, so that acknowledgements and activities get their turn."""

_LOT_MAX: Final = 16
"""Inputs between two looks at how much is in flight."""

_LOT_LEAST: Final = 4
"""So many of them at least are none that the shard sends itself."""


class Intake:
    """``unread`` have been taken from the inbox, and wait for what is before them.

    ``more``: whether more could be done at once when it took in last.
    """

    def __init__(
        self,
        ports: ShardPorts,
        room: Room,
        gate: Gate,
        flight: Flight,
        eager: Eager,
        handover: Handover,
        timers: Timers,
        commands: Commands,
        deciding: Deciding,
        resuming: Resuming,
    ) -> None:
        self.room = room
        self.resuming = resuming
        self.handover = handover
        self.more = True
        self.unread: Sequence[InboxRecord] = ()
        self._inbox, self._outbox, self._clock = ports.inbox, ports.outbox, ports.clock
        self._gate = gate
        self._flight = flight
        self._eager = eager
        self._timers = timers
        self._commands = commands
        self._deciding = deciding

    def step(self) -> bool:
        """Take in what there is room for; return whether more can be done at once.

        What has begun goes on first: while many messages of the shard to itself wait, a lot is
        theirs but for a few inputs. So the code of whoever waits for them is still in memory.
        """
        self.room.look_again_ms = NEVER_MS
        self.resuming.begin_successors()
        self.handover.look()
        self.more = self._take_lots()
        self.room.look_at_overflow()
        return self.more

    def _take_lots(self) -> bool:
        left, resuming = INTAKE_MAX, self.resuming
        while self._waits():
            own = self._take_own(min(left, _LOT_MAX)) if self.handover.waiting else 0
            if self._gate.failed:
                return False
            left -= own
            inputs = self.room.inputs()
            room = min(left, max(_LOT_MAX - own, _LOT_LEAST), inputs)
            if room <= 0:
                if own and left:
                    continue
                return bool(own) or inputs > 0
            if resuming.parked:
                resuming.retry_parked(_LOT_MAX)
            lot = min(len(self._eager.reports), room)
            for _ in range(lot):
                self._deciding.decide("eager", self._eager.next())
                if self._gate.failed:
                    return False
            if not lot:
                room = self.room.commands(room)
                if room == 0 and self._inbox.waiting:
                    return False
                records = self.unread or self._inbox.take(room)
                lot = self._read_all(records)
                self.unread = records[lot:]
            if lot:
                self.handover.taken = 0
            elif not own:
                return bool(resuming.parked)
            left -= lot
        return False

    def _waits(self) -> bool:
        """Return whether something waits to be taken in, if it can be."""
        own = self._eager.reports or self.handover.waiting
        arrived = own or self.unread or self._inbox.waiting
        return bool(arrived or self.resuming.parked)

    def _take_own(self, most: int) -> int:
        """Take in messages of the shard to itself; return how many."""
        room = min(most, self.room.messages())
        if room <= 0 or self._gate.held:
            return 0
        return self.handover.take_in(self.room.commands(room), self._commands.take)

    def _read_all(self, records: Sequence[InboxRecord]) -> int:
        """Read inputs as far as those before them let it; return how many that were."""
        for count, record in enumerate(records):
            if self._gate.held and not (_is_letter(record) and self._gate.takes_letters):
                return count
            self._read(record)
        return len(records)

    def _read(self, record: InboxRecord) -> None:
        source, offset, input, envelope, error = record
        positions = self._gate.read.past(source, offset)
        if isinstance(input, DeadLetter):
            if envelope is not None and envelope.is_call:
                told = Refused(error, input.reason)
                self._commands.refuse(envelope, input, positions, told)
            else:
                self._bury(input, envelope, positions, error)
        elif isinstance(input, ClientCommand):
            self._commands.take(input, offset, positions)
        else:
            if not self._timers.came_early(input, self._clock.now_ms()):
                self._deciding.decide(source, input, positions=positions, offset=offset)
            self._timers.came_back(input)
        self._gate.passed(positions)

    def _bury(
        self, letter: DeadLetter, envelope: Envelope | None, positions: Positions, error: str
    ) -> None:
        """Bury what cannot be taken, and tell a client that waits for an answer."""
        self._gate.bury(letter, positions)
        if envelope is not None and envelope.reply_to is not None:
            told = Reply(envelope.reply_to, Refused(error, letter.reason))
            self._flight.then(partial(self._outbox.reply, told))


def _is_letter(record: InboxRecord) -> bool:
    """Return whether a record is buried, and leaves no other record."""
    is_call = record.envelope is not None and record.envelope.is_call
    return isinstance(record.input, DeadLetter) and not is_call
