"""Commands that act on a run: result, cancel, terminate."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from time import time_ns
from typing import TYPE_CHECKING, Annotated, Any

import typer

from processor import checks
from processor.cli.faults import FAILED, UNFINISHED
from processor.cli.options import (
    EmbeddedModules,
    Json,
    RunId,
    Target,
    WorkflowId,
    checked,
    target_options,
)
from processor.cli.output import (
    cut,
    say,
    say_beside,
    say_error,
    shown_time,
    shown_value,
    write_json,
)
from processor.cli.session import connected
from processor.errors import (
    ProcessorError,
    WorkflowCancelled,
    WorkflowContinued,
    WorkflowError,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from processor.policy import (
    Status,
)

if TYPE_CHECKING:
    from processor.client import Handle, RunDescription

__all__ = ("PANEL", "Arguments", "Timeout", "done", "parsed", "register", "show_result")

PANEL = "Runs"
SHOWN_MAX = 200
TELL_AFTER_S = 1.0
LOOK_S = 2.0
PARKED = "; it is parked, so its code hears of it when a worker with corrected code starts"

Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="JSON", help="""Its arguments as JSON: '{"id": "A-1"}' 3 true"""),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        callback=checked(checks.seconds),
        help="How long to wait; else for ever.",
    ),
]
Reason = Annotated[
    str, typer.Option(callback=checked(checks.text), help="Why; it is kept in the history.")
]


@target_options(injects=True)
def result(
    target: Target,
    id: WorkflowId,
    run_id: RunId = None,
    timeout: Timeout = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Wait for the end of a run and print its result; exit 1 where there is none."""

    async def work() -> None:
        async with connected(target, module) as client:
            handle = client.handle(id, run_id)
            await handle.describe()  # where no shard answers, nobody waits for ever
            await show_result(handle, timeout, as_json)

    asyncio.run(work())


@target_options(injects=True)
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
            handle = client.handle(id, run_id)
            applied = await handle.cancel(reason)
            found = await looked_at(handle)
        text = f"asked {id} to stop"
        if found is not None and found.parked is not None:
            text += f"{PARKED}. To end it at once: processor terminate"
        ended(as_json, "cancel", text, found, applied, id)

    asyncio.run(work())


@target_options(injects=True)
def terminate(
    target: Target,
    id: WorkflowId,
    reason: Reason = "",
    run_id: RunId = None,
    recursive: Annotated[
        bool, typer.Option(help="End its children, too, as their parent_close says.")
    ] = True,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="JSON", help="""An output for whoever waits for the end: '{"paid": 3}'"""
        ),
    ] = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """End a run at once; its code does not run again."""
    value = None if output is None else parsed([output])[0]

    async def work() -> None:
        async with connected(target, module) as client:
            handle = client.handle(id, run_id)
            applied = await handle.terminate(reason, recursive=recursive, output=value)
            found = await looked_at(handle)
        ended(as_json, "terminate", f"terminated {id}", found, applied, id)

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
    """Print how a run ends, or the chain of runs; JSON names the run that was the last one."""
    which = {"workflow_id": handle.id, "run_id": handle.run_id}
    telling = asyncio.create_task(tell_meanwhile(handle))
    try:
        value = await handle.result(timeout)
    except TimeoutError as error:
        found = await looked_at(handle)
        if found is None:
            raise
        if not found.status.is_open:
            await show_result(handle, None, as_json)
            return
        if as_json:
            which["run_id"] = found.run_id
            names = ("status", "attempt", "parked", "pending")
            write_json({**which, **{name: getattr(found, name) for name in names}})
        from processor.client.descriptions import standing

        say_error(f"no result of {handle.id!r} within {timeout:g} s: {standing(found)}")
        raise typer.Exit(UNFINISHED) from error
    except WorkflowError as error:
        output = error.output if isinstance(error, WorkflowTerminated) else None
        if not as_json:
            if output is not None:
                say(shown_value(output), lines=True)
            raise
        cause = error.__cause__ or error
        told = {"type": getattr(cause, "type", type(cause).__name__), "message": str(cause)}
        if isinstance(error, WorkflowCancelled | WorkflowTerminated):
            told["reason"] = error.reason  # the message has it escaped
        if output is not None:
            told["output"] = output
        if isinstance(error, WorkflowContinued):
            told["next_run_id"] = error.next_run_id
        which["run_id"] = error.run_id
        write_json({**which, "status": status_of(error).value, "error": told})
        raise typer.Exit(FAILED) from error
    finally:
        telling.cancel()
    if as_json:
        if (found := await looked_at(handle)) is not None:
            which["run_id"] = found.run_id
        write_json({**which, "status": Status.COMPLETED.value, "result": value})
    else:
        say(shown_value(value), lines=True)


async def tell_meanwhile(handle: Handle[Any]) -> None:
    """Say what a run is doing whose end is not there at once; what holds it up, the client says."""
    from processor.client.descriptions import hindrances, standing

    await asyncio.sleep(TELL_AFTER_S)
    found = await looked_at(handle)
    if found is not None and not any(hindrances(found, time_ns() // 1_000_000)):
        say_beside(f"waiting for the result of {handle.id!r}: {standing(found)}")


async def looked_at(handle: Handle[Any]) -> RunDescription | None:
    """Return how a run stands, None where that is not known soon."""
    try:
        async with asyncio.timeout(LOOK_S):
            return await handle.describe()
    except (ProcessorError, TimeoutError):
        return None


def ended(
    as_json: bool, request: str, text: str, found: RunDescription | None, applied: bool, id: str
) -> None:
    """Say what a request to end a run has done: nothing, where the run had ended before."""
    status = None if found is None else found.status
    if found is not None and found.closed is not None and not applied:
        by_this = status in (Status.TERMINATED, Status.CANCELLED)  # or its answer was lost
        when = shown_time(found.closed)
        text = (
            f"{id} {'has ended' if by_this else 'had ended before'}: {found.status.value} at {when}"
        )
    done(as_json, text, workflow_id=id, requested=request, applied=applied, status=status)


def status_of(error: WorkflowError) -> Status:
    """Return the status of the run that ended with this error."""
    match error:
        case WorkflowCancelled():
            return Status.CANCELLED
        case WorkflowTerminated():
            return Status.TERMINATED
        case WorkflowTimedOut():
            return Status.TIMED_OUT
        case WorkflowContinued():
            return Status.CONTINUED
        case _:
            return Status.FAILED


def done(as_json: bool, text: str, **fields: Any) -> None:
    """Say what became of a request."""
    if as_json:
        write_json(fields)
    else:
        say(text)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (result, cancel, terminate):
        app.command(rich_help_panel=PANEL)(command)
