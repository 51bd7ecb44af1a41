"""Commands that act on a run: start, run, event, signal, query, result, cancel, terminate."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
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
    say_error,
    say_meanwhile,
    shown_time,
    shown_value,
    write_json,
)
from processor.cli.session import connected
from processor.errors import (
    ProcessorError,
    WorkflowCancelled,
    WorkflowError,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from processor.policy import (
    ATTEMPTS_MAX,
    ConflictPolicy,
    Reject,
    RetryPolicy,
    ReusePolicy,
    Status,
)

if TYPE_CHECKING:
    from processor.client import Handle, RunDescription

__all__ = ("register",)

PANEL = "Runs"
SHOWN_MAX = 200
TELL_AFTER_S = 1.0
LOOK_S = 2.0
PARKED = "; it is parked, so its code hears of it when a worker with corrected code starts"

WorkflowName = Annotated[
    str,
    typer.Argument(metavar="WORKFLOW", callback=checked(checks.name), help="The workflow's name."),
]
Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="JSON", help="""Its arguments as JSON: '{"id": "A-1"}' 3 true"""),
]
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
        formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"],
        help="Let the code begin at a time: 2027-01-31T09:00+01:00.",
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
EventName = Annotated[
    str,
    typer.Argument(metavar="NAME", callback=checked(checks.name), help="The event's name."),
]
SignalName = Annotated[
    str,
    typer.Argument(metavar="NAME", callback=checked(checks.name), help="The signal's name."),
]
QueryName = Annotated[
    str,
    typer.Argument(metavar="NAME", callback=checked(checks.name), help="The query's name."),
]


@target_options(injects=True)
def start(
    target: Target,
    workflow: WorkflowName,
    arguments: Arguments = None,
    id: NewId = None,
    reuse: Reuse = "allow",
    conflict: Conflict = "fail",
    execution_timeout: ExecutionTimeout = None,
    attempts: Attempts = None,
    delay: Delay = None,
    at: At = None,
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
                retry=None if attempts is None else RetryPolicy(maximum_attempts=attempts),
                delay=delay,
                at=at,
            )
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
    reuse: Reuse = "allow",
    conflict: Conflict = "fail",
    execution_timeout: ExecutionTimeout = None,
    attempts: Attempts = None,
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
            handle = await client.start(
                workflow,
                *values,
                id=id,
                reuse=reuse,
                conflict=conflict,
                execution_timeout=execution_timeout,
                retry=None if attempts is None else RetryPolicy(maximum_attempts=attempts),
                delay=delay,
                at=at,
            )
            await show_result(handle, timeout, as_json)

    asyncio.run(work())


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
def event(
    target: Target,
    id: WorkflowId,
    name: EventName,
    payload: Annotated[str, typer.Argument(metavar="JSON", help="What comes with it.")] = "null",
    run_id: RunId = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Send an external event to a run; it is durable when this returns."""
    (value,) = parsed((payload,))

    async def work() -> None:
        async with connected(target, module) as client:
            handle = client.handle(id, run_id)
            await handle.raise_event(name, value)
            found = await looked_at(handle)
        sent(as_json, id, name, found)

    asyncio.run(work())


@target_options(injects=True)
def signal(
    target: Target,
    id: WorkflowId,
    name: SignalName,
    arguments: Arguments = None,
    run_id: RunId = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Send a signal to a run: an event whose value is the argument, or the list of several."""
    values = parsed(arguments or ())

    async def work() -> None:
        async with connected(target, module) as client:
            handle = client.handle(id, run_id)
            await handle.signal(name, *values)
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
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """End a run at once; its code does not run again."""

    async def work() -> None:
        async with connected(target, module) as client:
            handle = client.handle(id, run_id)
            applied = await handle.terminate(reason, recursive=recursive)
            found = await looked_at(handle)
        ended(as_json, "terminate", f"terminated {id}", found, applied, id)

    asyncio.run(work())


def sent(as_json: bool, id: str, name: str, found: RunDescription | None) -> None:
    """Say that an event is on its way, and whether the code hears of it now."""
    later = "" if found is None or found.parked is None else PARKED
    told = {"workflow_id": id, "event": name, "status": found and found.status}
    done(as_json, f"sent {name} to {id}{later}", **told)


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
        if not as_json:
            raise
        cause = error.__cause__ or error
        told = {"type": getattr(cause, "type", type(cause).__name__), "message": str(cause)}
        if isinstance(error, WorkflowCancelled | WorkflowTerminated):
            told["reason"] = error.reason  # the message has it escaped
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
        say_meanwhile(f"waiting for the result of {handle.id!r}: {standing(found)}")


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
    for command in (start, run, event, signal, query, result, cancel, terminate):
        app.command(rich_help_panel=PANEL)(command)
