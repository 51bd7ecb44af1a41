"""Protections switched off: attempts that are left open, asked to stop, or paused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processor.core import attempts
from processor.core.activity_requests import ReportAttempt
from processor.core.nouns.activity import (
    ActivityAdjusted,
    ActivityStopRequested,
    AttemptState,
    OpenActivities,
    OpenActivity,
)
from processor.core.records.effects import CancelAttempt
from processor.shard.ports import Confirmed
from processor.store.projections.attempts import Attempts


def open_attempts_are_of_a_process(patch: pytest.MonkeyPatch) -> None:
    """Let what an eager function left open be lost with its process."""
    left_open = attempts._left_open

    def stays(state: AttemptState, now_ms: int) -> AttemptState:
        return replace(left_open(state, now_ms), eager=state.eager)

    patch.setattr(attempts, "_left_open", stays)


def late_words_count(patch: pytest.MonkeyPatch) -> None:
    """Take what is said of an attempt for the one that is out now."""

    def never(self: ReportAttempt, activity: OpenActivity | None) -> str:
        return "it is over" if activity is None else ""

    patch.setattr(ReportAttempt, "_why_not", never)


def stop_requests_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Ask an attempt to stop, and try it again when it has."""

    def forget(self: ActivityStopRequested, run: OpenActivities, now_ms: int) -> None:
        assert self.id in run.activities

    patch.setattr(ActivityStopRequested, "apply", forget)


def stopped_attempts_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Drop the row of an attempt that is asked to stop: the next owner does not know of it."""

    def drop(self: Attempts, effect: CancelAttempt, confirmed: Confirmed) -> None:
        self._drop(effect.run_id, effect.id)

    patch.setattr(Attempts, "_cancel", drop)


def pauses_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    adjusted = ActivityAdjusted._adjusted

    def goes_on(self: ActivityAdjusted, run: OpenActivities) -> OpenActivity:
        return replace(adjusted(self, run), paused=False)

    patch.setattr(ActivityAdjusted, "_adjusted", goes_on)
