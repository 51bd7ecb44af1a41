"""Protections of updates, switched off one by one."""

from __future__ import annotations

from typing import Any

import pytest

from processor.core.nouns.update import UpdateAccepted, UpdateRun
from processor.workflow._engine import runner
from processor.workflow._engine.runtime import SETTLES
from processor.workflow._nouns import update as updates

__all__: tuple[str, ...] = ()


def outcomes_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Begin an update once more though its handler has ended."""
    decide = UpdateRun.decide

    def forget(self: UpdateRun, draft: Any, latest: Any) -> Any:
        known = draft.run.updates.get(self.id)
        if known is not None and known.over:
            del draft.run.updates[self.id]
        return decide(self, draft, latest)

    patch.setattr(UpdateRun, "decide", forget)


def validators_not_asked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(updates, "_validate", lambda *args: None)


def handlers_dropped_at_the_return(patch: pytest.MonkeyPatch) -> None:
    """End the run as soon as its code has returned, whatever its handlers could still do."""
    patch.setattr(runner, "go_on", lambda runtime: None)


def updates_of_starts_dropped(patch: pytest.MonkeyPatch) -> None:
    """Begin a run without the update that its start brought along."""
    accept = SETTLES[UpdateAccepted]

    def drop(runtime: Any, update: UpdateAccepted) -> None:
        if update.validated:
            accept(runtime, update)

    patch.setitem(SETTLES, UpdateAccepted, drop)
