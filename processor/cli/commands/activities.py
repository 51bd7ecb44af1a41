"""The commands ``activity``: look at the open activities of a run, and end one by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from processor.cli.commands.runs import PANEL, done, parsed
from processor.cli.commands.views import activity_lines
from processor.cli.options import (
    EmbeddedModules,
    Json,
    RunId,
    Target,
    WorkflowId,
    target_options,
)
from processor.cli.output import say, write_json
from processor.cli.session import connected
from processor.core.data.task_token import Named, named_by
from processor.errors import ApplicationError, InvalidArgument

if TYPE_CHECKING:
    from processor.client import Client
    from processor.client.activities import ActivityToken

__all__ = ("register",)

group = typer.Typer(
    help="Look at the open activities of a run, and end one by hand.", no_args_is_help=True
)

Token = Annotated[str | None, typer.Argument(metavar="TOKEN", help="The task token of an attempt.")]
Ids = Annotated[
    tuple[str, int] | None,
    typer.Option(
        "--id", metavar="WORKFLOW ACTIVITY", help="Its workflow id and its number, not a token."
    ),
]
Details = Annotated[str, typer.Option(metavar="JSON", help="What it has come to so far.")]


@group.command("ls")
@target_options(injects=True)
def list_activities(
    target: Target,
    id: WorkflowId,
    run_id: RunId = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """List the open activities of a run: which attempt, where it is, why the last one failed."""

    async def work() -> None:
        async with connected(target, module) as client:
            found = (await client.handle(id, run_id).describe()).pending.get("activities", ())
        for activity in found:
            if as_json:
                write_json(activity)
            else:
                say("\n  ".join(activity_lines(activity)), lines=True)
        if not found and not as_json:
            say("none")

    asyncio.run(work())


@group.command()
@target_options(injects=True)
def complete(
    target: Target,
    token: Token = None,
    ids: Ids = None,
    result: Annotated[str, typer.Option(metavar="JSON", help="Its result.")] = "null",
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """End an attempt with its result."""
    (value,) = parsed((result,))
    ended(target, module, as_json, token, ids, "completed", lambda c, t: c.complete(t, value))


@group.command()
@target_options(injects=True)
def fail(
    target: Target,
    token: Token = None,
    ids: Ids = None,
    message: Annotated[str, typer.Option(help="Why.")] = "failed by hand",
    type: Annotated[
        str | None, typer.Option(metavar="NAME", help="The type of the error, for retry policies.")
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry/--no-retry", help="Whether it may be tried again.")
    ] = True,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """End an attempt with an error; it is tried again as its retry policy says."""
    error = ApplicationError(message, type=type, retryable=retry)
    ended(target, module, as_json, token, ids, "failed", lambda c, t: c.fail(t, error))


@group.command()
@target_options(injects=True)
def heartbeat(
    target: Target,
    token: Token = None,
    ids: Ids = None,
    details: Details = "null",
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Say that an attempt is alive, and print whether it should stop."""
    (value,) = parsed((details,))
    named = named_of(token, ids)

    async def work() -> None:
        async with connected(target, module) as client:
            stop = await client.heartbeat(named, value)
        text = "it should stop: nobody waits for it" if stop else "it goes on"
        done(as_json, text, stop=stop)

    asyncio.run(work())


def ended(
    target: Target,
    module: list[str] | None,
    as_json: bool,
    token: str | None,
    ids: tuple[str, int] | None,
    what: str,
    end: Callable[[Client, ActivityToken], Awaitable[Any]],
) -> None:
    """End an attempt, and say so."""
    named = named_of(token, ids)
    which = shown(named)

    async def work() -> None:
        async with connected(target, module) as client:
            await end(client, named)
        text = f"activity {which.id} of {which.workflow_id} has {what}"
        done(as_json, text, workflow_id=which.workflow_id, activity=which.id, ended=what)

    asyncio.run(work())


def named_of(token: str | None, ids: tuple[str, int] | None) -> ActivityToken:
    """Return what names the activity: a token, or its ids."""
    if (token is None) is (ids is None):
        raise typer.BadParameter("name the attempt by TOKEN, or by --id WORKFLOW ACTIVITY")
    named: ActivityToken = token if ids is None else ids  # type: ignore[assignment]  # one is given
    shown(named)
    return named


def shown(named: ActivityToken) -> Named:
    """Return what a token names; one that is none is wrong usage."""
    try:
        return named_by(named, "activity")
    except InvalidArgument as error:
        raise typer.BadParameter(str(error).removeprefix("activity: ")) from error


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(group, name="activity", rich_help_panel=PANEL)
