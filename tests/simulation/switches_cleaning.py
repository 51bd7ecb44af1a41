"""Protections switched off: what may be forgotten, half-cleaned logs, levels, replay."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any

import pytest

from processor.core.records.marks import Mark
from processor.core.records.turn import turn_of_key
from processor.core.state import RunState
from processor.shard.ports import Changes
from processor.shard.recovery import fold
from processor.shard.recovery.fold import Fold
from processor.shard.recovery.forgetting import Forgetting
from processor.shard.recovery.takeover import Taken, Takeover
from processor.shard.storing import Storing
from processor.store.projections import Projections, replaced
from processor.store.projections.replaced import Replaced
from processor.store.rows import number_key
from processor.workflow._guard.library import Library

# --- what may be forgotten --------------------------------------------------------------------


def forgotten_before_delivery(patch: pytest.MonkeyPatch) -> None:
    """Give up what a mark covers, delivered and published or not."""

    def covered(self: Forgetting, mark: Mark, offset: int) -> None:
        self._below = max(self._below, offset)
        self.more = True

    patch.setattr(Forgetting, "covered", covered)


def forgotten_without_mark(patch: pytest.MonkeyPatch) -> None:
    """Give up at once what is replaced."""
    step = Forgetting.step

    def at_once(self: Forgetting) -> None:
        self._below = 1 << 62
        step(self)

    patch.setattr(Forgetting, "step", at_once)


def claims_dropped_with_ghosts(patch: pytest.MonkeyPatch) -> None:
    """Give up a claim while records are there that only it exposes."""
    claimed = Fold._claimed

    def without_ghosts(self: Fold, offset: int, key: bytes, level: int) -> None:
        self.claims.last = self.claims.last._replace(ghosts=(), more=False)
        claimed(self, offset, key, level)

    patch.setattr(Fold, "_claimed", without_ghosts)


def ghosts_kept(patch: pytest.MonkeyPatch) -> None:
    """Leave ghosts where they are, for ever."""

    ghost, store_ghosts = Fold._ghost, Storing._store_ghosts

    def noted(self: Fold, record: Any) -> None:
        before = len(self._changes.replaced)
        ghost(self, record)
        del self._changes.replaced[before:]

    def stored(self: Storing, changes: Any) -> None:
        before = len(changes.replaced)
        store_ghosts(self, changes)
        del changes.replaced[before:]

    patch.setattr(Fold, "_ghost", noted)
    patch.setattr(Storing, "_store_ghosts", stored)


def claims_not_inferred(patch: pytest.MonkeyPatch) -> None:
    """Count a record only where its claim is still in the log."""
    patch.setattr(fold, "counts", lambda named, epoch: named == epoch)


def headless_not_skipped(patch: pytest.MonkeyPatch) -> None:
    """Take the first turn that is there for the first one."""
    state_at = Fold._state_at

    def begin(self: Fold, turn: Any) -> RunState:
        state = state_at(self, turn)
        if state is None:
            state = RunState(turn.workflow_id, turn.run_id)
            self._states.keep(state)
        return state

    patch.setattr(Fold, "_state_at", begin)


def gaps_not_seen(patch: pytest.MonkeyPatch) -> None:
    """Go on from tables that miss what the cleaner has taken."""

    def none(run_id: str, known: int, follows: str) -> Exception:
        return AssertionError(f"{run_id}: turn 0 at {known}")

    patch.setattr(fold, "_gap", none)


def snapshots_not_read(patch: pytest.MonkeyPatch) -> None:
    """Wait for the beginning of a run of which only a snapshot is left."""
    patch.setattr(Fold, "_apply_image", lambda self, offset, key, value, snapshot: None)


def purges_not_read(patch: pytest.MonkeyPatch) -> None:
    """Keep a run for as long as its turns are there, purged or not."""
    patch.setattr(Fold, "_apply_purged", lambda self, offset, key, value, purged: None)


def attempts_not_folded(patch: pytest.MonkeyPatch) -> None:
    """Let each attempt stand where the history has it."""
    patch.setattr(Fold, "_apply_attempt", lambda self, offset, key, value, entry: None)


def middle_first(patch: pytest.MonkeyPatch) -> None:
    """Give up the turns of a run in any order."""

    def key_of(offset: int, key: bytes) -> bytes:
        turn = turn_of_key(key)
        number = 0 if turn is None else turn[1]
        return number_key(offset) + number_key(1_000_000 - number) + key

    patch.setattr(replaced, "replaced_key", key_of)


def tombstones_believed(patch: pytest.MonkeyPatch) -> None:
    """Drop what has a tombstone, whoever wrote it."""
    change = Projections.change

    def forget_all(self: Projections, changes: Changes) -> None:
        change(self, changes)
        for turn in filter(None, map(turn_of_key, changes.tombstones)):
            self.runs._summaries[turn[0]] = None

    patch.setattr(Projections, "change", forget_all)
    patch.setattr(Replaced, "_forget_all", lambda self, keys: None)


# --- levels, and replay -----------------------------------------------------------------------


def levels_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    """Own a shard whatever its level is."""
    survey = Takeover.survey

    def survey_for_checks(self: Takeover) -> None:
        if self._owner == "a check":
            survey(self)

    patch.setattr(Takeover, "survey", survey_for_checks)
    patch.setattr(Takeover, "_check_level", lambda self, level: None)


def low_claims_kept(patch: pytest.MonkeyPatch) -> None:
    """Go on under a claim below the level that was raised meanwhile."""
    take_over = Takeover.fold

    def fold_at_level(self: Takeover, epoch: int, published: int) -> Taken:
        self._level, own = 1 << 30, self._level
        finish = Fold.finish
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(
                Fold,
                "finish",
                lambda folded, epoch, key, level: finish(folded, epoch, key, own),
            )
            try:
                return take_over(self, epoch, published)
            finally:
                self._level = own

    patch.setattr(Takeover, "fold", fold_at_level)


def libraries_draw_anew(patch: pytest.MonkeyPatch) -> None:
    """Let what payload classes make up be another value at each replay."""
    numbers = count()
    patch.setattr(Library, "random", property(lambda self: Random(next(numbers))))
