"""Commands that tell a run something, or ask it: event, signal, query, update, value, promise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from processor import checks
from processor.cli.commands.runs import PANEL, PARKED, Arguments, Timeout, done, looked_at, parsed
from processor.cli.options import (
    EmbeddedModules,
    Json,
    Key,
    RunId,
    Target,
    WorkflowId,
    checked,
    named,
    target_options,
)
from processor.cli.output import shown_value
from processor.cli.session import connected
from processor.core.nouns.promise import promise_named
from processor.policy import Reject

if TYPE_CHECKING:
    from processor.client import Client, RunDescription

__all__ = ("register",)

EventName = Annotated[str, named("NAME", "The event's name.")]
SignalName = Annotated[str, named("NAME", "The signal's name.")]
QueryName = Annotated[str, named("NAME", "The query's name.")]
ValueName = Annotated[str, named("NAME", "The value's name.")]
PromiseText = Annotated[
    str,
    typer.Argument(metavar="ID", callback=checked(promise_named), help="The promise's id."),
]
UpdateName = Annotated[str, named("NAME", "The update's name.")]
UpdateId = Annotated[
    str | None,
    typer.Option(
        "--id",
        callback=checked(checks.name),
        help="Its id, so that it counts once however often it is sent; else a new one.",
    ),
]


@target_options(injects=True)
def event(
    target: Target,
    id: WorkflowId,
    name: EventName,
    payload: Annotated[str, typer.Argument(metavar="JSON", help="What comes with it.")] = "null",
    key: Key = None,
    run_id: RunId = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Send an external event to a run; it is durable when this returns."""
    (value,) = parsed((payload,))

    async def work() -> None:
        async with connected(target, module) as client:
            handle = client.handle(id, run_id)
            await handle.raise_event(name, value, key=key)
            found = await looked_at(handle)
        sent(as_json, id, name, found)

    asyncio.run(work())


@target_options(injects=True)
def signal(
    target: Target,
    id: WorkflowId,
    name: SignalName,
    arguments: Arguments = None,
    key: Key = None,
    run_id: RunId = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Send a signal to a run: an event whose value is the argument, or the list of several."""
    values = parsed(arguments or ())

    async def work() -> None:
        async with connected(target, module) as client:
            handle = client.handle(id, run_id)
            await handle.signal(name, *values, key=key)
            found = await looked_at(handle)
        sent(as_json, id, name, found)

    asyncio.run(work())


@target_options(injects=True)
def query(
    target: Target,
    id: WorkflowId,
    name: QueryName,
    arguments: Arguments = None,
    run_id: RunId = None,
    reject: Annotated[
        Reject, typer.Option(help="Which runs to refuse: not-open, or closed not-completed.")
    ] = "none",
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Ask the code of a run, which only reads, and print the answer."""
    values = parsed(arguments or ())

    async def work() -> None:
        async with connected(target, module) as client:
            answer = await client.handle(id, run_id).query(name, *values, reject=reject)
        done(as_json, shown_value(answer), workflow_id=id, query=name, answer=answer)

    asyncio.run(work())


@target_options(injects=True)
def update(
    target: Target,
    workflow_id: WorkflowId,
    name: UpdateName,
    arguments: Arguments = None,
    id: UpdateId = None,
    wait: Annotated[
        bool, typer.Option(help="Wait for the outcome, not only until it is accepted.")
    ] = True,
    timeout: Timeout = None,
    run_id: RunId = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Let a handler of a run's code do something, and print its result."""
    values = parsed(arguments or ())

    async def work() -> None:
        async with connected(target, module) as client:
            handle = client.handle(workflow_id, run_id)
            sent = await handle.start_update(name, *values, id=id)
            told = {"workflow_id": workflow_id, "run_id": sent.run_id, "update": name}
            if wait:
                value = await sent.result(timeout)
                done(as_json, shown_value(value), **told, id=sent.id, result=value)
            else:
                text = f"{workflow_id} has accepted {name} (id {sent.id})"
                done(as_json, text, **told, id=sent.id)

    asyncio.run(work())


@target_options(injects=True)
def value(
    target: Target,
    workflow_id: WorkflowId,
    name: ValueName,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Print each newer value, until the run has ended; --timeout is for each.",
        ),
    ] = False,
    timeout: Timeout = None,
    run_id: RunId = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Print a value that a run has set, or wait until it is set."""

    async def work() -> None:
        async with connected(target, module) as client:
            handle = client.handle(workflow_id, run_id)
            told = {"workflow_id": workflow_id, "name": name}
            if not follow:
                found = await handle.value(name, timeout=timeout)
                done(as_json, shown_value(found), **told, value=found)
                return
            await handle.describe()  # where there is no run, that is told
            async for found in _each(handle.watch(name), timeout, f"{name!r} of {workflow_id!r}"):
                done(as_json, shown_value(found), **told, value=found)

    asyncio.run(work())


promise = typer.Typer(
    help="Settle a promise, by the id that its workflow has handed out.", no_args_is_help=True
)


@promise.command()
@target_options(injects=True)
def resolve(
    target: Target,
    id: PromiseText,
    result: Annotated[str, typer.Argument(metavar="JSON", help="Its value.")] = "null",
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Resolve a promise with a value; it is durable when this returns."""
    (value,) = parsed((result,))
    settled(target, module, as_json, id, "resolved", lambda client: client.resolve(id, value))


@promise.command()
@target_options(injects=True)
def reject(
    target: Target,
    id: PromiseText,
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="Why.")],
    type: Annotated[
        str | None, typer.Option(metavar="NAME", help="The type of the error, for who catches it.")
    ] = None,
    details: Annotated[str, typer.Option(metavar="JSON", help="What the error carries.")] = "null",
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Reject a promise: who awaits it gets an ApplicationError."""
    (value,) = parsed((details,))
    how = {"type": type, "details": value}
    settled(
        target, module, as_json, id, "rejected", lambda client: client.reject(id, message, **how)
    )


def settled(
    target: Target,
    module: list[str] | None,
    as_json: bool,
    id: str,
    what: str,
    settle: Callable[[Client], Awaitable[None]],
) -> None:
    """Settle a promise, and say so."""
    named = promise_named(id, "")

    async def work() -> None:
        async with connected(target, module) as client:
            await settle(client)
        text = f"promise {named.number} of {named.workflow_id} is {what}"
        told = {"workflow_id": named.workflow_id, "run_id": named.run_id, "promise": id}
        done(as_json, text, **told, settled=what)

    asyncio.run(work())


_LOOK_S: Final = 0.5
"""How long one look takes at the most, where nothing is waited for."""


async def _each(
    values: AsyncIterator[Any], timeout: float | None, which: str
) -> AsyncIterator[Any]:
    """Yield each value; raise ``TimeoutError`` where the next one takes longer than that."""
    newer = ""
    while True:
        try:
            async with asyncio.timeout(None if timeout is None else max(timeout, _LOOK_S)):
                found = await anext(values)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise TimeoutError(f"no {newer}value {which} within {timeout or 0:g} s") from error
        yield found
        newer = "newer "


def sent(as_json: bool, id: str, name: str, found: RunDescription | None) -> None:
    """Say that an event is on its way, and whether the code hears of it now."""
    later = "" if found is None or found.parked is None else PARKED
    told = {"workflow_id": id, "event": name, "status": found and found.status}
    done(as_json, f"sent {name} to {id}{later}", **told)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (event, signal, query, update, value):
        app.command(rich_help_panel=PANEL)(command)
    app.add_typer(promise, name="promise", rich_help_panel=PANEL)
