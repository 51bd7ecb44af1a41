"""The commands ``schedule``: make one, look at it, and act on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from processor import checks
from processor.cli.commands.runs import PANEL, Arguments, done, parsed
from processor.cli.commands.starts import WorkflowName
from processor.cli.options import EmbeddedModules, Json, Target, checked, named, target_options
from processor.cli.output import say, show_found, shown_value, write_json
from processor.cli.schedules.options import SCHEDULE_OPTIONS, TIME_OPTIONS, Moment, collected
from processor.cli.session import connected
from processor.errors import InvalidArgument
from processor.schedules.spec import Overlap

if TYPE_CHECKING:
    from processor.client import ScheduleDescription, ScheduleHandle, ScheduleSummary

__all__ = ("register",)

group = typer.Typer(
    help="Let runs begin at the times of a calendar, and look after that.", no_args_is_help=True
)

ScheduleId = Annotated[str, named("ID", "The schedule's id.")]
Note = Annotated[
    str, typer.Option(callback=checked(checks.text), help="For people: who did it, and why.")
]
Overlaps = Annotated[Overlap | None, typer.Option(help="In place of the schedule's own policy.")]


@group.command()
@target_options(injects=True)
@collected(SCHEDULE_OPTIONS)
def create(
    target: Target,
    id: ScheduleId,
    workflow: WorkflowName,
    arguments: Arguments = None,
    paused: Annotated[bool, typer.Option("--paused", help="Begin with the first resume.")] = False,
    note: Note = "",
    module: EmbeddedModules = None,
    as_json: Json = False,
    how: dict[str, Any] = {},  # noqa: B006  # the options above stand in its place
) -> None:
    """Let a workflow be started again and again."""
    values = parsed(arguments or ())

    async def work() -> None:
        async with connected(target, module) as client:
            handle = await client.schedules.create(
                workflow, *values, id=id, paused=paused, note=note, **how
            )
            told = await handle.describe()
        following = told.next[0].isoformat(timespec="seconds") if told.next else "never"
        text = f"created {id}: {told.when}; next {following}"
        done(as_json, text, id=id, next=[each.isoformat() for each in told.next])

    asyncio.run(work())


@group.command("list")
@target_options(injects=True)
def list_schedules(target: Target, module: EmbeddedModules = None, as_json: Json = False) -> None:
    """List all schedules of the namespace."""

    async def work() -> None:
        async with connected(target, module) as client:
            found = [each async for each in client.schedules.list()]
        found.sort(key=lambda each: each.id)
        show_found(found, ("id", "workflow", "when", "next", "note"), _row, as_json=as_json)

    asyncio.run(work())


@group.command()
@target_options(injects=True)
def describe(
    target: Target, id: ScheduleId, module: EmbeddedModules = None, as_json: Json = False
) -> None:
    """Show what a schedule does, its next ten times and its last ten runs."""

    async def work() -> None:
        async with connected(target, module) as client:
            told = await client.schedules.handle(id).describe()
        if as_json:
            write_json(told)
        else:
            say("\n".join(_lines(told)), lines=True)

    asyncio.run(work())


@group.command()
@target_options(injects=True)
@collected(SCHEDULE_OPTIONS)
def update(
    target: Target,
    id: ScheduleId,
    workflow: Annotated[
        str | None, typer.Option(callback=checked(checks.name), help="Another workflow.")
    ] = None,
    argument: Annotated[
        list[str] | None, typer.Option(metavar="JSON", help="Its arguments anew, one each.")
    ] = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
    how: dict[str, Any] = {},  # noqa: B006  # as above
) -> None:
    """Change what is given. --cron, --every, --calendar and --time are changed together."""
    args = None if argument is None else parsed(argument)

    async def act(handle: ScheduleHandle) -> None:
        await handle.update(workflow=workflow, args=args or None, **how)

    _act(target, id, module, as_json, act, "changed", "changed")


@group.command()
@target_options(injects=True)
def pause(
    target: Target,
    id: ScheduleId,
    note: Note = "",
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Let times pass without runs, until it is resumed."""
    _act(target, id, module, as_json, lambda it: it.pause(note), "paused", "was paused already")


