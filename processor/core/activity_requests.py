"""What clients say about one activity of a run, in the place of the worker that ran it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from processor.core.attempts import failed, stopped
from processor.core.data.bounds import NUMBER_MAX, check_failure, check_range
from processor.core.data.failure import Failure
from processor.core.data.fields import Int32, OnlyChain, OnlyRun, RequestId
from processor.core.data.frozen import frozen
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.draft import Draft
from processor.core.nouns.activity import ActivityCompleted, ActivityFailed, OpenActivity
from processor.core.nouns.run import Summary
from processor.core.operation import OperationOnRun
from processor.core.records.answers import HeartbeatSeen, Refused, ReplyBody
from processor.core.records.effects import CancelAttempt
from processor.errors import SchemaMismatch

__all__ = ("REPORTS", "ReportAttempt")

REPORTS: Final = ("completed", "failed", "cancelled", "heartbeat")


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
            return "it is over (completed, failed or given up), or there never was one"
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
        which = f"activity {self.id} of {_run(latest)} takes no report"
        return Refused("ActivityNotOpen", f"{which} ({self.kind}): {why}")


def _run(latest: Summary) -> str:
    return f"run {latest.run_id} of {latest.workflow_id!r}"
