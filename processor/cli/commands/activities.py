"""The commands ``activity``: run one, look at the open ones of a run, and end one by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from processor import checks
from processor.cli.commands.inspection import activity_lines
from processor.cli.commands.runs import PANEL, Arguments, Timeout, done, parsed, show_result
from processor.cli.commands.starts import Conflict, NewId, Reuse
from processor.cli.options import (
    EmbeddedModules,
    Json,
    RunId,
    Target,
    WorkflowId,
    checked,
    named,
    target_options,
)
from processor.cli.output import say, write_json
from processor.cli.session import connected
from processor.core.data.task_token import Named, named_by
from processor.errors import ApplicationError, InvalidArgument
from processor.policy import ATTEMPTS_MAX, RetryPolicy

if TYPE_CHECKING:
    from processor.client import Client
    from processor.client.activities import ActivityHandle, ActivityToken

__all__ = ("register",)

group = typer.Typer(
    help="Run an activity, look at the open ones of a run, and end one by hand.",
    no_args_is_help=True,
)

Token = Annotated[str | None, typer.Argument(metavar="TOKEN", help="The task token of an attempt.")]
Ids = Annotated[
    tuple[str, int] | None,
    typer.Option(
        "--id", metavar="WORKFLOW ACTIVITY", help="Its workflow id and its number, not a token."
    ),
]
Seconds = Annotated[
    float | None, typer.Option(metavar="SECONDS", callback=checked(checks.duration_ms))
]
Attempts = Annotated[
    int | None,
    typer.Option(min=1, max=ATTEMPTS_MAX, help="How many attempts there may be."),
]
Queue = Annotated[
    str | None, typer.Option(callback=checked(checks.queue), help="The queue that it waits in.")
]
ActivityName = Annotated[str, named("ACTIVITY", "The activity's name.")]
Details = Annotated[str, typer.Option(metavar="JSON", help="What it has come to so far.")]


@group.command()
@target_options(injects=True)
def run(
    target: Target,
    activity: ActivityName,
    arguments: Arguments = None,
    id: NewId = None,
    reuse: Reuse = "allow",
    conflict: Conflict = "fail",
    queue: Queue = None,
    attempts: Attempts = None,
    start_to_close: Seconds = None,
    schedule_to_close: Seconds = None,
    heartbeat: Seconds = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for its end, and print its result.")
    ] = True,
    timeout: Timeout = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Run an activity without a workflow; exit 1 where it has no result."""
    how = options_given(queue, start_to_close, schedule_to_close, heartbeat)
    if attempts is not None:
        how["retry"] = RetryPolicy(maximum_attempts=attempts)
    values = parsed(arguments or ())

    async def work() -> None:
        async with connected(target, module) as client:
            kept: Any = {"id": id, "reuse": reuse, "conflict": conflict}
            handle = await client.start_activity(activity, *values, **kept, **how)
            if wait:
                await show_result(handle, timeout, as_json)
                return
            told = {"workflow_id": handle.id, "run_id": handle.run_id, "created": handle.created}
            said = "started" if handle.created else "found"
            done(as_json, f"{said} {handle.id} (run {handle.run_id})", **told)

    asyncio.run(work())


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


ActivityId = Annotated[
    int, typer.Argument(metavar="ACTIVITY", min=0, help="Its number, as `activity ls` shows it.")
]


def adjusting(name: str, what: str, text: str) -> None:
    """Add a command that changes how an activity goes on."""

    @target_options(injects=True)
    def command(
        target: Target,
        id: WorkflowId,
        activity: ActivityId,
        run_id: RunId = None,
        module: EmbeddedModules = None,
        as_json: Json = False,
    ) -> None:
        adjusted(target, module, as_json, (id, run_id, activity), text, attrgetter(what))

    group.command(name, help=ADJUSTING[name])(command)


ADJUSTING = {
    "pause": "Let no other attempt begin; one that runs goes on.",
    "resume": "Let attempts begin again.",
    "retry-now": "Begin the next attempt at once, where one is waited for.",
    "reset": "Let the retry policy count from the next attempt on.",
}
for each, verb, said in (
    ("pause", "pause", "paused"),
    ("resume", "resume", "resumed"),
    ("retry-now", "retry_now", "tried again"),
    ("reset", "reset", "reset"),
):
    adjusting(each, verb, said)


@group.command("set")
@target_options(injects=True)
def set_options(
    target: Target,
    id: WorkflowId,
    activity: ActivityId,
    queue: Annotated[
        str | None, typer.Option(callback=checked(checks.queue), help="Another queue.")
    ] = None,
    attempts: Annotated[
        int | None, typer.Option(min=1, max=ATTEMPTS_MAX, help="How many attempts there may be.")
    ] = None,
    delay: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="The delay before the second attempt."),
    ] = None,
    start_to_close: Seconds = None,
    schedule_to_close: Seconds = None,
    heartbeat: Seconds = None,
    run_id: RunId = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Change the options of an activity, from its next attempt on."""
    options = options_given(queue, start_to_close, schedule_to_close, heartbeat)
    if attempts is not None or delay is not None:
        interval: dict[str, Any] = (
            {} if delay is None else {"initial_interval": timedelta(seconds=delay)}
        )
        options["retry"] = RetryPolicy(maximum_attempts=attempts, **interval)
    if not options:
        raise typer.BadParameter("name what is to change: --queue, --attempts, --delay, ...")
    which = (id, run_id, activity)
    change = lambda handle: lambda: handle.set_options(**options)  # noqa: E731
    adjusted(target, module, as_json, which, "changed", change)


def options_given(
    queue: str | None,
    start_to_close: float | None,
    schedule_to_close: float | None,
    heartbeat: float | None,
) -> dict[str, Any]:
    """Return those options of an activity that are given."""
    options = {
        "queue": queue,
        "start_to_close": start_to_close,
        "schedule_to_close": schedule_to_close,
        "heartbeat": heartbeat,
    }
    return {name: value for name, value in options.items() if value is not None}


def adjusted(
    target: Target,
    module: list[str] | None,
    as_json: bool,
    which: tuple[str, str | None, int],
    text: str,
    verb: Callable[[ActivityHandle], Callable[[], Awaitable[bool]]],
) -> None:
    """Change how an activity goes on, and say whether anything had to change."""
    id, run_id, activity = which

    async def work() -> None:
        async with connected(target, module) as client:
            applied = await verb(client.handle(id, run_id).activity(activity))()
        told = f"activity {activity} of {id} is {text}" if applied else "nothing had to change"
        done(as_json, told, workflow_id=id, activity=activity, requested=text, applied=applied)

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
