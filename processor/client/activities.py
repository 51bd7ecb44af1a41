"""Activities in the hands of a client: how an attempt ends, and how an activity is to go on."""

from __future__ import annotations

from typing import Any, TypeAlias, Unpack

from processor import checks
from processor.client.calls import ClientCalls
from processor.core.activity_requests import AdjustActivity, ReportAttempt
from processor.core.data.headers import NO_HEADERS
from processor.core.data.options import DEFAULTS, ActivityOptions
from processor.core.data.task_token import named_by
from processor.core.records.answers import Accepted, HeartbeatSeen
from processor.errors import ActivityNotOpen, InvalidArgument
from processor.failures import bases_of, failure_of
from processor.workflow._options import Options, option_names, options_with

__all__ = ("ActivityCalls", "ActivityHandle", "ActivityToken")

ActivityToken: TypeAlias = str | tuple[str, int] | tuple[str, int, str]
"""A task token, or a workflow id, the id of an activity, and maybe a run id."""


class ActivityHandle:
    """One activity of a run, by its id; or (from a task token) one attempt of it.

    Each call raises ``ActivityNotOpen`` where that is over, and ``WorkflowNotFound``.
    """

    def __init__(
        self,
        calls: ClientCalls,
        workflow_id: str,
        id: int,
        run_id: str | None = None,
        first_run_id: str | None = None,
        attempt: int | None = None,
    ) -> None:
        self._calls = calls
        self._which = (run_id, first_run_id)
        self._attempt = attempt
        self.workflow_id = workflow_id
        self.id = id

    def __repr__(self) -> str:
        return f"ActivityHandle(workflow_id={self.workflow_id!r}, id={self.id})"

    async def complete(self, result: Any = None) -> None:
        """End it with its result; it is durable once this returns. What runs is told to stop."""
        await self._report("completed", self._calls.encoded("the result", result))

    async def fail(self, error: Exception) -> None:
        """End its attempt with an error, as if the function had raised that: it may be tried again.

        Where no attempt is out, the activity fails for good.
        """
        if not isinstance(error, Exception):
            raise InvalidArgument(
                "fail: error: give an exception, ApplicationError('why') for example, not "
                f"{checks.shown(error)}. An attempt that was asked to stop: client.cancelled(token)"
            )
        await self._report("failed", error=error)

    async def heartbeat(self, details: Any = None) -> bool:
        """Say that its attempt is alive; return whether that should stop: nobody waits for it."""
        payload = self._calls.encoded("the details of the heartbeat", details)
        try:
            return await self._report("heartbeat", payload)
        except ActivityNotOpen:
            return True

    async def cancelled(self) -> None:
        """Say that it has stopped as it was asked to; nothing happens where it is over.

        Raises ``CommandRejected`` where nobody asked.
        """
        await self._report("cancelled")

    async def pause(self, reason: str = "") -> bool:
        """Let no other attempt begin. One that runs goes on, and what it comes to counts.

        Return False, as the verbs below do, where nothing had to change.
        """
        return await self._adjust("pause", checks.text(reason, "pause: reason"))

    async def resume(self, reason: str = "") -> bool:
        """Let attempts begin again; one that is due begins at once."""
        return await self._adjust("resume", checks.text(reason, "resume: reason"))

    async def retry_now(self) -> bool:
        """Begin the next attempt at once, where the activity waits for it; also while paused."""
        return await self._adjust("retry-now")

    async def reset(self, reason: str = "") -> bool:
        """Let the retry policy count, and double its delays, from the next attempt on."""
        return await self._adjust("reset", checks.text(reason, "reset: reason"))

    async def set_options(self, **options: Unpack[Options]) -> bool:
        """Change its options (queue, retry, time-outs, eager) from its next attempt on.

        ``schedule_to_close`` counts at once, from the time when the activity was asked for.
        """
        if "cancellation" in options:
            raise InvalidArgument("set_options: cancellation: the workflow's code says it")
        wire = options_with(DEFAULTS, options, "set_options")
        return await self._adjust("set", "", wire, option_names(options))

    async def _adjust(
        self,
        how: str,
        reason: str = "",
        options: ActivityOptions | None = None,
        changes: tuple[str, ...] = (),
    ) -> bool:
        body = AdjustActivity(self.id, how, options, changes, reason, *self._which)
        return (await self._calls.accepted(self.workflow_id, body)).created

    async def _report(
        self, kind: str, payload: bytes | None = None, error: Exception | None = None
    ) -> bool:
        """Report on an attempt; return whether it should stop."""
        failure, headers = None, NO_HEADERS
        if error is not None:
            failure, headers = failure_of(error, self._calls.payloads), bases_of(error)
        said = kind, payload, failure, self._attempt
        body = ReportAttempt(self.id, *said, *self._which, headers)
        answer = await self._calls.ask(self.workflow_id, body)
        assert isinstance(answer, Accepted | HeartbeatSeen), f"a shard answers {body} with {answer}"
        return isinstance(answer, HeartbeatSeen) and answer.cancelled


class ActivityCalls:
    """What a client says about activities, from any process.

    ``token`` is ``activity.info().task_token``, which names one attempt; or a workflow id and the
    id of an activity (and a run id), which mean whatever attempt is out. Each call raises
    ``ActivityNotOpen`` where nobody waits for that any more, and ``WorkflowNotFound``.
    """

    _calls: ClientCalls

    async def complete(self, token: ActivityToken, result: Any = None) -> None:
        """End an attempt with its result; it is durable once this returns."""
        await self._named(token, "complete").complete(result)

    async def fail(self, token: ActivityToken, error: Exception) -> None:
        """End an attempt with an error. As if the function had raised it: it may be tried again."""
        await self._named(token, "fail").fail(error)

    async def heartbeat(self, token: ActivityToken, details: Any = None) -> bool:
        """Say that an attempt is alive; return whether it should stop: nobody waits for it."""
        return await self._named(token, "heartbeat").heartbeat(details)

    async def cancelled(self, token: ActivityToken) -> None:
        """Say that an attempt has stopped as it was asked to; nothing happens where it is over."""
        await self._named(token, "cancelled").cancelled()

    def _named(self, token: ActivityToken, call: str) -> ActivityHandle:
        named = named_by(token, call)
        which = named.run_id, None, named.attempt
        return ActivityHandle(self._calls, named.workflow_id, named.id, *which)
