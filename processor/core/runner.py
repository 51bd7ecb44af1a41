"""The seam between the engine and the workflow code: history and new events in, commands out.

Today's runner is the deterministic loop in the same process (``processor.workflow``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from processor.core.commands import Command
from processor.core.events import Event, WorkflowStarted

__all__ = ("CodeError", "Runner", "Runners")


class CodeError(Exception):
    """Workflow code cannot go on: a bug, a mismatch, or code that is not there. Parks the run.

    kind: "bug", "nondeterminism" or "not_registered". ``where`` is ``file:line: source``.
    """

    def __init__(self, kind: str, error: str, where: str = "", traceback: str = "") -> None:
        super().__init__(error)
        self.kind = kind
        self.error = error
        self.where = where
        self.traceback = traceback


class Runner(Protocol):
    """One run's code in memory."""

    def activate(
        self, now_ms: int, facts: Sequence[Event], recorded: Sequence[Event] | None
    ) -> list[Command]:
        """Feed facts in order, run until everything waits, return what was asked for.

        ``recorded`` holds the turn's decisions at replay (side effects take their values from
        it, the logger is silent), None when live. Raises ``CodeError``; the runner is then dead.
        """

    def waiting(self) -> list[str]:
        """Return where the code waits now, one ``file:line function`` for each waiting task."""

    def close(self) -> None:
        """Drop the coroutine without running any more of it."""


class Runners(Protocol):
    """Makes runners from registered workflow code."""

    def start(self, workflow_id: str, run_id: str, started: WorkflowStarted) -> Runner:
        """Return a fresh runner, not yet activated.

        Raises ``WorkflowNotRegistered`` for an unknown name and ``SchemaMismatch`` where the
        arguments do not fit.
        """
