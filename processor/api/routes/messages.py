"""Routes that reach into a run: events, queries, updates, values, and how it goes on."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Literal

import msgspec

from processor.api.calls import HttpCall
from processor.api.problems import HttpProblem, NotThereYet
from processor.api.routes.instances import OfRun, ResultView
from processor.api.routing import HttpAnswer, route
from processor.errors import CommandRejected, ShardUnavailable, WorkflowNotFound
from processor.policy import Reject

__all__ = ("ENDPOINTS", "Changed", "Done", "HandlerBody", "of_open_run")

_NOT_YET: Final = frozenset(("suspend", "resume", "restart", "rewind", "reset", "purge"))


class HandlerBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    arguments: list[Any] = []


class UpdateBody(HandlerBody, frozen=True):
    """``id`` lets the update count once."""

    id: str | None = None


class ReasonBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    reason: str = ""


class TerminateBody(ReasonBody, frozen=True):
    """``recursive=false`` lets its children go on; ``output`` is for whoever waits for the end."""

    recursive: bool = True
    output: Any = None


class QueryQuery(OfRun, frozen=True):
    """Which runs are refused: "not-open", or "not-completed"."""

    reject: Reject = "none"


class UpdateQuery(OfRun, frozen=True):
    """``stage``: answer once it is accepted, or with its outcome, for which to ``wait``."""

    stage: Literal["accepted", "completed"] = "completed"
    wait: float | None = None


class WaitQuery(OfRun, frozen=True):
    """``wait``: how many seconds to wait for it."""

    wait: float = 0.0


class Done(msgspec.Struct, frozen=True):
    """It is durable."""


class Changed(msgspec.Struct, frozen=True):
    """Whether something had to change."""

    changed: bool


class UpdateTaken(msgspec.Struct, frozen=True):
    id: str
    run_id: str | None


class UpdateResult(msgspec.Struct, frozen=True):
    id: str
    run_id: str | None
    result: Any


class ValueView(msgspec.Struct, frozen=True):
    value: Any


@asynccontextmanager
async def of_open_run(call: HttpCall) -> AsyncIterator[None]:
    """Tell what a run refuses because it has ended as that: 410."""
    try:
        yield
    except CommandRejected as error:
        try:
            is_open = (await call.handle.describe()).status.is_open
        except WorkflowNotFound:
            is_open = True
        if is_open:
            raise
        raise RunClosed(410, str(error)) from error


class RunClosed(HttpProblem):
    """The run has ended."""


@route(
    "POST",
    "/instances/{id}/events/{name}",
    "send",
    body=Any,
    query=OfRun,
    answers={202: Done},
    headers=("Idempotency-Key",),
)
async def raise_event(call: HttpCall) -> HttpAnswer:
    """Send an event; the body is its value. ``Idempotency-Key`` lets it count once."""
    async with of_open_run(call):
        await call.handle.raise_event(call.path["name"], call.body, key=call.key)
    return HttpAnswer(Done(), 202)


@route(
    "POST",
    "/instances/{id}/signals/{name}",
    "send",
    body=HandlerBody,
    query=OfRun,
    answers={202: Done},
    headers=("Idempotency-Key",),
)
async def signal(call: HttpCall) -> HttpAnswer:
    """Send a signal with its arguments. ``Idempotency-Key`` lets it count once."""
    async with of_open_run(call):
        await call.handle.signal(call.path["name"], *call.body.arguments, key=call.key)
    return HttpAnswer(Done(), 202)


@route(
    "POST",
    "/instances/{id}/queries/{name}",
    "read",
    body=HandlerBody,
    query=QueryQuery,
    answers={200: ResultView},
    headers=("Prefer",),
)
async def query(call: HttpCall) -> HttpAnswer:
    """Ask the run's code, which only reads."""
    name, arguments = call.path["name"], call.body.arguments
    how = {"reject": call.query.reject, "timeout": call.wait_s}
    found = await call.handle.query(name, *arguments, **how)
    return HttpAnswer(ResultView(found))


