"""The user's code of one session of a simulated shard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from weakref import WeakSet

from processor.core.data.failure import Failure
from processor.core.event import Event
from processor.core.nouns.external import EventReceived
from processor.core.nouns.run import WorkflowStarted
from processor.core.runner import Asked, Kept, Runner, Runners
from processor.simulation.faults import Faults
from processor.simulation.scheduler import Scheduler

__all__ = ("SessionRunners", "Undecided")

_SURE: Final = 3
"""So many activations after a failure succeed for sure: the second try, the beginning of the run
that follows, and the next one."""


class Undecided(Exception):
    """Deciding fails, as with a bug that shows at times."""


class SessionRunners:
    """Makes runners that sometimes fail, and of which a process that ends leaves nothing.

    In a real process that is so; here what a crash left half made would be unwound by the garbage
    collector, at any time, in a world that goes on.
    """

    def __init__(self, runners: Runners, scheduler: Scheduler, faults: Faults) -> None:
        self.strict = runners.strict
        self.flags = runners.flags
        self.defaults = runners.defaults
        self._runners = runners
        self._scheduler = scheduler
        self._faults = faults
        self._started: WeakSet[Runner] = WeakSet()
        self._sure = 0

    def start(self, workflow_id: str, run_id: str, started: WorkflowStarted, now_ms: int) -> Runner:
        return self._kept(self._runners.start(workflow_id, run_id, started, now_ms))

    def resume(self, workflow_id: str, run_id: str, started: WorkflowStarted, kept: Kept) -> Runner:
        return self._kept(self._runners.resume(workflow_id, run_id, started, kept))

    def difference(self, recorded: bytes | None, now: bytes | None) -> str:
        return self._runners.difference(recorded, now)

    def close(self) -> None:
        for runner in list(self._started):
            runner.close()

    def activates(self) -> None:
        self._sure = max(self._sure - 1, 0)

    def may_fail(self) -> None:
        """Fail, sometimes, but never twice for one input."""
        if not self._sure and self._scheduler.strikes(self._faults, "undecided"):
            self._sure = _SURE
            raise Undecided("deciding fails here, once")

    def _kept(self, runner: Runner) -> Runner:
        self._started.add(runner)
        return _Failing(runner, self) if self._faults.undecided else runner


class _Failing:
    """Fails after the code of a run went on, or once everything that it asks for is recorded."""

    def __init__(self, runner: Runner, session: SessionRunners) -> None:
        self._runner = runner
        self._session = session

    def activate(
        self, now_ms: int, number: int, facts: Sequence[Event], recorded: Sequence[Event] | None
    ) -> list[Asked]:
        asked = self._runner.activate(now_ms, number, facts, recorded)
        if recorded is None:
            self._session.activates()
            self._session.may_fail()
        return asked

    def keep(self) -> None:
        self._runner.keep()

    def forget(self) -> None:
        self._runner.forget()

    def query(self, name: str, arguments: bytes | None) -> bytes | Failure | None:
        return self._runner.query(name, arguments)

    def accepts(self, name: str, arguments: bytes | None) -> bool:
        return self._runner.accepts(name, arguments)

    def snapshot(self) -> Kept | None:
        self._session.may_fail()
        return self._runner.snapshot()

    def unread(self) -> tuple[int, int]:
        return self._runner.unread()

    def left(self) -> Sequence[EventReceived]:
        return self._runner.left()

    def waiting(self) -> list[str]:
        return self._runner.waiting()

    def undo(self, facts: Sequence[Event]) -> None:
        self._runner.undo(facts)

    def close(self) -> None:
        self._runner.close()
