"""Good commands of every kind, which the fuzz makes bad ones of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from random import Random
from typing import Final

from processor.core.activity_requests import ADJUSTMENTS, REPORTS, AdjustActivity, ReportAttempt
from processor.core.data.address import Address, Caller, RunRef
from processor.core.data.failure import Failure
from processor.core.data.options import ActivityOptions
from processor.core.nouns.awaited import GiveUpCall
from processor.core.nouns.call import AnswerCall
from processor.core.nouns.child import EndChild, TerminateWith
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.lineage import Plan, RetryOptions
from processor.core.nouns.locks.granting import CallUnderLock, LockEntity, UnlockEntity
from processor.core.nouns.promise import PromiseId, RejectPromise, ResolvePromise
from processor.core.nouns.start import StartChild, StartPlanned, StartRun, StartWith
from processor.core.nouns.stop import CancelRun, TerminateRun
from processor.core.nouns.timer import StartNow
from processor.core.nouns.update import AwaitUpdate, UpdateRun
from processor.core.nouns.value import AwaitValue
from processor.core.operation import Request
from processor.core.questions import (
    AwaitResult,
    DescribeRun,
    ListRuns,
    QueryRun,
    ReadHistory,
    ReadShard,
)
from processor.core.records.answers import (
    Accepted,
    Closed,
    QueryAnswered,
    Refused,
    UpdateEnded,
    ValueIs,
)

__all__ = ("BODIES", "DEEP_FAILURE", "IDS", "OUTCOMES", "body_of")

IDS: Final = ("a", "b", "c", "d")

_FAILURE: Final = Failure("application", "E", "no")
DEEP_FAILURE: Final = reduce(lambda cause, _: replace(cause, cause=cause), range(400), _FAILURE)
"""More causes than anything that we write has, one behind the other."""

OUTCOMES: Final = (
    Accepted("x"),
    Refused("E", "no"),
    Closed("x", "completed", b"1"),
    Closed("x", "failed", failure=_FAILURE),
    QueryAnswered("x", b"1"),
    UpdateEnded("x", "u1", None, _FAILURE),
    ValueIs("x", 1, b"1"),
)
_HEADERS: Final = (("h", b"1"),)
_PLAN: Final = Plan(retry=RetryOptions(1_000, 2.0, 100_000, 3, ("KeyError",)))
_OPTIONS: Final = ActivityOptions(heartbeat_ms=1_000, maximum_attempts=3, non_retryable=("E",))


def body_of(dice: Random, run_id: str) -> Request:
    """Return a good body, about ``run_id`` where it names a run."""
    return dice.choice(BODIES)(dice, run_id)


def _first(dice: Random) -> RaiseEvent | UpdateRun:
    update = UpdateRun(f"u{dice.randrange(100)}", "u", b"[1]", outcome_within_ms=1_000)
    return dice.choice((RaiseEvent("e", b"1"), update))


def _report(dice: Random, run_id: str) -> Request:
    kind, number = dice.choice(REPORTS), dice.randrange(8)
    attempt = dice.choice((None, 1, 2))
    failure = _FAILURE if kind == "failed" else None
    return ReportAttempt(number, kind, b"1", failure, attempt, headers=_HEADERS)


def _adjust(dice: Random, run_id: str) -> Request:
    changes = ("heartbeat_ms", "maximum_attempts", "non_retryable")
    return AdjustActivity(dice.randrange(8), dice.choice(ADJUSTMENTS), _OPTIONS, changes, "why")


def _child(dice: Random, run_id: str) -> Request:
    root, tells = RunRef("a", run_id), dice.random() < 0.5
    return StartChild("mirror", b"[1]", "allow", "fail", plan=_PLAN, root=root, tells_start=tells)


def _promise(dice: Random, run_id: str) -> str:
    return PromiseId(dice.choice(IDS), run_id or "none", dice.randrange(1, 8)).text


def _ends(dice: Random, run_id: str) -> Request:
    caller = Caller(Address(None, dice.choice(IDS)), run_id, dice.randrange(6))
    return EndChild(caller, dice.choice(("terminate", "cancel")), "why")


def _gives_up(dice: Random, run_id: str) -> Request:
    return GiveUpCall(Caller(Address(None, dice.choice(IDS)), run_id, dice.randrange(6)))


BODIES: Final[tuple[Callable[[Random, str], Request], ...]] = (
    lambda dice, run_id: StartRun("mirror", b"[1]", "allow", "use-existing", 60_000, b"{}"),
    lambda dice, run_id: StartRun("mirror", b"[[1]]", "allow", "terminate", headers=_HEADERS),
    lambda dice, run_id: StartPlanned("mirror", b"[1]", "allow", "terminate", plan=_PLAN),
    lambda dice, run_id: StartPlanned("mirror", b"[1]", plan=Plan(cron="@hourly")),
    lambda dice, run_id: StartWith("mirror", conflict="use-existing", first=_first(dice)),
    _child,
    *(lambda dice, run_id: RaiseEvent("e", b'{"x": 1}', headers=_HEADERS),) * 3,
    lambda dice, run_id: RaiseEvent("e", b"7"),
    lambda dice, run_id: RaiseEvent("s", b"[7, 8]"),
    lambda dice, run_id: CancelRun("why"),
    lambda dice, run_id: TerminateRun("why", first_run_id=run_id),
    lambda dice, run_id: TerminateWith("why", recursive=False, output=b"[3]"),
    _ends,
    _gives_up,
    lambda dice, run_id: AwaitResult(timeout_ms=1_000),
    lambda dice, run_id: DescribeRun(),
    lambda dice, run_id: ReadHistory(first=1),
    lambda dice, run_id: ListRuns(limit=10),
    lambda dice, run_id: ReadShard(),
    lambda dice, run_id: AnswerCall(run_id, dice.randrange(8), dice.choice(OUTCOMES)),
    lambda dice, run_id: QueryRun("q", b"[1]"),
    lambda dice, run_id: UpdateRun(
        f"u{dice.randrange(100)}", "u", b"[1]", headers=_HEADERS, outcome_within_ms=1_000
    ),
    lambda dice, run_id: UpdateRun(f"u{dice.randrange(100)}", "other", b"[]"),
    lambda dice, run_id: AwaitUpdate(f"u{dice.randrange(100)}", timeout_ms=1_000),
    lambda dice, run_id: AwaitValue(f"v{dice.randrange(3)}", dice.randrange(9), timeout_ms=1_000),
    lambda dice, run_id: StartNow(),
    lambda dice, run_id: ResolvePromise(_promise(dice, run_id), b"1", _HEADERS),
    lambda dice, run_id: RejectPromise(_promise(dice, run_id), "no", "E", b"1"),
    _report,
    _adjust,
    lambda dice, run_id: LockEntity(),
    lambda dice, run_id: StartWith("mirror", conflict="use-existing", first=LockEntity()),
    lambda dice, run_id: CallUnderLock(f"u{dice.randrange(100)}", "u", b"[1]", number=5),
    lambda dice, run_id: UnlockEntity("why", dice.choice((None, 5))),
)
