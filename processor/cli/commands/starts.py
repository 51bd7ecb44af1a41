"""Commands that begin a run: start, run, start-now."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from processor import checks
from processor.attributes import Attributes, decode
from processor.cli.commands.runs import PANEL, Arguments, Timeout, done, parsed, show_result
from processor.cli.options import (
    TIME_FORMATS,
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
from processor.cli.session import connected
from processor.errors import SchemaMismatch
from processor.policy import ATTEMPTS_MAX, ConflictPolicy, RetryPolicy, ReusePolicy
from processor.schedules.cron import check as check_cron

if TYPE_CHECKING:
    from processor.client.options import RunOptions

__all__ = ("register",)

WorkflowName = Annotated[str, named("WORKFLOW", "The workflow's name.")]


def _attributes(text: str) -> dict[str, Any]:
    """Return the search attributes that a text says."""
    try:
        return decode(text.encode())
    except SchemaMismatch as error:
        raise typer.BadParameter(str(error)) from error


NewId = Annotated[
    str | None,
    typer.Option(
        "--id", callback=checked(checks.workflow_id), help="The workflow id; else a new one."
    ),
]
Reuse = Annotated[ReusePolicy, typer.Option(help="What a closed run of that id means.")]
Conflict = Annotated[ConflictPolicy, typer.Option(help="What an open run of that id means.")]
Delay = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS", callback=checked(checks.seconds), help="Let the code begin later."
    ),
]
At = Annotated[
    datetime | None,
    typer.Option(
        metavar="TIME",
        formats=TIME_FORMATS,
        help="Let the code begin at a time: 2027-01-31T09:00+01:00.",
    ),
]
Cron = Annotated[
    str | None,
    typer.Option(
        metavar="TIMES",
        callback=checked(check_cron),
        help="Let runs begin again and again: '30 6 * * MON-FRI', 'CRON_TZ=Europe/Berlin @daily'.",
    ),
]
ExecutionTimeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        callback=checked(checks.duration_ms),
        help="How long the run may take in all.",
    ),
]
SearchAttributes = Annotated[
    dict[str, Any] | None,
    typer.Option(
        "--attributes",
        metavar="JSON",
        parser=_attributes,
        help="""By which runs are found: '{"customer": "ada"}', {"datetime": TIME} for a time.""",
    ),
]
Attempts = Annotated[
    int | None,
    typer.Option(
        "--attempts",
        min=1,
        max=ATTEMPTS_MAX,
        metavar="COUNT",
        help="How many runs there may be until one does not fail: after 1 s, 2 s, 4 s and so on.",
    ),
]


@target_options(injects=True)
def start(
    target: Target,
    workflow: WorkflowName,
    arguments: Arguments = None,
    id: NewId = None,
    key: Key = None,
    reuse: Reuse = "allow",
    conflict: Conflict = "fail",
    execution_timeout: ExecutionTimeout = None,
    attempts: Attempts = None,
    attributes: SearchAttributes = None,
    delay: Delay = None,
    at: At = None,
    cron: Cron = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Start a workflow; it is durable when this returns."""
    values = parsed(arguments or ())

    async def work() -> None:
        async with connected(target, module) as client:
            more = execution_timeout, attempts, attributes, delay, at
            options = started_how(id, key, reuse, conflict, *more)
            handle = await client.start(workflow, *values, **options, cron=cron)
            told = {"workflow_id": handle.id, "run_id": handle.run_id, "created": handle.created}
            how = "started" if handle.created else "found"
            done(as_json, f"{how} {handle.id} (run {handle.run_id})", **told)

    asyncio.run(work())


@target_options(injects=True)
def run(
    target: Target,
    workflow: WorkflowName,
    arguments: Arguments = None,
    id: NewId = None,
    key: Key = None,
    reuse: Reuse = "allow",
    conflict: Conflict = "fail",
    execution_timeout: ExecutionTimeout = None,
    attempts: Attempts = None,
    attributes: SearchAttributes = None,
    delay: Delay = None,
    at: At = None,
    timeout: Timeout = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Start a workflow, wait for its end and print its result; exit 1 where there is none."""
    values = parsed(arguments or ())

    async def work() -> None:
        async with connected(target, module) as client:
            more = execution_timeout, attempts, attributes, delay, at
            options = started_how(id, key, reuse, conflict, *more)
            handle = await client.start(workflow, *values, **options)
            await show_result(handle, timeout, as_json)

    asyncio.run(work())


@target_options(injects=True)
def start_now(
    target: Target,
    id: WorkflowId,
    run_id: RunId = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Let the code of a run begin that waits for its time."""

    async def work() -> None:
        async with connected(target, module) as client:
            await client.handle(id, run_id).start_now()
        done(as_json, f"{id} begins now", workflow_id=id, requested="start-now")

    asyncio.run(work())


def started_how(
    id: str | None,
    key: str | None,
    reuse: ReusePolicy,
    conflict: ConflictPolicy,
    execution_timeout: float | None,
    attempts: int | None,
    attributes: Attributes | None,
    delay: float | None,
    at: datetime | None,
) -> RunOptions:
    """Return what a start is given beside the arguments of the workflow."""
    return {
        "id": id,
        "key": key,
        "reuse": reuse,
        "conflict": conflict,
        "execution_timeout": execution_timeout,
        "retry": None if attempts is None else RetryPolicy(maximum_attempts=attempts),
        "attributes": attributes,
        "delay": delay,
        "at": at,
    }


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (start, run, start_now):
        app.command(rich_help_panel=PANEL)(command)
