"""Protections switched off: what is forgotten, so that nothing grows."""

from __future__ import annotations

from typing import Any

import pytest

from processor.core.records.marks import Mark
from processor.shard.effects import Effects
from processor.shard.outbox import Unpublished
from processor.shard.reads import Reads
from processor.shard.recovery.takeover import Taken, Takeover
from processor.shard.waiters import Waiters

# --- who waits --------------------------------------------------------------------------------


def answered_still_counted(patch: pytest.MonkeyPatch) -> None:
    """Count those who were answered among those who wait."""
    closed = Reads.closed

    def count_on(self: Reads, result: Any) -> None:
        before = self._waiters._waiting
        closed(self, result)
        self._waiters._waiting = before

    patch.setattr(Reads, "closed", count_on)


def forgotten_still_counted(patch: pytest.MonkeyPatch) -> None:
    """Count those whose time is over among those who wait."""
    forget = Waiters._forget

    def count_on(self: Waiters[Any], now_ms: int) -> None:
        before = self._waiting
        forget(self, now_ms)
        self._waiting = before

    patch.setattr(Waiters, "_forget", count_on)


# --- what is published ------------------------------------------------------------------------


def published_still_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Unpublished, "published", lambda self, floor: None)


def published_not_asked(patch: pytest.MonkeyPatch) -> None:
    """Ignore what the last committed transaction says was published; the publisher drops it."""
    take_over = Takeover.fold

    def from_the_start(self: Takeover, epoch: int, published: int) -> Taken:
        return take_over(self, epoch, 0)

    patch.setattr(Takeover, "fold", from_the_start)


def marks_move_nothing(patch: pytest.MonkeyPatch) -> None:
    """Leave the published position at the last result, however long ago that was."""
    release = Effects.release

    def release_turns(self: Effects, appended: Any) -> int:
        return 0 if isinstance(appended.record, Mark) else release(self, appended)

    patch.setattr(Effects, "release", release_turns)
