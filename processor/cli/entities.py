"""``processor entity``: call an entity, signal it, look at its state, and list entities."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from processor import checks
from processor.cli.commands.runs import PANEL, Arguments, Reason, Timeout, done, parsed
from processor.cli.options import (
    TIME_FORMATS,
    EmbeddedModules,
    Json,
    Key,
    Target,
    checked,
    named,
    target_options,
)
from processor.cli.output import cut, show_found, shown_time, shown_value
from processor.cli.session import connected
from processor.core.entity_id import entity_of, is_entity_id
from processor.readable import readable

if TYPE_CHECKING:
    from processor.client import EntityOperation, RunDescription

__all__ = ("register",)

Name = Annotated[str, named("ENTITY", "Name of its class.")]
EntityKey = Annotated[
    str,
    typer.Argument(metavar="KEY", callback=checked(checks.workflow_id), help="Its key."),
]
OperationName = Annotated[str, named("OPERATION", "The operation.")]
OnlyName = Annotated[str | None, named("ENTITY", "Only of this class.")]

Delay = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS", callback=checked(checks.seconds), help="Let the entity keep it so long."
    ),
]
At = Annotated[
    datetime | None,
    typer.Option(
        metavar="TIME",
        formats=TIME_FORMATS,
        help="Let the entity keep it until a time: 2027-01-31T09:00+01:00.",
    ),
]

_COLUMNS = ("entity", "key", "status", "events", "run")
_ENDED_COLUMNS = ("ended", "operation", "arguments", "result", "id")
_GIVEN_CHARS = 60
_LOCKED_COLUMNS = ("entity", "key", "holder", "run", "number", "waiting")

group = typer.Typer(
    help="Ask entities for operations, and look at their states.", no_args_is_help=True
)


@group.command()
@target_options(injects=True)
def call(
    target: Target,
    entity: Name,
    key: EntityKey,
    operation: OperationName,
    arguments: Arguments = None,
    once: Key = None,
    timeout: Timeout = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Let an entity do an operation, or answer a read, and print the result."""
    values = parsed(arguments or ())

    async def work() -> None:
        async with connected(target, module) as client:
            handle = client.entity(entity, key)
            result = await handle.call(operation, *values, key=once, timeout=timeout)
        told = {"entity": entity, "key": key, "operation": operation}
        done(as_json, shown_value(result), **told, result=result)

    asyncio.run(work())


@group.command()
@target_options(injects=True)
def signal(
    target: Target,
    entity: Name,
    key: EntityKey,
    operation: OperationName,
    arguments: Arguments = None,
    once: Key = None,
    delay: Delay = None,
    at: At = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Ask an entity for an operation, and do not wait: it is durable when this returns."""
    values = parsed(arguments or ())

    async def work() -> None:
        async with connected(target, module) as client:
            handle = client.entity(entity, key)
            await handle.signal(operation, *values, key=once, delay=delay, at=at)
        text = f"{entity} {readable(key)} was asked for {operation}"
        done(as_json, text, entity=entity, key=key, operation=operation)

    asyncio.run(work())


@group.command()
@target_options(asks=True)
def cancel(
    target: Target,
    entity: Name,
    key: EntityKey,
    reason: Reason = "",
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Cancel the operation that runs: it cleans up, and the next one begins."""

    async def work() -> None:
        async with connected(target, module) as client:
            told = await client.entity(entity, key).cancel(reason)
        which = f"{entity} {readable(key)}"
        text = f"the operation of {which} was told to cancel" if told else f"none runs in {which}"
        done(as_json, text, entity=entity, key=key, cancelled=told)

    asyncio.run(work())


@group.command()
@target_options(injects=True)
def state(
    target: Target,
    entity: Name,
    key: EntityKey,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Print the state that is recorded; null where there is none."""

    async def work() -> None:
        async with connected(target, module) as client:
            found = await client.entity(entity, key).state()
        done(as_json, shown_value(found), entity=entity, key=key, state=found)

    asyncio.run(work())


@group.command()
@target_options(injects=True)
def history(
    target: Target,
    entity: Name,
    key: EntityKey,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Print the operations that ended last: those that @entity.define(history=N) keeps."""

    async def work() -> None:
        async with connected(target, module) as client:
            found = await client.entity(entity, key).history()
        show_found(found, _ENDED_COLUMNS, _ended_row, as_json=as_json)

    asyncio.run(work())


@group.command()
@target_options(asks=True)
def unlock(
    target: Target,
    id: Annotated[
        str,
        typer.Argument(metavar="ID", callback=checked(checks.workflow_id), help="@ENTITY@KEY."),
    ],
    reason: Annotated[str, typer.Option(callback=checked(checks.text), help="Why.")] = "",
    number: Annotated[
        int | None, typer.Option(min=1, help="Only if it is held under this fencing number.")
    ] = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Free an entity from the run that holds its lock, whose next call of it fails."""
    named = entity_of(id)
    if named is None:
        raise typer.BadParameter(
            f"{id!r} names no entity: write @ENTITY@KEY, as `processor entity list` does",
            param_hint="ID",
        )

    async def work() -> None:
        async with connected(target, module) as client:
            freed = await client.entity(*named).unlock(reason, number=number)
        under = "" if number is None else f" under number {number}"
        text = f"{id} is free" if freed else f"nobody holds {id}{under}: nothing was changed"
        done(as_json, text, id=id, freed=freed)

    asyncio.run(work())


@group.command("list")
@target_options(asks=True)
def list_entities(
    target: Target,
    entity: OnlyName = None,
    locked: Annotated[
        bool, typer.Option("--locked", help="Only those that are locked, and by whom.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at the most.")] = 100,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """List the entities that somebody has called."""

    async def work() -> None:
        found: list[RunDescription] = []
        async with connected(target, module) as client:
            async for run in client.list(workflow=entity):
                if not is_entity_id(run.workflow_id):
                    continue
                if locked:
                    run = await client.handle(run.workflow_id).describe()
                if not locked or run.pending.get("lock") is not None:
                    found.append(run)
                if len(found) > limit:
                    break
        row = _locked_row if locked else _row
        columns = _LOCKED_COLUMNS if locked else _COLUMNS
        show_found(found, columns, row, as_json=as_json, limit=limit)

    asyncio.run(work())


def _row(run: RunDescription) -> tuple[str, ...]:
    named = entity_of(run.workflow_id)
    key = run.workflow_id if named is None else named.key
    return run.workflow, key, run.status.value, str(run.events), run.run_id


def _ended_row(ended: EntityOperation) -> tuple[str, ...]:
    came_to = shown_value(ended.result) if ended.failure is None else readable(ended.failure)
    if ended.bytes_left_out:
        came_to = f"{came_to} ({ended.bytes_left_out:,} bytes are left out)"
    given = cut(shown_value(ended.arguments), _GIVEN_CHARS)
    return shown_time(ended.ended), ended.operation, given, came_to, readable(ended.id)


def _locked_row(run: RunDescription) -> tuple[str, ...]:
    entity, key, *_ = _row(run)
    lock = run.pending["lock"]
    holder = lock["workflow_id"], lock["run_id"], str(lock["number"])
    return entity, key, *holder, str(run.pending["lock_waiting"])


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(group, name="entity", rich_help_panel=PANEL)
