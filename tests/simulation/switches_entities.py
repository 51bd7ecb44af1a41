"""Protections of entities, switched off one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace as with_other
from typing import Any

import pytest

from processor.core import replay
from processor.core.nouns.run import WorkflowCancelled
from processor.core.records import snapshot
from processor.core.records.turn import Turn
from processor.core.runner import EntityCode
from processor.workflow._entities import runner

__all__: tuple[str, ...] = ()


def queues_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Go on from a snapshot without the operations that waited."""
    kept_in = replay.kept_in

    def forget(found: snapshot.Snapshot, since: Sequence[Turn] = ()) -> Any:
        kept = kept_in(found, since)
        return kept._replace(queue=(), wake=None) if isinstance(kept, EntityCode) else kept

    patch.setattr(replay, "kept_in", forget)


def histories_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Go on from a snapshot without the operations that are kept for audit."""
    kept_in = replay.kept_in

    def forget(found: snapshot.Snapshot, since: Sequence[Turn] = ()) -> Any:
        kept = kept_in(found, since)
        return kept._replace(history=()) if isinstance(kept, EntityCode) else kept

    patch.setattr(replay, "kept_in", forget)


def begun_again(patch: pytest.MonkeyPatch) -> None:
    """Go on from a delta with all operations that have waited since the snapshot."""
    kept_since = snapshot._kept_since

    def forget(found: snapshot.EntitySnapshot, since: Sequence[Turn]) -> EntityCode:
        kept = kept_since(found, since)
        return kept._replace(queue=(*found.queue, *kept.queue))

    patch.setattr(snapshot, "_kept_since", forget)


def arrivals_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Go on from a delta without the operations that have come since the snapshot."""
    kept_since = snapshot._kept_since

    def forget(found: snapshot.EntitySnapshot, since: Sequence[Turn]) -> EntityCode:
        kept = kept_since(found, since)
        queue = [each for each in kept.queue if each in found.queue]
        return kept._replace(queue=queue)

    patch.setattr(snapshot, "_kept_since", forget)


def ids_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Go on from a snapshot without the ids and the outcomes of calls that have ended."""
    fill = snapshot._fill
    patch.setattr(
        snapshot, "_fill", lambda state, found: fill(state, with_other(found, outcomes=()))
    )


def callers_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Go on from a snapshot without those who wait for an outcome."""
    fill = snapshot._fill
    patch.setattr(
        snapshot, "_fill", lambda state, found: fill(state, with_other(found, callers=()))
    )


def delayed_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Go on from a snapshot without the signals that are due later."""
    fill = snapshot._fill
    patch.setattr(
        snapshot, "_fill", lambda state, found: fill(state, with_other(found, delayed=()))
    )


def cancelled_kept(patch: pytest.MonkeyPatch) -> None:
    """Go on from the fields of an operation that was cancelled, which has not come to any."""
    ended = runner.EntityRunner._ended

    def keep(self: Any, turn: Any, running: Any, asked: Any, closing: Any) -> None:
        if isinstance(closing[0], WorkflowCancelled):
            self._state = running.operating.after
        ended(self, turn, running, asked, closing)

    patch.setattr(runner.EntityRunner, "_ended", keep)


def failures_not_rolled_back(patch: pytest.MonkeyPatch) -> None:
    """Let what a plain operation asked for leave, though it failed."""
    patch.setattr(runner, "SideEffectRecorded", object)
