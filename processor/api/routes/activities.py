"""Routes about activities and promises: what ends them from elsewhere, and how they go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from processor.api.calls import HttpCall
from processor.api.routes.instances import OfRun
from processor.api.routes.messages import Changed, Done, ReasonBody
from processor.api.routing import Endpoint, HttpAnswer, route
from processor.client.activities import ActivityHandle
from processor.errors import ApplicationError, InvalidArgument

__all__ = ("ENDPOINTS",)


class ErrorBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An error, as ``ApplicationError``; ``next_delay`` is in seconds."""

    message: str
    type: str | None = None
    details: Any = None
    retryable: bool = True
    next_delay: float | None = None

    @property
    def error(self) -> ApplicationError:
        """The exception."""
        return ApplicationError(**msgspec.structs.asdict(self))


class RejectBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    message: str
    type: str | None = None
    details: Any = None


class StopView(msgspec.Struct, frozen=True):
    """Whether the attempt should stop: nobody waits for it."""

    stop: bool


@route("POST", "/activities/{token}/complete", "send", body=Any, answers={202: Done})
async def complete(call: HttpCall) -> HttpAnswer:
    """End an attempt, by its task token; the body is its result."""
    await call.client.complete(call.path["token"], call.body)
    return HttpAnswer(Done(), 202)


@route("POST", "/activities/{token}/fail", "send", body=ErrorBody, answers={202: Done})
async def fail(call: HttpCall) -> HttpAnswer:
    """End an attempt with an error; it may be tried again."""
    await call.client.fail(call.path["token"], call.body.error)
    return HttpAnswer(Done(), 202)


@route("POST", "/activities/{token}/heartbeat", "send", body=Any, answers={200: StopView})
async def heartbeat(call: HttpCall) -> HttpAnswer:
    """Say that an attempt is alive; the body is how far it is."""
    return HttpAnswer(StopView(await call.client.heartbeat(call.path["token"], call.body)))


@route("POST", "/activities/{token}/cancelled", "send", answers={202: Done})
async def cancelled(call: HttpCall) -> HttpAnswer:
    """Say that an attempt has stopped as it was asked to."""
    await call.client.cancelled(call.path["token"])
    return HttpAnswer(Done(), 202)


def _verb(name: str, body: Any = None) -> Callable[[Callable[[Any], Any]], Endpoint]:
    """Make a function the one behind a route that changes how an open activity goes on."""
    path = f"/instances/{{id}}/activities/{{activity}}/{name}"
    return route("POST", path, "control", body=body, query=OfRun, answers={202: Changed})


def _activity(call: HttpCall) -> ActivityHandle:
    number = call.path["activity"]
    if not (number.isascii() and number.isdecimal() and len(number) < 16):
        raise InvalidArgument(f"an activity has a number, which `describe` shows, not {number!a}")
    return call.handle.activity(int(number))


@_verb("pause", ReasonBody)
async def pause(call: HttpCall) -> HttpAnswer:
    """Let no other attempt of an activity begin."""
    return HttpAnswer(Changed(await _activity(call).pause(call.body.reason)), 202)


@_verb("resume", ReasonBody)
async def resume(call: HttpCall) -> HttpAnswer:
    """Let attempts of an activity begin again."""
    return HttpAnswer(Changed(await _activity(call).resume(call.body.reason)), 202)


@_verb("retry-now")
async def retry_now(call: HttpCall) -> HttpAnswer:
    """Begin the next attempt of an activity at once."""
    return HttpAnswer(Changed(await _activity(call).retry_now()), 202)


@_verb("reset", ReasonBody)
async def reset(call: HttpCall) -> HttpAnswer:
    """Let the retry policy of an activity count from its next attempt on."""
    return HttpAnswer(Changed(await _activity(call).reset(call.body.reason)), 202)


@route("POST", "/promises/{promise}/resolve", "send", body=Any, answers={202: Done})
async def resolve(call: HttpCall) -> HttpAnswer:
    """Resolve a promise; the body is its value."""
    await call.client.resolve(call.path["promise"], call.body)
    return HttpAnswer(Done(), 202)


@route("POST", "/promises/{promise}/reject", "send", body=RejectBody, answers={202: Done})
async def reject(call: HttpCall) -> HttpAnswer:
    """Reject a promise with an error."""
    body = call.body
    await call.client.reject(
        call.path["promise"], body.message, type=body.type, details=body.details
    )
    return HttpAnswer(Done(), 202)


ENDPOINTS = (
    complete,
    fail,
    heartbeat,
    cancelled,
    pause,
    resume,
    retry_now,
    reset,
    resolve,
    reject,
)
