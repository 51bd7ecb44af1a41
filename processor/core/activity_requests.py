"""What clients say about one activity of a run: how an attempt ends, and how it is to go on."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Final

from processor.checks import TEXT_BYTES_MAX, queue
from processor.core.attempts import failed, retried, stopped
from processor.core.data.bounds import (
    DURATION_MS_MAX,
    NUMBER_MAX,
    check_failure,
    check_range,
    check_text,
)
from processor.core.data.failure import Failure
from processor.core.data.fields import Int32, OnlyChain, OnlyRun, Reason, RequestId
from processor.core.data.frozen import frozen
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.data.options import DEFAULTS, ActivityOptions
from processor.core.draft import Draft
from processor.core.nouns.activity import (
    ActivityAdjusted,
    ActivityCompleted,
    ActivityFailed,
    OpenActivity,
)
from processor.core.nouns.run import Summary
from processor.core.operation import OperationOnRun
from processor.core.records.answers import HeartbeatSeen, Refused, ReplyBody
from processor.core.records.effects import CancelAttempt
from processor.errors import InvalidArgument, SchemaMismatch
from processor.policy import COEFFICIENT_MAX

__all__ = ("ADJUSTMENTS", "REPORTS", "AdjustActivity", "ReportAttempt", "check_option")

REPORTS: Final = ("completed", "failed", "cancelled", "heartbeat")
ADJUSTMENTS: Final = ("pause", "resume", "retry-now", "reset", "set")
_OPTIONS: Final = tuple(each.name for each in fields(ActivityOptions))


@frozen
class ReportAttempt(OperationOnRun):
    """Say how an attempt of an activity has ended, or that it is alive."""

    id: RequestId
    kind: str
    """What is said: completed (payload is the result), failed (failure), cancelled (it has stopped
    as it was asked to), heartbeat (payload are its details). A string, so that a new kind breaks no
    reader.
    """
    payload: bytes | None = None
    """Encoded result, or details of a heartbeat."""
    failure: Failure | None = None
    """Why the attempt failed."""
    attempt: Int32 | None = None
    """Number of the attempt that is meant; None means the activity, whatever attempt is out."""
    run_id: OnlyRun = None
    first_run_id: OnlyChain = None
    headers: Headers = NO_HEADERS

    word = "report"
    by_hand = False

    def check(self) -> None:
        check_range("number of the activity", self.id, 0, NUMBER_MAX)
        check_failure(self.failure)
        if self.kind not in REPORTS:
            raise SchemaMismatch(f"kind is one of {', '.join(REPORTS)}, not {self.kind!r}")
        if self.kind == "failed" and self.failure is None:
            raise SchemaMismatch("a report of a failure says no failure; give it one")

    def decide(self, draft: Draft, latest: Summary) -> ReplyBody | None:
        assert self.kind in REPORTS, f"{self.kind} was checked"
        activity = draft.run.activities.get(self.id)
        why = self._why_not(activity)
        if activity is None or why:
            return self._refused(latest, why)
        match self.kind:
            case "heartbeat":
                after = replace(activity.state, heartbeat_ms=draft.now_ms, details=self.payload)
                draft.stands(activity, after)
                stop = activity.stop_ms is not None
                return HeartbeatSeen(latest.run_id, self.id, activity.attempt, stop)
            case "completed":
                self._stop(draft, activity)
                draft.advance(
                    ActivityCompleted(self.id, activity.attempt, self.payload, self.headers)
                )
            case "failed":
                assert self.failure is not None, "it was checked"
                self._stop(draft, activity)
                if activity.state.retry_at_ms is None:
                    failed(draft, activity, self.failure, self.headers)
                else:
                    draft.advance(ActivityFailed(self.id, activity.attempt, self.failure))
            case _ if activity.stop_ms is None:
                return Refused(
                    "CommandRejected",
                    f"activity {self.id} of {_run(latest)} was not asked to stop: let it fail",
                )
            case _:
                draft.advance(stopped(activity))
        return None

    def when_closed(self, latest: Summary) -> ReplyBody:
        return self._refused(latest, f"the run is {latest.status.value}")

    def not_found(self, workflow_id: str) -> ReplyBody:
        refused = OperationOnRun.not_found(self, workflow_id)
        if self.run_id is None or not isinstance(refused, Refused):
            return refused
        return Refused("ActivityNotOpen", f"{refused.message}: it has ended, or never was")

    def _why_not(self, activity: OpenActivity | None) -> str:
        """Return why what is said can have no effect any more; "" where it has one."""
        if activity is None:
            return OVER
        waits = activity.state.retry_at_ms is not None
        if self.attempt is None:
            return "it waits for its next attempt" if waits and self.kind == "heartbeat" else ""
        if self.attempt == activity.attempt and not waits:
            return ""
        if waits:
            return f"attempt {self.attempt} is over, and attempt {activity.attempt + 1} will follow"
        return f"attempt {self.attempt} is over, and attempt {activity.attempt} is out"

    def _stop(self, draft: Draft, activity: OpenActivity) -> None:
        """Stop the function of an attempt that ends by hand while it runs."""
        if self.attempt is None and not activity.state.is_left_open:
            draft.effects.append(CancelAttempt(draft.run.run_id, activity.id))

    def _refused(self, latest: Summary, why: str) -> ReplyBody:
        if self.kind == "cancelled":
            return latest.accepted(created=False)
        return _not_open(self.id, latest, self.kind, why)


@frozen
class AdjustActivity(OperationOnRun):
    """Change how an activity goes on, from its next attempt on; one that runs is left alone."""

    id: RequestId
    how: str
    """What is to be done: pause (no other attempt begins), resume, retry-now (the next attempt
    begins at once), reset (to the retry policy, the next attempt is the first one), set (options).
    A string, so that a new one breaks no reader.
    """
    options: ActivityOptions | None = None
    """Options of which those count that are named in changes."""
    changes: tuple[str, ...] = ()
    """Names of the options that change."""
    reason: Reason = ""
    run_id: OnlyRun = None
    first_run_id: OnlyChain = None

    word = "adjust"
    by_hand = False

    def check(self) -> None:
        check_range("number of the activity", self.id, 0, NUMBER_MAX)
        check_text("reason", self.reason, TEXT_BYTES_MAX, least=0)
        if self.how not in ADJUSTMENTS:
            raise SchemaMismatch(f"how is one of {', '.join(ADJUSTMENTS)}, not {self.how!r}")
        for name in self.changes:
            if name not in _OPTIONS:
                raise SchemaMismatch(f"there is no option {name!r}; there are {_OPTIONS}")
            check_option(name, getattr(self.options or DEFAULTS, name))

    def decide(self, draft: Draft, latest: Summary) -> ReplyBody | None:
        activity = draft.run.activities.get(self.id)
        if activity is None:
            return _not_open(self.id, latest, self.how, OVER)
        if self.how == "retry-now":
            if activity.state.retry_at_ms is None or activity.stop_ms is not None:
                return latest.accepted(created=False)
            retried(draft, activity, draft.places(activity.name, activity.options))
            return None
        after = self._adjusted(activity)
        if after == activity:
            return latest.accepted(created=False)
        options = None if after.options == DEFAULTS else after.options
        adjusted = ActivityAdjusted(self.id, after.paused, after.counted_from, options, self.reason)
        draft.add(adjusted)
        return None

    def when_closed(self, latest: Summary) -> ReplyBody:
        return _not_open(self.id, latest, self.how, f"the run is {latest.status.value}")

    def _adjusted(self, activity: OpenActivity) -> OpenActivity:
        match self.how:
            case "pause" | "resume":
                return replace(activity, paused=self.how == "pause")
            case "reset":
                waits = activity.state.retry_at_ms is not None
                return replace(activity, counted_from=activity.attempt + waits)
            case _:
                assert self.how == "set", f"{self.how} was checked"
                named = {name: getattr(self.options or DEFAULTS, name) for name in self.changes}
                return replace(activity, options=replace(activity.options, **named))


def check_option(name: str, value: Any) -> None:
    """Refuse what no client of ours sends."""
    if name.endswith("_ms"):
        check_range(name, value, 1, DURATION_MS_MAX)
    elif name == "maximum_attempts":
        check_range(name, value, 1, NUMBER_MAX)
    elif name == "coefficient" and not 1 <= value <= COEFFICIENT_MAX:
        raise SchemaMismatch(f"the coefficient is {value}; it may be 1 to {COEFFICIENT_MAX}")
    elif name == "queue":
        try:
            queue(value, "queue")
        except InvalidArgument as error:
            raise SchemaMismatch(str(error)) from error


OVER: Final = "it is over (completed, failed or given up), or there never was one"


def _not_open(id: int, latest: Summary, what: str, why: str) -> Refused:
    which = f"activity {id} of {_run(latest)} is not open"
    return Refused("ActivityNotOpen", f"{which} ({what}): {why}")


def _run(latest: Summary) -> str:
    return f"run {latest.run_id} of {latest.workflow_id!r}"
