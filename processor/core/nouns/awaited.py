"""Which other runs wait for what of a run: each is told once it is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from processor.core.data.address import Caller
from processor.core.data.bounds import check_caller
from processor.core.data.frozen import frozen
from processor.core.event import Drafting, Event
from processor.core.nouns.run import Run, Summary
from processor.core.nouns.update import unfinished
from processor.core.nouns.value import not_set
from processor.core.operation import OperationOnRun
from processor.core.records.answers import (
    Accepted,
    CallOutcome,
    Closed,
    Refused,
    ReplyBody,
)
from processor.core.records.effects import Effect, RunResult
from processor.policy import Status

__all__ = (
    "AnswerAwaited",
    "AnswerNotAwaited",
    "AwaitedKind",
    "Callers",
    "GiveUpCall",
    "awaited",
    "goes_on",
    "next_run",
)

_CALLERS_MAX: Final = 10_000
"""So many other runs wait for something of one run."""

AwaitedKind = Literal["result", "value", "update", "lock"]


@dataclass
class Callers(Run):
    """``callers``: what each waits for, as its kind and its name."""

    callers: dict[Caller, tuple[str, str]] = field(default_factory=dict)

    def tell(self, kind: str, name: str, outcome: CallOutcome) -> list[Effect]:
        waits = self.callers.items()
        return [self.told(caller, outcome) for caller, what in waits if what == (kind, name)]

    def have_heard(self, kind: str, name: str) -> None:
        for caller in [each for each, what in self.callers.items() if what == (kind, name)]:
            del self.callers[caller]

    def without(self, caller: Caller) -> Event | None:
        """Return the event by which a run waits no more; None where it does not."""
        return AnswerNotAwaited(caller) if caller in self.callers else None

    def leave(self, end: RunResult) -> Iterator[Effect]:
        for caller, (kind, name) in self.callers.items():
            yield self.told(caller, _at_the_end(end, kind, name))


def _at_the_end(end: RunResult, kind: str, name: str) -> CallOutcome:
    """Return what a run is told that waits for something of one which ends without it."""
    if kind == "update":
        return unfinished(end, name)
    if kind == "lock":
        why = f"entity {end.workflow_id!r} has ended ({end.status}) before it was locked"
        return Refused("CommandRejected", f"{why}: lock it again, and it begins anew")
    if end.successor_run_id is not None and goes_on(end.status):
        return next_run(end.run_id, end.successor_run_id)
    if kind == "value":
        return not_set(end, name, -1)
    return end.told()


def goes_on(status: str) -> bool:
    """Return whether the run that follows one with this end is of the same chain."""
    return status != Status.TERMINATED


def next_run(run_id: str, successor: str) -> Closed:
    """Return what says that another run of the chain has to be asked."""
    return Closed(run_id, Status.CONTINUED.value, reason=successor)


def awaited(run: Callers, caller: Caller, kind: AwaitedKind, name: str) -> AnswerAwaited | Refused:
    """Return the event by which another run waits, or why it cannot."""
    if run.callers.get(caller, ("", ""))[0] == "lock":
        which = f"call {caller.call} of run {caller.run_id}"
        return Refused("CommandRejected", f"{which} waits for the lock of {run.workflow_id!r}")
    if len(run.callers) < _CALLERS_MAX or caller in run.callers:
        return AnswerAwaited(caller, kind, name)
    why = f"run {run.run_id} of {run.workflow_id!r} has {_CALLERS_MAX:,} runs that wait for it"
    return Refused("CommandRejected", f"{why}: ask again when some have been answered")


# --- events -----------------------------------------------------------------------------------


@frozen
class AnswerAwaited(Event):
    """Another run waits for something of this one, and is told it once it is there."""

    caller: Caller
    """Who waits."""
    kind: str
    """What is waited for: result, value, update. A string, so that a new kind breaks no reader."""
    name: str = ""
    """Name of the value, or id of the update."""

    wakes_code = False

    def apply(self, run: Callers, now_ms: int) -> None:
        run.callers[self.caller] = self.kind, self.name


@frozen
class AnswerNotAwaited(Event):
    """Another run waits no more."""

    caller: Caller
    """Who waited."""

    wakes_code = False

    def apply(self, run: Callers, now_ms: int) -> None:
        assert self.caller in run.callers, f"call {self.caller} waits"
        del run.callers[self.caller]


# --- what may be asked ------------------------------------------------------------------------


@frozen
class GiveUpCall(OperationOnRun):
    """Wait no more for something of a run, or give its lock back: the code needs it no more."""

    caller: Caller
    """The call that is given up."""

    by_hand = False

    def check(self) -> None:
        check_caller(self.caller)

    def which(self) -> tuple[str | None, str | None]:
        return None, None

    def decide(self, draft: Drafting, latest: Summary) -> ReplyBody | None:
        gone = draft.run.without(self.caller)
        if gone is None:
            return latest.accepted(created=False)
        if gone.wakes_code:
            draft.advance(gone)
        else:
            draft.add(gone)
        return None

    def not_found(self, workflow_id: str) -> ReplyBody:
        return Accepted("", created=False)
