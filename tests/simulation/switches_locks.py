"""Protections of locks, switched off one by one."""

from __future__ import annotations

from typing import Any

import pytest

from processor.core import replay
from processor.core.data.address import Caller
from processor.core.event import Event
from processor.core.nouns.child import Children
from processor.core.nouns.locks import granting, holding
from processor.core.records import snapshot
from processor.core.runner import EntityCode
from processor.workflow._entities import gate, locking

__all__: tuple[str, ...] = ()


def as_they_are_named(patch: pytest.MonkeyPatch) -> None:
    """Lock entities in the order in which the code names them."""
    patch.setattr(locking, "sorted", list, raising=False)


def numbers_not_compared(patch: pytest.MonkeyPatch) -> None:
    """Take a call of whoever says that it holds the lock."""
    patch.setattr(granting, "_is_of", lambda held, caller, number: held is not None)


def not_freed_at_the_end(patch: pytest.MonkeyPatch) -> None:
    """Let a run end without giving back what it holds."""
    patch.setattr(holding.Holding, "left", Children.left)


def not_withdrawn(patch: pytest.MonkeyPatch) -> None:
    """Give the lock to those who wait for it no more."""
    without = granting.Lockable.without

    def keeps(run: granting.Lockable, caller: Caller) -> Event | None:
        gone = without(run, caller)
        return None if isinstance(gone, granting.LockWithdrawn) else gone

    patch.setattr(granting.Lockable, "without", keeps)


def others_let_in(patch: pytest.MonkeyPatch) -> None:
    """Let operations of others begin while somebody holds the lock."""
    grants = gate.LockGate.next

    def lets_in(self: gate.LockGate, turn: Any) -> Any:
        first = self._queue.next if self._queue else None
        return grants(self, turn) if isinstance(first, granting.LockRequested) else first

    patch.setattr(gate.LockGate, "next", lets_in)


def forgotten_by_snapshots(patch: pytest.MonkeyPatch) -> None:
    """Go on from a snapshot as if nobody held the lock."""
    kept_in = replay.kept_in

    def forget(found: snapshot.Snapshot, since: Any = ()) -> Any:
        kept = kept_in(found, since)
        return kept._replace(locked=False) if isinstance(kept, EntityCode) else kept

    patch.setattr(replay, "kept_in", forget)
