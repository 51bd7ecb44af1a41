"""The lock of an entity: one run holds it, others wait for it in the queue of the operations.

Each grant has a number that is higher than all before it, also over the end of the entity's run:
it is the time of the grant, or one more than the last number. What the holder asks for names the
number, so that a grant which was freed meanwhile is noticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from processor.checks import TEXT_BYTES_MAX
from processor.core.data.address import Caller
from processor.core.data.bounds import NUMBER_MAX, check_range, check_text
from processor.core.data.fields import OnlyChain, OnlyRun, Reason
from processor.core.data.frozen import frozen
from processor.core.entity_id import is_entity_id
from processor.core.event import Decision, Drafting, Event, Fact
from processor.core.nouns.awaited import Callers, awaited
from processor.core.nouns.run import Summary
from processor.core.nouns.update import UpdateAccepted, UpdateRun
from processor.core.operation import OperationOnRun
from processor.core.records.answers import Locked, Refused, ReplyBody
from processor.core.records.effects import Effect

__all__ = (
    "CallUnderLock",
    "HeldLock",
    "HolderCalled",
    "LockEntity",
    "LockFreed",
    "LockGranted",
    "LockRequested",
    "LockWithdrawn",
    "Lockable",
    "UnlockEntity",
    "lost",
    "next_number",
)

LOCK: Final = "lock"
"""What whoever waits for the lock waits for (``AnswerAwaited.kind``)."""

_HOLDER_TIMES: Final = 2
"""The bounds of the queue are so many times as high for the holder: a full queue lets it in, and
calls that it gave up waiting for do not pile up for ever.
"""

_REQUESTED_BYTES: Final = 200
"""About what a request for the lock takes."""


@frozen
class HeldLock:
    """A grant of an entity's lock."""

    holder: Caller
    """The run that holds it, and its request."""
    number: int
    """Fencing number of the grant."""
    since_ms: int
    """When it was granted, in milliseconds since the epoch."""


@dataclass
class Lockable(Callers):
    """``lock``: who holds it. ``lock_number``: that of the last grant."""

    lock: HeldLock | None = None
    lock_number: int = 0

    def holds(self, caller: Caller) -> bool:
        """Return whether this request holds the lock."""
        return self.lock is not None and self.lock.holder == caller

    def waits_for_lock(self) -> tuple[Caller, ...]:
        """Return the requests that wait for the lock, in order."""
        return tuple(each for each, (kind, _) in self.callers.items() if kind == LOCK)

    def without(self, caller: Caller) -> Event | None:
        if self.lock is not None and self.holds(caller):
            return LockFreed(self.lock.number)
        if self.callers.get(caller, ("", ""))[0] == LOCK:
            return LockWithdrawn(caller)
        return Callers.without(self, caller)


def next_number(last: int, now_ms: int) -> int:
    """Return the number of a grant at this time, after one with the number ``last``."""
    return max(last + 1, now_ms)


def lost(workflow_id: str, number: int, holder: HeldLock | None) -> str:
    """Return what a holder is told whose grant was freed."""
    now = "nobody holds it now"
    if holder is not None:
        run = holder.holder
        now = (
            f"run {run.run_id} of {run.address.workflow_id!r} holds it now, under number "
            f"{holder.number}"
        )
    return (
        f"the lock of entity {workflow_id!r} under number {number} was freed, and {now}. The call "
        "was not taken, and what was done under the lock stays: end the block, look at the "
        "entities, and lock them again"
    )


# --- events ---------------------------------------------------------------------------------------


@frozen
class LockRequested(Fact):
    """A run asked for the lock of the entity, and waits in the queue of its operations."""

    caller: Caller
    """Who waits."""

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return _REQUESTED_BYTES

    def apply(self, run: Lockable, now_ms: int) -> None:
        assert self.caller not in run.callers, f"call {self.caller} asks for the lock once"
        run.callers[self.caller] = LOCK, ""


@frozen
class LockWithdrawn(Fact):
    """A run waits for the lock of the entity no more."""

    caller: Caller
    """Who waited."""

    def apply(self, run: Lockable, now_ms: int) -> None:
        assert self.caller in run.callers, f"call {self.caller} waits"
        del run.callers[self.caller]


@frozen
class LockGranted(Decision):
    """The entity is locked: only operations of the holder run."""

    holder: Caller
    """The run that holds the lock, and its request."""
    number: int
    """Fencing number of the grant: higher than those of all before it."""

    identity = ("holder", "number")

    def apply(self, run: Lockable, now_ms: int) -> None:
        assert run.lock is None, f"{run.workflow_id!r} is locked by {run.lock}"
        assert self.number > run.lock_number, f"number {self.number}, after {run.lock_number}"
        del run.callers[self.holder]
        run.lock, run.lock_number = HeldLock(self.holder, self.number, now_ms), self.number

    def effects(self, run: Lockable, now_ms: int) -> Sequence[Effect]:
        return (run.told(self.holder, Locked(self.number)),)