@group.command()
@target_options(injects=True)
def resume(
    target: Target,
    id: ScheduleId,
    note: Note = "",
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Let a paused schedule go on with its next time."""
    _act(target, id, module, as_json, lambda it: it.resume(note), "resumed", "was not paused")


@group.command()
@target_options(injects=True)
def trigger(
    target: Target,
    id: ScheduleId,
    overlap: Overlaps = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Let a run begin now."""

    async def work() -> None:
        async with connected(target, module) as client:
            run = await client.schedules.handle(id).trigger(overlap=overlap)
        done(as_json, f"asked for {run.id}", id=id, workflow_id=run.id)

    asyncio.run(work())


@group.command()
@target_options(injects=True)
def backfill(
    target: Target,
    id: ScheduleId,
    start: Annotated[
        datetime, typer.Argument(metavar="START", formats=["%Y-%m-%dT%H:%M%z", "%Y-%m-%d"])
    ],
    end: Annotated[
        datetime, typer.Argument(metavar="END", formats=["%Y-%m-%dT%H:%M%z", "%Y-%m-%d"])
    ],
    overlap: Annotated[Overlap, typer.Option(help="What happens to those that overlap.")] = (
        "buffer-all"
    ),
    again: Annotated[bool, typer.Option("--again", help="Also times that had their run.")] = False,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Let runs begin for times of the past: from START on, before END (a day: in UTC)."""
    span = [each if each.tzinfo else each.replace(tzinfo=UTC) for each in (start, end)]

    async def work() -> None:
        async with connected(target, module) as client:
            found = await client.schedules.handle(id).backfill(*span, overlap=overlap, again=again)
        done(as_json, f"{found:,} times of {id} are made up for", id=id, times=found)

    asyncio.run(work())


@group.command()
@collected(TIME_OPTIONS)
def preview(
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many times.")] = 10,
    after: Moment = None,
    as_json: Json = False,
    how: dict[str, Any] = {},  # noqa: B006  # as above
) -> None:
    """Show the times that options name, in their time zone and in UTC; nobody is asked."""
    from processor.client.schedules.handles import previewed

    try:
        times = previewed(count, after, how)
    except InvalidArgument as error:
        raise typer.BadParameter(str(error)) from error
    for each in times:
        if as_json:
            write_json({"time": each, "utc": each.astimezone(UTC)})
        else:
            say(_time(each))


@group.command()
@target_options(injects=True)
def delete(
    target: Target, id: ScheduleId, module: EmbeddedModules = None, as_json: Json = False
) -> None:
    """End a schedule; its runs go on."""
    _act(target, id, module, as_json, lambda it: it.delete(), "deleted", "was deleted already")


def _act(
    target: Target,
    id: str,
    module: list[str] | None,
    as_json: bool,
    act: Callable[[ScheduleHandle], Awaitable[bool | None]],
    said: str,
    otherwise: str,
) -> None:
    """Do something with a schedule, and say what came of it."""

    async def work() -> None:
        async with connected(target, module) as client:
            applied = await act(client.schedules.handle(id)) is not False
        done(as_json, f"{id} {said if applied else otherwise}", id=id, applied=applied)

    asyncio.run(work())


def _row(found: ScheduleSummary) -> tuple[str, ...]:
    return found.id, found.workflow, found.when, _stands(found.paused, found.next), found.note


def _stands(paused: bool, following: datetime | None) -> str:
    if paused:
        return "paused"
    return "never" if following is None else _time(following)


def _time(at: datetime) -> str:
    """Return a time in its own zone, and in UTC where that is another."""
    utc = at.astimezone(UTC)
    text = f"{at:%a %Y-%m-%d %H:%M:%S %Z}"
    return text if at.utcoffset() == utc.utcoffset() else f"{text} ({utc:%Y-%m-%d %H:%M:%S} UTC)"


def _lines(told: ScheduleDescription) -> list[str]:
    lines = [f"{told.id} starts {told.workflow}: {told.when}"]
    lines += [f"  argument {shown_value(each)}" for each in told.args]
    lines += [
        f"  {name} {shown_value(each)}" for name, each in told.options.items() if name != "when"
    ]
    if told.paused or told.note:
        lines.append(f"  {'paused' if told.paused else 'goes on'}: {told.note or 'no note'}")
    counts = (told.actions, told.skipped, told.missed, told.dropped)
    words = zip(("runs", "skipped", "missed", "dropped"), counts, strict=True)
    lines.append("  " + ", ".join(f"{count:,} {word}" for word, count in words))
    if told.remaining is not None:
        lines.append(f"  {told.remaining:,} runs are left")
    if told.waiting:
        lines.append(f"  {told.waiting:,} runs wait for others to end")
    lines += [f"  next {_time(each)}" for each in told.next]
    lines += [
        f"  {each.status} {each.workflow_id} ({each.by})" + (f": {each.why}" if each.why else "")
        for each in told.recent
    ]
    return lines


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(group, name="schedule", rich_help_panel=PANEL)
