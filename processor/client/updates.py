"""One update in the hands of a client: its outcome, now or later."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar, TypeVarTuple, overload

from processor import arguments as given
from processor import checks
from processor.arguments import Seconds
from processor.client.calls import WAIT_MS, ClientCalls, deadline_of
from processor.client.vigil import Parked, Vigil
from processor.core.nouns.update import AwaitUpdate, UpdateRun
from processor.core.operation import Request
from processor.core.records.answers import Accepted, ReplyBody, UpdateEnded
from processor.errors import CommandRejected, ShardUnavailable, UpdateNotFound
from processor.workflow._engine.runtime import reader
from processor.workflow._handlers import update_of
from processor.workflow._outcomes import updated

__all__ = ("TakesUpdates", "UpdateHandle", "outcome_within_ms")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class UpdateHandle(Generic[T]):
    """One update of one workflow id, by its ``id``. ``run_id`` is the run that accepted it.

    ``run_id`` is None where the handle was made without asking: then it is the latest run.
    """

    def __init__(
        self,
        calls: ClientCalls,
        workflow_id: str,
        id: str,
        which: tuple[str | None, str | None],
        result_type: Any,
        vigil: Callable[[Parked | None, str], AbstractAsyncContextManager[Vigil | None]],
        ended: UpdateEnded | None = None,
    ) -> None:
        self._calls = calls
        self._which = which
        self._result_type = result_type
        self._vigil = vigil
        self._ended = ended
        self.workflow_id = workflow_id
        self.run_id = which[0]
        self.id = id

    def __repr__(self) -> str:
        return f"UpdateHandle(id={self.id!r}, workflow_id={self.workflow_id!r})"

    async def result(self, timeout: Seconds | None = None, *, parked: Parked | None = None) -> T:
        """Wait for the outcome and return the handler's result; ``timeout`` is in seconds, or none.

        While the run is parked or held up, a warning says so after a second; ``parked="raise"``
        raises ``WorkflowParked`` then. Raises ``UpdateFailed`` (the cause is the handler's error),
        ``UpdateRejected``, ``UpdateUnfinished`` (the run ended before), ``UpdateNotFound``, or
        ``TimeoutError`` when the time is up.
        """
        limit_s = given.seconds(timeout, "update: timeout")
        async with self._vigil(parked, "update: parked"):
            return await self._result(limit_s, deadline_of(limit_s))

    async def _result(self, limit_s: float | None, deadline: float | None) -> T:
        if self._ended is None:
            self._ended = await self._outcome(limit_s, deadline)
        result: T = updated(
            self.workflow_id, self.id, self._ended, self._calls.payloads, self._result_type
        )
        return result

    async def _outcome(self, limit_s: float | None, deadline: float | None) -> UpdateEnded:
        body = AwaitUpdate(self.id, *self._which, WAIT_MS)
        what = f"the outcome of update {self.id!r} of {self.workflow_id!r}"
        answer = await self._calls.awaited(self.workflow_id, body, deadline, what)
        if answer is None:
            raise _overdue(self.workflow_id, self.id, limit_s or 0.0)
        assert isinstance(answer, UpdateEnded), f"a shard answers {body} with {answer}"
        return answer


def _overdue(workflow_id: str, id: str, limit_s: float, why: str = "") -> TimeoutError:
    told = f": {why}; it may have been accepted all the same" if why else ""
    return TimeoutError(
        f"no outcome of update {id!r} of {workflow_id!r} within {limit_s:g} s{told}; ask again "
        f"with update_handle({id!r}).result()"
    )


def outcome_within_ms(calls: ClientCalls, limit_s: float | None) -> int:
    """Return for how long the first answer may wait for the outcome."""
    patience_s = calls.settings.request_timeout_s
    return int(1000 * (patience_s if limit_s is None else min(limit_s, patience_s)))


async def _asked_within(
    calls: ClientCalls,
    workflow_id: str,
    id: str,
    body: Request,
    limit_s: float | None,
    key: str | None,
) -> ReplyBody:
    """Return the answer to a request that has an update; ``limit_s`` is the time for its outcome.

    Raises as ``ClientCalls.ask`` does, and ``TimeoutError`` when the time is up.
    """
    patience_s = calls.settings.request_timeout_s
    if limit_s is None or limit_s > patience_s:
        return await calls.ask(workflow_id, body, key=key)
    try:
        return await calls.ask(workflow_id, body, limit_s, key=key)
    except ShardUnavailable as error:
        raise _overdue(workflow_id, id, limit_s, str(error)) from error


class TakesUpdates(ABC):
    """The part of a handle of a workflow id that is about updates."""

    id: str
    _calls: ClientCalls
    _which: tuple[str | None, str | None]

    @abstractmethod
    def _vigil(
        self, parked: Parked | None, what: str
    ) -> AbstractAsyncContextManager[Vigil | None]: ...

    @overload
    async def update(
        self,
        handler: Callable[[*Ts], T],
        /,
        *args: *Ts,
        id: str | None = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> T: ...

    @overload
    async def update(
        self,
        handler: str,
        /,
        *args: Any,
        result_type: type[T],
        id: str | None = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> T: ...

    @overload
    async def update(
        self,
        handler: str,
        /,
        *args: Any,
        id: str | None = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> Any: ...

    async def update(  # type: ignore[misc]  # *Ts
        self,
        handler: Any,
        /,
        *args: Any,
        result_type: Any = None,
        id: str | None = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> Any:
        """Let a handler of the workflow's class, or of its name, do something; return its result.

        ``id`` makes it count once: an update with an id that the workflow knows is not begun again,
        and its outcome is returned. ``timeout`` (a ``timedelta`` or seconds; default: none) and
        ``parked`` are as for ``result``. Raises ``UpdateRejected``, ``UpdateFailed`` (the cause is
        the handler's error), ``UpdateUnfinished``, ``CommandRejected`` (the run has ended, is
        parked, or runs too many updates), ``WorkflowNotFound``, ``SchemaMismatch``,
        ``ShardUnavailable``, ``TimeoutError``.
        """
        limit_s = given.seconds(timeout, "update: timeout")
        deadline = deadline_of(limit_s)
        async with self._vigil(parked, "update: parked"):
            sent = await self._update("update", handler, args, result_type, id, limit_s)
            return await sent._result(limit_s, deadline)

    @overload
    async def start_update(
        self, handler: Callable[[*Ts], T], /, *args: *Ts, id: str | None = None
    ) -> UpdateHandle[T]: ...

    @overload
    async def start_update(
        self, handler: str, /, *args: Any, result_type: type[T], id: str | None = None
    ) -> UpdateHandle[T]: ...

    @overload
    async def start_update(
        self, handler: str, /, *args: Any, id: str | None = None
    ) -> UpdateHandle[Any]: ...

    async def start_update(  # type: ignore[misc]  # *Ts
        self, handler: Any, /, *args: Any, result_type: Any = None, id: str | None = None
    ) -> UpdateHandle[Any]:
        """Return once an update is accepted: the handler has begun. The rest is as for ``update``.

        ``update_handle`` finds it again by its id, in any process.
        """
        return await self._update("start_update", handler, args, result_type, id, None, wait=False)

    @overload
    def update_handle(self, id: str, *, result_type: type[T]) -> UpdateHandle[T]: ...

    @overload
    def update_handle(self, id: str) -> UpdateHandle[Any]: ...

    def update_handle(self, id: str, *, result_type: Any = Any) -> UpdateHandle[Any]:
        """Return a handle on an update by its id, without asking anybody."""
        id = checks.name(id, "update_handle: id")
        reader(self._calls.payloads, result_type, "update_handle: result_type")
        return UpdateHandle(self._calls, self.id, id, self._which, result_type, self._vigil)

    async def _update(
        self,
        call: str,
        handler: Any,
        args: tuple[Any, ...],
        result_type: Any,
        id: str | None,
        limit_s: float | None,
        *,
        wait: bool = True,
    ) -> UpdateHandle[Any]:
        name, type, arguments = update_of(handler, args, call)
        if result_type is not None:
            reader(self._calls.payloads, type := result_type, f"{call}: result_type")
        known = uuid.uuid4().hex if id is None else checks.name(id, f"{call}: id")
        encoded = self._calls.encoded(f"the arguments of update {name!r}", arguments)
        within_ms = outcome_within_ms(self._calls, limit_s) if wait else None
        body = UpdateRun(known, name, encoded, *self._which, outcome_within_ms=within_ms)
        again = id is not None
        return await self._sent(body, known, type, limit_s, name=name, again=again)

    async def _sent(
        self,
        body: Request,
        id: str,
        type: Any,
        limit_s: float | None,
        *,
        name: str,
        again: bool,
        key: str | None = None,
    ) -> UpdateHandle[Any]:
        """Send a request that has an update of this name; return its handle once it is accepted.

        ``again``: it may have been sent before, and so a run that has ended may have its outcome.
        ``key``: an idempotency key of the user's.
        """
        try:
            answer = await _asked_within(self._calls, self.id, id, body, limit_s, key)
        except CommandRejected as refused:
            if not again:
                raise
            question = AwaitUpdate(id, *self._which, 0, name)
            try:
                answer = await self._calls.ask(self.id, question)
            except UpdateNotFound:
                raise refused from None
        assert isinstance(answer, Accepted | UpdateEnded), f"a shard answers {body} with {answer}"
        ended = answer if isinstance(answer, UpdateEnded) else None
        which = answer.run_id, None
        return UpdateHandle(self._calls, self.id, id, which, type, self._vigil, ended)
