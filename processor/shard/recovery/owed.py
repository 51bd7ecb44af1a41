"""What a dead owner may not have delivered: the effects of records above the floors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from processor.core.nouns.run import StartSuccessor
from processor.core.records.effects import ActivityTask, DeadLetter, Effect, Message, Reply
from processor.core.records.marks import Answered
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import Turn
from processor.core.state import RunState
from processor.shard.dedup import UnderClaim
from processor.shard.messages.border import Border
from processor.shard.ports import OutputRecord, Tables
from processor.shard.recovery.states import States, folded, state_before

__all__ = ("Owed", "Owing")

_Collected: TypeAlias = Message | DeadLetter | Reply | StartSuccessor | OutputRecord
"""What records say that leaves; tasks and timers are found in the tables."""

Leaving: TypeAlias = ActivityTask | _Collected


@dataclass(frozen=True, slots=True)
class Owed:
    """An effect that may not have been delivered: ``index`` counts its record's messages.

    Not all effects: which timers a record clears depends on where attempts stood.
    """

    offset: int
    index: int
    effect: Leaving


class Owing:
    """Everything below the log offsets ``delivered`` and ``published`` was there."""

    def __init__(self, tables: Tables, delivered: int, published: int, border: Border) -> None:
        self.delivered = delivered
        self.published = published
        self._tables = tables
        self._border = border
        self._known = States()
        self._owed: list[Owed] = []

    def collect(self, offset: int, effects: Iterable[Effect]) -> None:
        messages = 0
        for effect in effects:
            if isinstance(effect, _Collected):
                owed = Owed(offset, messages, effect)
                messages += isinstance(effect, Message)
                if self._undelivered(owed):
                    self._owed.append(owed)

    def collect_known(self, offset: int, key: bytes, value: bytes, entry: UnderClaim) -> None:
        """Collect the effects of what is in the tables already (or was a ghost)."""
        match entry:
            case Turn() | Snapshot():
                if self._tables.turn(entry.run_id, entry.first) == value:
                    state = self._known_before(entry)
                    if state is not None:
                        self.collect(offset, folded(state, entry))
            case Answered():
                if self._tables.is_replaced(offset, key):
                    self.collect(offset, entry.effects)
            case _:
                pass  # attempts are found in the tables; marks and purges make nothing leave

    def left(self) -> list[Owed]:
        """Return what is not known to be delivered, and forget the rest."""
        self._owed = [*filter(self._undelivered, self._owed)]
        return self._owed

    def drained(self) -> list[Owed]:
        """Return what was collected since it was asked last."""
        drained, self._owed = self._owed, []
        return drained

    def _known_before(self, turn: Turn | Snapshot) -> RunState | None:
        """Return the state before a turn in the tables; the ones after it go on from there."""
        state = self._known.get(turn.run_id)
        if state is None or state.events != turn.first:
            state = state_before(self._tables, turn.workflow_id, turn.run_id, turn.first)
        if state is not None:
            self._known.keep(state)
            self._known.trim()
        return state

    def _undelivered(self, owed: Owed) -> bool:
        effect = owed.effect
        crosses = isinstance(effect, Message) and self._border.crosses(effect)
        if crosses or isinstance(effect, OutputRecord):
            return owed.offset >= self.published
        return owed.offset >= self.delivered