@frozen
class LockFreed(Fact):
    """The lock of the entity is free: the holder gave it back or has ended, or an operator did."""

    number: int
    """Number of the grant."""
    reason: Reason = ""
    """Why an operator freed it; empty where the holder gave it back."""

    def apply(self, run: Lockable, now_ms: int) -> None:
        assert run.lock is not None, f"{run.workflow_id!r} is locked"
        assert run.lock.number == self.number, f"{run.lock} is not number {self.number}"
        run.lock = None


@frozen
class HolderCalled(UpdateAccepted):
    """The holder of the lock called an operation: it runs before what waits for the lock."""

    number: int = 0
    """Number of the grant."""


# --- what may be asked ----------------------------------------------------------------------------


@frozen
class LockEntity(OperationOnRun):
    """Lock an entity for the run that asks, behind all that was asked of the entity before."""

    by_hand = False

    def which(self) -> tuple[str | None, str | None]:
        return None, None

    def refusal(self, workflow_id: str, caller: Caller | None) -> Refused | None:
        if caller is None:
            why = f"the lock of {workflow_id!r} is held by a run: lock it in a workflow"
            return Refused("CommandRejected", f"{why} (workflow.lock)")
        if not is_entity_id(workflow_id):
            return Refused("CommandRejected", f"{workflow_id!r} is no entity, and has no lock")
        return None

    def begins_with(self, caller: Caller | None, now_ms: int) -> Sequence[Event]:
        assert caller is not None, "whoever asks is known"
        return (LockRequested(caller),)

    def decide(self, draft: Drafting, latest: Summary) -> ReplyBody | None:
        run: Lockable = draft.run
        caller = draft.caller
        refused = self.refusal(run.workflow_id, caller)
        if refused is not None:
            return refused
        assert caller is not None, "whoever asks is known"
        which = f"entity {run.workflow_id!r}"
        if run.holds(caller) or caller in run.callers:
            return Refused("CommandRejected", f"call {caller.call} has asked {which} before")
        if run.parked is not None:
            why = f"{which} is parked, so its lock is given to nobody"
            return Refused("CommandRejected", f"{why}: ask again when it goes on")
        requested = LockRequested(caller)
        bound = draft.full(requested)
        if bound:
            why = f"{which} has {bound}, so its lock was not asked for"
            return Refused("CommandRejected", f"{why}: ask again when some have ended")
        waits = awaited(run, caller, LOCK, "")
        if isinstance(waits, Refused):
            return waits
        draft.advance(requested)
        return None


@frozen
class CallUnderLock(UpdateRun):
    """Ask a locked entity for an operation, as the holder of its lock."""

    number: int = 0
    """Number of the grant."""

    by_hand = False
    word = ""

    def check(self) -> None:
        UpdateRun.check(self)
        check_range("number of the lock", self.number, 0, NUMBER_MAX)

    def decide(self, draft: Drafting, latest: Summary) -> ReplyBody | None:
        run: Lockable = draft.run
        held, caller = run.lock, draft.caller
        if caller is None or not _is_of(held, caller, self.number):
            return Refused("LockLost", lost(run.workflow_id, self.number, held))
        return UpdateRun.decide(self, draft, latest)

    def taken(self, validated: bool) -> UpdateAccepted:
        what = self.id, self.name, self.arguments, validated, self.headers
        return HolderCalled(*what, self.number)

    def bound(self, draft: Drafting, accepted: UpdateAccepted) -> str:
        return draft.full(accepted, _HOLDER_TIMES)


def _is_of(held: HeldLock | None, caller: Caller, number: int) -> bool:
    if held is None or held.number != number:
        return False
    return (held.holder.address, held.holder.run_id) == (caller.address, caller.run_id)


@frozen
class UnlockEntity(OperationOnRun):
    """Free the lock of an entity, whoever holds it."""

    reason: Reason = ""
    """Why, for people."""
    number: int | None = None
    """Only if it is held under this number; None: whichever it is."""
    run_id: OnlyRun = None
    first_run_id: OnlyChain = None

    word = "unlock"

    def check(self) -> None:
        check_text("reason", self.reason, TEXT_BYTES_MAX, least=0)
        check_range("number of the lock", self.number, 1, NUMBER_MAX)

    def decide(self, draft: Drafting, latest: Summary) -> ReplyBody | None:
        held: HeldLock | None = draft.run.lock
        if held is None or self.number not in (None, held.number):
            return latest.accepted(created=False)
        draft.advance(LockFreed(held.number, self.reason or "an operator freed it"))
        return None