@route(
    "POST",
    "/instances/{id}/updates/{name}",
    "send",
    body=UpdateBody,
    query=UpdateQuery,
    answers={200: UpdateResult, 202: UpdateTaken},
    headers=("Idempotency-Key", "Prefer"),
)
async def update(call: HttpCall) -> HttpAnswer:
    """Let a handler do something, and answer with its result; 202 where that takes longer."""
    id = call.body.id or call.key or uuid.uuid4().hex
    wait_s = call.bounded(call.wait_s if call.query.wait is None else call.query.wait)
    waits = call.query.stage == "completed"
    with call.watching(waits=waits):
        async with of_open_run(call):
            sent = await call.handle.start_update(call.path["name"], *call.body.arguments, id=id)
        with suppress(TimeoutError):
            if waits:
                result = await call.api.waited(sent.result(wait_s))
                return HttpAnswer(UpdateResult(id, sent.run_id, result))
    place = call.url("instances", call.path["id"], "updates", id, run_id=sent.run_id)
    return HttpAnswer(UpdateTaken(id, sent.run_id), 202, call.later(place))


@route(
    "GET",
    "/instances/{id}/updates/{update}",
    "read",
    query=WaitQuery,
    answers={200: UpdateResult, 202: UpdateTaken},
)
async def outcome(call: HttpCall) -> HttpAnswer:
    """Return the outcome of an update, by its id, or wait for it."""
    sent = call.handle.update_handle(call.path["update"])
    try:
        with call.watching():
            result = await call.api.waited(sent.result(call.bounded(call.query.wait)))
    except TimeoutError:
        run = await call.handle.describe()
        if run.view is not None:
            raise ShardUnavailable(
                f"{run.workflow_id!r}: no worker answers, which outcomes of updates take: ask again"
            ) from None
        place = call.url("instances", call.path["id"], "updates", sent.id, run_id=sent.run_id)
        return HttpAnswer(UpdateTaken(sent.id, sent.run_id), 202, call.later(place))
    return HttpAnswer(UpdateResult(sent.id, sent.run_id, result))


@route("GET", "/instances/{id}/values/{name}", "read", query=WaitQuery, answers={200: ValueView})
async def value(call: HttpCall) -> HttpAnswer:
    """Return a value that the run has set, or wait until it is set."""
    with call.watching():
        wait_s = call.bounded(call.query.wait)
        found = await call.api.waited(call.handle.value(call.path["name"], timeout=wait_s))
    return HttpAnswer(ValueView(found))


@route(
    "POST",
    "/instances/{id}/cancel",
    "control",
    body=ReasonBody,
    query=OfRun,
    answers={202: Changed},
)
async def cancel(call: HttpCall) -> HttpAnswer:
    """Ask the workflow to stop; it may clean up."""
    return HttpAnswer(Changed(await call.handle.cancel(call.body.reason)), 202)


@route(
    "POST",
    "/instances/{id}/terminate",
    "control",
    body=TerminateBody,
    query=OfRun,
    answers={202: Changed},
)
async def terminate(call: HttpCall) -> HttpAnswer:
    """End the run at once, without running its code again."""
    how = {"recursive": call.body.recursive, "output": call.body.output}
    return HttpAnswer(Changed(await call.handle.terminate(call.body.reason, **how)), 202)


@route("POST", "/instances/{id}/start-now", "control", query=OfRun, answers={202: Done})
async def start_now(call: HttpCall) -> HttpAnswer:
    """Let the code of a run begin that waits for its time."""
    async with of_open_run(call):
        await call.handle.start_now()
    return HttpAnswer(Done(), 202)


@route("POST", "/instances/{id}/{verb}", "control", query=OfRun, answers={501: None})
async def not_yet(call: HttpCall) -> HttpAnswer:
    """Suspend, resume, restart, rewind, reset, purge: this release has none of these yet."""
    verb = call.path["verb"]
    if verb in _NOT_YET:
        raise NotThereYet(verb)
    raise HttpProblem(404, f"a run has no {verb[:200]!a}: docs/http-api.md lists what there is")


ENDPOINTS = (
    raise_event,
    signal,
    query,
    update,
    outcome,
    value,
    cancel,
    terminate,
    start_now,
    not_yet,
)
