"""Commands that act on a run: start, run, event, result, cancel, terminate."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from processor.cli.faults import FAILED
from processor.cli.options import (
    EmbeddedModules,
    Json,
    RunId,
    Target,
    WorkflowId,
    target_options,
)
from processor.cli.output import cut, say, shown_value, write_json
from processor.cli.session import connected
from processor.errors import (
    WorkflowCancelled,
    WorkflowError,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from processor.policy import ConflictPolicy, ReusePolicy, Status

if TYPE_CHECKING:
    from processor.client import Handle

__all__ = ("register",)

PANEL = "Runs"
SHOWN_MAX = 200

WorkflowName = Annotated[str, typer.Argument(metavar="WORKFLOW", help="The workflow's name.")]
Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="JSON", help="""Its arguments as JSON: '{"id": "A-1"}' 3 true"""),
]
NewId = Annotated[str | None, typer.Option("--id", help="The workflow id; else a new one.")]
Reuse = Annotated[ReusePolicy, typer.Option(help="What a closed run of that id means.")]
Conflict = Annotated[ConflictPolicy, typer.Option(help="What an open run of that id means.")]
ExecutionTimeout = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="How long the run may take in all.")
]
Timeout = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="How long to wait; else for ever.")
]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the history.")]


@target_options()
def start(
    target: Target,
    workflow: WorkflowName,
    arguments: Arguments = None,
    id: NewId = None,
    reuse: Reuse = "allow",
    conflict: Conflict = "fail",
    execution_timeout: ExecutionTimeout = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Start a workflow; it is durable when this returns."""
    values = parsed(arguments or ())

    async def work() -> None:
        async with connected(target, module) as client:
            handle = await client.start(
                workflow,
                *values,
                id=id,
                reuse=reuse,
                conflict=conflict,
                execution_timeout=execution_timeout,
            )
            told = {"workflow_id": handle.id, "run_id": str(handle.run_id)}
            done(as_json, f"started {handle.id} (run {handle.run_id})", **told)

    asyncio.run(work())


@target_options()
def run(
    target: Target,
    workflow: WorkflowName,
    arguments: Arguments = None,
    id: NewId = None,
    reuse: Reuse = "allow",
    conflict: Conflict = "fail",
    execution_timeout: ExecutionTimeout = None,
    timeout: Timeout = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Start a workflow, wait for its end and print its result; exit 1 when it failed."""
    values = parsed(arguments or ())

    async def work() -> None:
        async with connected(target, module) as client:
            handle = await client.start(
                workflow,
                *values,
                id=id,
                reuse=reuse,
                conflict=conflict,
                execution_timeout=execution_timeout,
            )
            await show_result(handle, timeout, as_json)

    asyncio.run(work())


@target_options()
def result(
    target: Target,
    id: WorkflowId,
    run_id: RunId = None,
    timeout: Timeout = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Wait for the end of a run and print its result; exit 1 when it failed."""

    async def work() -> None:
        async with connected(target, module) as client:
            found = await client.handle(id, run_id).describe()
            await show_result(client.handle(id, found.run_id), timeout, as_json)

    asyncio.run(work())


@target_options()
def event(
    target: Target,
    id: WorkflowId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The event's name.")],
    payload: Annotated[str, typer.Argument(metavar="JSON", help="What comes with it.")] = "null",
    run_id: RunId = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Send an external event to a run; it is durable when this returns."""
    (value,) = parsed((payload,))

    async def work() -> None:
        async with connected(target, module) as client:
            await client.handle(id, run_id).raise_event(name, value)
        done(as_json, f"sent {name} to {id}", workflow_id=id, event=name)

    asyncio.run(work())


@target_options()
def cancel(
    target: Target,
    id: WorkflowId,
    reason: Reason = "",
    run_id: RunId = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Ask a run to stop: its code can still clean up."""

    async def work() -> None:
        async with connected(target, module) as client:
            await client.handle(id, run_id).cancel(reason)
        done(as_json, f"asked {id} to stop", workflow_id=id, requested="cancel")

    asyncio.run(work())


@target_options()
def terminate(
    target: Target,
    id: WorkflowId,
    reason: Reason = "",
    run_id: RunId = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """End a run at once; its code does not run again."""

    async def work() -> None:
        async with connected(target, module) as client:
            await client.handle(id, run_id).terminate(reason)
        done(as_json, f"terminated {id}", workflow_id=id, requested="terminate")

    asyncio.run(work())


def parsed(texts: Sequence[str]) -> list[Any]:
    """Return what the JSON texts say."""
    values = []
    for text in texts:
        try:
            values.append(json.loads(text))
        except RecursionError as error:
            raise typer.BadParameter(
                f"{cut(text, SHOWN_MAX)!r} is nested too deeply. Nest it less, or pass it as text"
            ) from error
        except ValueError as error:
            short = cut(text, SHOWN_MAX)
            raise typer.BadParameter(
                f"{short!r} is no JSON that can be read ({error}). Text needs quotes inside of the"
                f" shell's: '{json.dumps(short)}'"
            ) from error
    return values


async def show_result(handle: Handle[Any], timeout: float | None, as_json: bool) -> None:
    """Print how a run ends."""
    which = {"workflow_id": handle.id, "run_id": handle.run_id}
    try:
        value = await handle.result(timeout)
    except WorkflowError as error:
        if not as_json:
            raise
        cause = error.__cause__ or error
        told = {"type": getattr(cause, "type", type(cause).__name__), "message": str(cause)}
        if isinstance(error, WorkflowCancelled | WorkflowTerminated):
            told["reason"] = error.reason  # the message has it escaped
        write_json({**which, "status": status_of(error).value, "error": told})
        raise typer.Exit(FAILED) from error
    if as_json:
        write_json({**which, "status": Status.COMPLETED.value, "result": value})
    else:
        say(shown_value(value), lines=True)


def status_of(error: WorkflowError) -> Status:
    """Return the status of the run that ended with this error."""
    match error:
        case WorkflowCancelled():
            return Status.CANCELLED
        case WorkflowTerminated():
            return Status.TERMINATED
        case WorkflowTimedOut():
            return Status.TIMED_OUT
        case _:
            return Status.FAILED


def done(as_json: bool, text: str, **fields: str) -> None:
    """Say that a request was taken."""
    if as_json:
        write_json(fields)
    else:
        say(text)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (start, run, event, result, cancel, terminate):
        app.command(rich_help_panel=PANEL)(command)
