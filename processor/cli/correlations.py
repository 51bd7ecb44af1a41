"""``processor correlation``: signal whoever holds a business key, look at one, and free it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from processor import checks
from processor.cli.commands.runs import PANEL, Arguments, done, parsed
from processor.cli.options import EmbeddedModules, Json, Key, Target, checked, named, target_options
from processor.cli.output import shown_time, shown_value
from processor.cli.session import connected
from processor.readable import readable

__all__ = ("register",)

Name = Annotated[str, named("NAME", "Name of the key: shipment")]
BusinessKey = Annotated[str, named("KEY", "The key itself: S-7.")]
SignalName = Annotated[str, named("SIGNAL", "The signal's name.")]
Keep = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        callback=checked(checks.seconds),
        help="How long it waits for a run that holds the key.",
        show_default="a day",
    ),
]

group = typer.Typer(
    help="Signal whichever run holds a business key, and look at keys.", no_args_is_help=True
)


@group.command()
@target_options(injects=True)
def signal(
    target: Target,
    name: Name,
    key: BusinessKey,
    signal: SignalName,
    arguments: Arguments = None,
    once: Key = None,
    keep: Keep = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Signal the run that holds a key, now or as soon as one does; it is durable then."""
    values = parsed(arguments or ())

    async def work() -> None:
        async with connected(target, module) as client:
            correlated = client.correlated(name, key)
            await correlated.signal(signal, *values, key=once, keep=keep)
        text = f"sent {signal} to whoever holds {name} {readable(key)}"
        done(as_json, text, name=name, key=key, signal=signal)

    asyncio.run(work())


@group.command()
@target_options(injects=True)
def show(
    target: Target,
    name: Name,
    key: BusinessKey,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Show who holds a key, and the signals that wait for somebody to hold it."""

    async def work() -> None:
        async with connected(target, module) as client:
            found = await client.correlated(name, key).describe()
        kept = [
            {"name": each.name, "value": each.value, "until": each.until} for each in found.kept
        ]
        lines = [f"{name} {readable(key)} is held by {found.holder or 'nobody'}"]
        lines += [
            f"{each.name} waits until {shown_time(each.until)}: {shown_value(each.value)}"
            for each in found.kept
        ]
        told = {"holder": found.holder, "run_id": found.run_id, "kept": kept}
        done(as_json, "\n".join(lines), name=name, key=key, **told)

    asyncio.run(work())


@group.command()
@target_options(injects=True)
def release(
    target: Target,
    name: Name,
    key: BusinessKey,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Free a key, whoever holds it: the run is not told, and hears no more by the key."""

    async def work() -> None:
        async with connected(target, module) as client:
            holder = await client.correlated(name, key).release()
        which = f"{name} {readable(key)}"
        text = f"nobody held {which}" if holder is None else f"{which} was held by {holder}: free"
        done(as_json, text, name=name, key=key, holder=holder)

    asyncio.run(work())


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(group, name="correlation", rich_help_panel=PANEL)
