"""Routes of entities, and of business keys."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from processor.api.calls import HttpCall
from processor.api.routes.instances import ResultView, RunView, run_view
from processor.api.routes.messages import Changed, Done, HandlerBody, ReasonBody
from processor.api.routing import HttpAnswer, route
from processor.client import CorrelationDescription, EntityHandle, EntityOperation

__all__ = ("ENDPOINTS",)


class WaitForIt(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """``wait``: how many seconds to wait for it."""

    wait: float | None = None


class EntitySignalBody(HandlerBody, frozen=True):
    """The entity keeps it for ``delay`` seconds, or until ``at``."""

    delay: float | None = None
    at: datetime | None = None


class KeySignalBody(HandlerBody, frozen=True):
    """It waits for ``keep`` seconds for a run that holds the key."""

    keep: float | None = None


class UnlockBody(ReasonBody, frozen=True):
    """``number`` is the fencing number of the one grant that is freed."""

    number: int | None = None


class StateView(msgspec.Struct, frozen=True):
    state: Any


class ReleasedView(msgspec.Struct, frozen=True):
    """Who held the key; null: nobody did."""

    holder: str | None


def _entity(call: HttpCall) -> EntityHandle[Any]:
    return call.client.entity(call.path["entity"], call.path["key"])


@route(
    "POST",
    "/entities/{entity}/{key}/calls/{operation}",
    "send",
    body=HandlerBody,
    query=WaitForIt,
    answers={200: ResultView},
    headers=("Idempotency-Key", "Prefer"),
)
async def call_entity(call: HttpCall) -> HttpAnswer:
    """Let an entity do an operation, and answer with its result; ``Idempotency-Key``: once."""
    wait_s = call.bounded(call.wait_s if call.query.wait is None else call.query.wait)
    with call.watching():
        found = await call.api.waited(
            _entity(call).call(
                call.path["operation"], *call.body.arguments, key=call.key, timeout=wait_s
            )
        )
    return HttpAnswer(ResultView(found))


@route(
    "POST",
    "/entities/{entity}/{key}/signals/{operation}",
    "send",
    body=EntitySignalBody,
    answers={202: Done},
    headers=("Idempotency-Key",),
)
async def signal_entity(call: HttpCall) -> HttpAnswer:
    """Ask an entity for an operation, and go on; ``Idempotency-Key``: once."""
    body = call.body
    await _entity(call).signal(
        call.path["operation"], *body.arguments, key=call.key, delay=body.delay, at=body.at
    )
    return HttpAnswer(Done(), 202)


@route("GET", "/entities/{entity}/{key}/state", "read", answers={200: StateView})
async def state(call: HttpCall) -> HttpAnswer:
    """Return the state that is recorded; null where there is none."""
    return HttpAnswer(StateView(await _entity(call).state()))


@route("GET", "/entities/{entity}/{key}/history", "read", answers={200: list[EntityOperation]})
async def operations(call: HttpCall) -> HttpAnswer:
    """Return the operations that ended last, where the class keeps them."""
    return HttpAnswer(await _entity(call).history())


@route("GET", "/entities/{entity}/{key}", "view", answers={200: RunView})
async def describe_entity(call: HttpCall) -> HttpAnswer:
    """Return how the run of an entity stands."""
    return HttpAnswer(run_view(call, await _entity(call).describe()))


@route(
    "POST", "/entities/{entity}/{key}/cancel", "control", body=ReasonBody, answers={202: Changed}
)
async def cancel_operation(call: HttpCall) -> HttpAnswer:
    """Cancel the operation that runs."""
    return HttpAnswer(Changed(await _entity(call).cancel(call.body.reason)), 202)


@route(
    "POST", "/entities/{entity}/{key}/unlock", "control", body=UnlockBody, answers={202: Changed}
)
async def unlock(call: HttpCall) -> HttpAnswer:
    """Free an entity from the run that holds its lock."""
    freed = await _entity(call).unlock(call.body.reason, number=call.body.number)
    return HttpAnswer(Changed(freed), 202)


@route(
    "POST",
    "/correlations/{name}/{key}/signals/{signal}",
    "send",
    body=KeySignalBody,
    answers={202: Done},
    headers=("Idempotency-Key",),
)
async def signal_key(call: HttpCall) -> HttpAnswer:
    """Signal the run that holds a business key; ``Idempotency-Key``: once."""
    found = call.client.correlated(call.path["name"], call.path["key"])
    arguments = call.body.arguments
    await found.signal(call.path["signal"], *arguments, key=call.key, keep=call.body.keep)
    return HttpAnswer(Done(), 202)


@route("GET", "/correlations/{name}/{key}", "read", answers={200: CorrelationDescription})
async def describe_key(call: HttpCall) -> HttpAnswer:
    """Return who holds a business key, and what waits for it."""
    return HttpAnswer(await call.client.correlated(call.path["name"], call.path["key"]).describe())


@route("DELETE", "/correlations/{name}/{key}", "control", answers={200: ReleasedView})
async def release_key(call: HttpCall) -> HttpAnswer:
    """Free a business key, whoever holds it."""
    found = call.client.correlated(call.path["name"], call.path["key"])
    return HttpAnswer(ReleasedView(await found.release()))


ENDPOINTS = (
    call_entity,
    signal_entity,
    state,
    operations,
    describe_entity,
    cancel_operation,
    unlock,
    signal_key,
    describe_key,
    release_key,
)
