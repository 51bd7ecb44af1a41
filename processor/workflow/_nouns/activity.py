"""Activities: the code calls one, and its outcome is what the code gets."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Protocol, TypeAlias, TypeVar, Unpack, cast, overload

from processor import checks
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.data.options import DEFAULTS, ActivityOptions
from processor.core.nouns.activity import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ActivityStopRequested,
)
from processor.errors import InvalidArgument, ProcessorError, SchemaMismatch
from processor.failures import exception_of
from processor.policy import Cancellation
from processor.readable import readable
from processor.workflow._context import current
from processor.workflow._engine.runtime import Decode, Runtime, settles
from processor.workflow._frames import line_here
from processor.workflow._options import Options, TypeForm, cancellation_in, options_with
from processor.workflow._outbound import ActivityCall, chained, headers_of, size_of

__all__ = ("call", "call_activity")

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")
T = TypeVar("T")

_Future = asyncio.Future


class Defined(Protocol[R_co]):
    """An activity, as ``@activity.define`` makes it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[object, None, R_co]: ...

    def options(self, **changes: Unpack[Options]) -> Defined[R_co]: ...


@overload
def call_activity(
    activity: Defined[R], *args: Any, **options: Unpack[Options]
) -> Coroutine[object, None, R]: ...


@overload
def call_activity(
    activity: str, *args: Any, result_type: type[T], **options: Unpack[Options]
) -> Coroutine[object, None, T]: ...


@overload
def call_activity(
    activity: str, *args: Any, result_type: TypeForm = ..., **options: Unpack[Options]
) -> Coroutine[object, None, Any]: ...


def call_activity(
    activity: Defined[Any] | str, *args: Any, result_type: Any = None, **options: Any
) -> Coroutine[object, None, Any]:
    """Call an activity, also by its name alone: for one that runs in another code base.

    ``options`` are those of ``@activity.define``, for this call. Under a name, ``result_type`` says
    what the result is read as (default: plain JSON). Raises ``InvalidArgument`` at the call, and an
    ``ActivityError`` where the activity is awaited.
    """
    runtime = current("call_activity", awaited=True)
    if not isinstance(activity, str):
        if not callable(getattr(activity, "options", None)):
            raise InvalidArgument(
                "workflow.call_activity: activity: give an activity (@activity.define) or its "
                f"name, not {checks.shown(activity)}"
            )
        if result_type is not None:
            raise InvalidArgument(
                "workflow.call_activity: result_type is for activities called by name"
            )
        return activity.options(**options)(*args) if options else activity(*args)
    activity = checks.name(activity, "workflow.call_activity: activity")
    where = "workflow.call_activity"
    wire = options_with(DEFAULTS, options, where)  # type: ignore[arg-type]
    cancellation = cancellation_in(options, "try", where)  # type: ignore[arg-type]
    expected = Any if result_type is None else result_type
    runtime.decoder(expected, f"{where}: result_type")
    coroutine: Any = call(runtime, activity, args, wire, expected, line_here(), cancellation)
    coroutine.__qualname__ = readable(activity)
    return cast("Coroutine[object, None, Any]", coroutine)


_Call: TypeAlias = tuple[str, asyncio.Future[Any], Decode, int]
"""An activity without an outcome: its name, who waits, what decodes its result, its turn."""


async def call(
    runtime: Runtime,
    name: str,
    arguments: tuple[Any, ...],
    options: ActivityOptions,
    result: Any,
    line: str,
    cancellation: Cancellation = "try",
    headers: Headers = NO_HEADERS,
    size: int = -1,
) -> Any:
    """Schedule an activity on the coroutine's first step, and return its result.

    ``size`` is that of the headers, once interceptors have had the call.
    """
    decisions = runtime.decisions
    if size < 0:
        if decisions.outbound is not None:
            how = options, result, line, cancellation
            return await _intercepted(runtime, name, arguments, *how)
        size = 0
    payload = decisions.encode(arguments, "the arguments of activity", name)
    wire = None if options is DEFAULTS else options
    decode = runtime.payloads.decoder(result)
    id = decisions.next_id
    scheduled = ActivityScheduled(id, name, payload, True, wire, headers)
    size += len(payload or b"")
    index = decisions.add_identified(scheduled, line, size, "activity", name)
    future: asyncio.Future[Any] = _Future(loop=runtime.loop)
    runtime.open[id] = (name, future, decode, decisions.turn)
    try:
        return await future
    except asyncio.CancelledError:
        called: _Call | None = runtime.open.pop(id, None)
        if called is None:
            raise
        same_turn = called[3] == decisions.turn
        if cancellation == "abandon" and not same_turn:
            raise
        stop = ActivityStopRequested if cancellation == "wait" else ActivityCancelled
        decisions.take_back(stop, id, called[3], index, line)
        if cancellation != "wait" or same_turn:
            raise
    return await _stopped(runtime, id, called)


async def _stopped(runtime: Runtime, id: int, called: _Call) -> Any:
    """Wait for what comes of an activity that was asked to stop: its result, or that it stopped."""
    name, _, decode, turn = called
    while True:
        future: asyncio.Future[Any] = _Future(loop=runtime.loop)
        runtime.open[id] = (name, future, decode, turn)
        try:
            return await future
        except asyncio.CancelledError:
            if runtime.open.pop(id, None) is None:
                raise
            if runtime.loop.dropped:
                raise
        except ProcessorError as error:
            raise asyncio.CancelledError(str(error)) from error


async def _intercepted(
    runtime: Runtime,
    name: str,
    arguments: tuple[Any, ...],
    options: ActivityOptions,
    result: Any,
    line: str,
    cancellation: Cancellation,
) -> Any:
    """Let interceptors have a call, and do what they make of it."""

    def called(asked: ActivityCall) -> Coroutine[object, None, Any]:
        headers = headers_of(asked.headers)
        how = tuple(asked.arguments), options, result, line, cancellation
        return call(runtime, name, *how, headers, size_of(headers))

    outbound = runtime.decisions.outbound
    assert outbound is not None, "interceptors have the call"
    asked = ActivityCall(name, arguments, runtime.replaying)
    return await chained(outbound.activities, called)(asked)


@settles(ActivityCompleted)
def _completed(runtime: Runtime, fact: ActivityCompleted) -> None:
    called: _Call | None = runtime.open.pop(fact.id, None)
    if called is None:
        return
    name, future, decode, _ = called
    try:
        result = decode(fact.result)
    except SchemaMismatch as error:
        future.set_exception(SchemaMismatch(f"the result of activity {name!r}: {error}"))
    else:
        future.set_result(result)


@settles(ActivityFailed)
def _failed(runtime: Runtime, fact: ActivityFailed) -> None:
    called: _Call | None = runtime.open.pop(fact.id, None)
    if called is None:
        return
    name, future, _, _ = called
    failure = replace(
        fact.failure,
        activity=fact.failure.activity or name,
        attempts=fact.failure.attempts or fact.attempt,
    )
    future.set_exception(exception_of(failure, runtime.payloads))
