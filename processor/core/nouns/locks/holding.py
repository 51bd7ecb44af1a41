"""The locks of entities that a run has asked for. What it has not given back, its end frees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from processor.core.data.address import Address
from processor.core.data.fields import RequestId
from processor.core.data.frozen import frozen
from processor.core.entity_id import entity_of
from processor.core.event import Decision, Fact, Whose
from processor.core.nouns.awaited import GiveUpCall
from processor.core.nouns.call import caller_of, unfit
from processor.core.nouns.child import Children
from processor.core.nouns.locks.granting import LockEntity
from processor.core.nouns.start import begins
from processor.core.records.answers import CallOutcome, Locked, Refused
from processor.core.records.effects import Effect, Message

__all__ = ("Holding", "LockAnswered", "LockCalled", "LockReleased", "OpenLock")


@frozen
class OpenLock:
    """A lock that the run waits for, or holds."""

    called: LockCalled
    """How it was asked for."""
    number: int | None = None
    """Fencing number of the grant; None: the run waits."""


@dataclass
class Holding(Children):
    """``locks``: those that the run waits for or holds, by the ids of their requests."""

    locks: dict[int, OpenLock] = field(default_factory=dict)

    def answered(self, call: int, outcome: CallOutcome) -> Fact | Refused | None:
        lock = self.locks.get(call)
        if lock is None:
            return Children.answered(self, call, outcome)
        if lock.number is not None:
            return None
        if isinstance(outcome, Locked | Refused):
            return LockAnswered(call, outcome)
        return unfit(self, call, f"for the lock of {lock.called.to.workflow_id!r}", outcome)

    def left(self) -> Iterator[Effect]:
        for lock in self.locks.values():
            yield lock.called.given_back(self)
        yield from super().left()


@frozen
class LockCalled(Decision):
    """The code asked for the lock of an entity."""

    id: RequestId
    to: Address
    """The entity."""

    identity = ("id", "to")

    def given_back(self, run: Whose) -> Effect:
        """Return what frees the lock, or ends the wait for it."""
        return Message(self.to.workflow_id, GiveUpCall(caller_of(run, self.id)))

    def apply(self, run: Holding, now_ms: int) -> None:
        assert self.id not in run.locks, f"lock {self.id} is asked for once"
        run.locks[self.id] = OpenLock(self)

    def effects(self, run: Holding, now_ms: int) -> Sequence[Effect]:
        to = self.to.workflow_id
        entity = entity_of(to)
        assert entity is not None, f"{to!r} is an entity"
        return (Message(to, begins(entity, LockEntity()), caller_of(run, self.id)),)


@frozen
class LockAnswered(Fact):
    """The entity granted its lock, or refused it."""

    id: RequestId
    outcome: Locked | Refused
    """The number of the grant, or why there is none."""

    def apply(self, run: Holding, now_ms: int) -> None:
        asked = run.locks[self.id]
        assert asked.number is None, f"lock {self.id} is granted once"
        if isinstance(self.outcome, Locked):
            run.locks[self.id] = replace(asked, number=self.outcome.number)
        else:
            del run.locks[self.id]


@frozen
class LockReleased(Decision):
    """The code gave a lock back, or waits for it no more."""

    id: RequestId

    identity = ("id",)

    def apply(self, run: Holding, now_ms: int) -> None:
        assert self.id in run.locks, f"lock {self.id} is open"
        del run.locks[self.id]

    def effects(self, run: Holding, now_ms: int) -> Sequence[Effect]:
        return (run.locks[self.id].called.given_back(run),)
