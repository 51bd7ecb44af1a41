"""Activities in the hands of a client: how an attempt ends that its function has left open."""

from __future__ import annotations

from typing import Any, TypeAlias

from processor import checks
from processor.client.calls import ClientCalls
from processor.core.activity_requests import ReportAttempt
from processor.core.data.task_token import Named, named_by
from processor.core.records.answers import Accepted, HeartbeatSeen
from processor.errors import ActivityNotOpen, InvalidArgument
from processor.failures import bases_of, failure_of

__all__ = ("ActivityCalls", "ActivityToken")

ActivityToken: TypeAlias = str | tuple[str, int] | tuple[str, int, str]
"""A task token, or a workflow id, the id of an activity, and maybe a run id."""


class ActivityCalls:
    """What a client says about activities, from any process.

    ``token`` is ``activity.info().task_token``, which names one attempt; or a workflow id and the
    id of an activity (and a run id), which mean whatever attempt is out. Each call raises
    ``ActivityNotOpen`` where nobody waits for that any more, and ``WorkflowNotFound``.
    """

    _calls: ClientCalls

    async def complete(self, token: ActivityToken, result: Any = None) -> None:
        """End an attempt with its result; it is durable once this returns."""
        named = named_by(token, "complete")
        await self._report(named, "completed", self._calls.encoded("the result", result))

    async def fail(self, token: ActivityToken, error: Exception) -> None:
        """End an attempt with an error. As if the function had raised it: it may be tried again."""
        named = named_by(token, "fail")
        if not isinstance(error, Exception):
            raise InvalidArgument(
                "fail: error: give an exception, ApplicationError('why') for example, not "
                f"{checks.shown(error)}. An attempt that was asked to stop: client.cancelled(token)"
            )
        await self._report(named, "failed", error=error)

    async def heartbeat(self, token: ActivityToken, details: Any = None) -> bool:
        """Say that an attempt is alive; return whether it should stop: nobody waits for it."""
        named = named_by(token, "heartbeat")
        payload = self._calls.encoded("the details of the heartbeat", details)
        try:
            return await self._report(named, "heartbeat", payload)
        except ActivityNotOpen:
            return True

    async def cancelled(self, token: ActivityToken) -> None:
        """Say that an attempt has stopped as it was asked to; nothing happens where it is over."""
        await self._report(named_by(token, "cancelled"), "cancelled")

    async def _report(
        self,
        named: Named,
        kind: str,
        payload: bytes | None = None,
        error: Exception | None = None,
    ) -> bool:
        """Report on an attempt; return whether it should stop."""
        body = ReportAttempt(named.id, kind, payload, attempt=named.attempt, run_id=named.run_id)
        if error is not None:
            failure = failure_of(error, self._calls.payloads)
            body = ReportAttempt(
                *(named.id, kind, payload, failure, named.attempt, named.run_id),
                headers=bases_of(error),
            )
        answer = await self._calls.ask(named.workflow_id, body)
        assert isinstance(answer, Accepted | HeartbeatSeen), f"a shard answers {body} with {answer}"
        return isinstance(answer, HeartbeatSeen) and answer.cancelled
