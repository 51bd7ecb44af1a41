"""Routes that start workflows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from processor.api.calls import HttpCall
from processor.api.problems import problem_of
from processor.api.routing import HttpAnswer, route
from processor.attributes import of_plain
from processor.client import Handle
from processor.errors import InvalidArgument, WorkflowError
from processor.policy import ConflictPolicy, RetryPolicy, ReusePolicy

__all__ = ("ENDPOINTS", "RetryOfRuns", "RunStarted")

_AS_GIVEN = ("id", "reuse", "conflict", "execution_timeout", "memo", "delay", "at", "cron")


class RetryOfRuns(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """As ``RetryPolicy``, in seconds."""

    initial_interval: float = 1.0
    coefficient: float = 2.0
    maximum_interval: float | None = None
    maximum_attempts: int | None = None
    non_retryable: tuple[str, ...] = ()

    @property
    def policy(self) -> RetryPolicy:
        return RetryPolicy(**msgspec.structs.asdict(self))


class FirstSignal(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A signal that the run has before its code begins."""

    name: str
    arguments: list[Any] = []


class StartBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What starts a workflow: its arguments, and how, as ``client.start`` says it. In seconds."""

    arguments: list[Any] = []
    id: str | None = None
    reuse: ReusePolicy | None = None
    conflict: ConflictPolicy | None = None
    execution_timeout: float | None = None
    retry: RetryOfRuns | None = None
    memo: Any = None
    delay: float | None = None
    at: datetime | None = None
    cron: str | None = None
    attributes: dict[str, Any] | None = None
    signal: FirstSignal | None = None

    @property
    def how(self) -> dict[str, Any]:
        """The options of ``client.start`` that are given."""
        given = {name: each for name in _AS_GIVEN if (each := getattr(self, name)) is not None}
        if self.retry is not None:
            given["retry"] = self.retry.policy
        if self.attributes is not None:
            given["attributes"] = of_plain(self.attributes)
        return given


class RunUrls(msgspec.Struct, frozen=True):
    """Where the run is; each may have a key that is good for this run, and for this, alone."""

    describe: str
    result: str
    history: str
    watch: str
    events: str
    cancel: str
    terminate: str


class RunStarted(msgspec.Struct, frozen=True):
    """A run that was started, or found; ``result`` where it was waited for and has ended."""

    id: str
    run_id: str
    created: bool
    urls: RunUrls
    result: Any | msgspec.UnsetType = msgspec.UNSET


@route(
    "POST",
    "/workflows/{workflow}/runs",
    "start",
    body=StartBody,
    answers={200: RunStarted, 202: RunStarted},
    headers=("Idempotency-Key", "Prefer"),
)
async def start(call: HttpCall) -> HttpAnswer:
    """Start a workflow. ``Idempotency-Key`` lets it count once, ``Prefer: wait=30`` waits."""
    return await _started(call, call.body)


@route(
    "PUT",
    "/workflows/{workflow}/runs/{id}",
    "start",
    body=StartBody,
    answers={200: RunStarted, 202: RunStarted},
    headers=("Idempotency-Key", "Prefer"),
)
async def start_by_id(call: HttpCall) -> HttpAnswer:
    """Start a workflow under an id, once: the run that is there already is found."""
    if call.body.id is not None:
        raise InvalidArgument("the address has the id: leave it out of the body")
    body = msgspec.structs.replace(call.body, id=call.path["id"])
    if body.reuse is None and body.conflict is None:
        body = msgspec.structs.replace(body, reuse="use-existing")
    return await _started(call, body)


async def _started(call: HttpCall, body: StartBody) -> HttpAnswer:
    with call.watching(waits=call.wait_s is not None):
        return await _waited(call, await _began(call, body), call.wait_s)


async def _began(call: HttpCall, body: StartBody) -> Handle[Any]:
    """Start a workflow as a body says.

    What it does to a run that is there already, the caller has to be allowed as well.
    """
    workflow, how = call.path["workflow"], body.how
    call.needs_to_start(workflow, body.id)
    if body.signal is not None:
        call.needs("send")
    if body.conflict == "terminate":
        call.needs("control")
    if call.key is not None:
        how["key"] = call.key
    if body.signal is not None:
        signal = (body.signal.name, *body.signal.arguments)
        return await call.client.signal_with_start(workflow, *body.arguments, signal=signal, **how)
    return await call.client.start(workflow, *body.arguments, **how)


async def _waited(call: HttpCall, handle: Handle[Any], wait_s: float | None) -> HttpAnswer:
    """Answer with the result of a run that was started, if it comes in time; else where it is.

    Whoever may not read gets the result and the keys of runs that they have made, and of no
    other.
    """
    first_run_id = handle._which[1] or handle.run_id or ""
    theirs = handle.created or call.may("read")
    told = RunStarted(
        handle.id, handle.run_id or "", handle.created, _urls(call, handle.id, first_run_id, theirs)
    )
    headers = call.later(told.urls.result)
    if wait_s is None or not theirs:
        return HttpAnswer(told, 202, headers)
    applied = {"preference-applied": f"wait={wait_s:g}"}
    try:
        result = await call.api.waited(handle.result(wait_s))
    except TimeoutError:
        return HttpAnswer(told, 202, {**headers, **applied})
    except WorkflowError as error:
        status, _, body = problem_of(error)
        urls = msgspec.structs.asdict(told.urls)
        body |= {"id": told.id, "run_id": told.run_id, "urls": urls}
        return HttpAnswer(body, status, {"content-type": "application/problem+json", **applied})
    return HttpAnswer(msgspec.structs.replace(told, result=result), 200, applied)


def _urls(call: HttpCall, id: str, first_run_id: str, theirs: bool) -> RunUrls:
    """Return where a run is. The keys are good for reading, for sending, and for control."""
    place = call.url("instances", id)
    read, send, control = (
        call.which_run(id, first_run_id, may if theirs else None)
        for may in ("read", "send", "control")
    )
    return RunUrls(
        f"{place}{read}",
        f"{place}/result{read}",
        f"{place}/history{read}",
        f"{place}/watch{read}",
        f"{place}/events/{{name}}{send}",
        f"{place}/cancel{control}",
        f"{place}/terminate{control}",
    )


ENDPOINTS = (start, start_by_id)
