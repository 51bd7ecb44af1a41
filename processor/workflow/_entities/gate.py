"""What the lock of an entity lets through: while it is held, nothing but the holder's calls."""

from __future__ import annotations

from processor.core.entity_id import EntityId
from processor.core.event import Event
from processor.core.nouns.locks.granting import (
    HolderCalled,
    LockFreed,
    LockGranted,
    LockRequested,
    LockWithdrawn,
    lost,
    next_number,
)
from processor.core.runner import EntityCode
from processor.errors import LockLost
from processor.workflow._entities.queue import Message, Queue
from processor.workflow._entities.turn import EntityTurn

__all__ = ("LockGate",)


class LockGate:
    """``locked``: somebody holds the lock. ``number`` is that of the last grant."""

    def __init__(self, id: EntityId, kept: EntityCode, queue: Queue) -> None:
        self._id = id
        self._queue = queue
        self.locked = kept.locked
        self.number = kept.lock_number

    def takes(self, fact: Event) -> bool:
        """Return whether a fact is about the lock, and note it."""
        match fact:
            case LockRequested():
                self._queue.put(fact)
            case LockWithdrawn():
                self._queue.withdraw(fact.caller)
            case LockFreed():
                self.locked = False
            case _:
                return False
        return True

    def next(self, turn: EntityTurn) -> Message | None:
        """Return what may begin next, None where nothing may; who waits for the lock has it."""
        while self._queue:
            first = self._queue.next
            if isinstance(first, HolderCalled) or (
                not self.locked and not isinstance(first, LockRequested)
            ):
                return first
            if self.locked:
                break
            assert isinstance(first, LockRequested), f"{first} may begin"
            self._queue.take()
            self.locked, self.number = True, next_number(self.number, turn.now_ms)
            turn.asked.append((LockGranted(first.caller, self.number), ""))
        return None

    def check(self, message: Message) -> None:
        """Raise ``LockLost`` for a call under a grant that was freed before it could begin."""
        if isinstance(message, HolderCalled) and not self.locked:
            raise LockLost(lost(self._id.workflow_id, message.number, None))
