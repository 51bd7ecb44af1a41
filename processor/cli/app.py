"""The command tree."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from processor.cli import connections, correlations, entities, serving, views
from processor.cli.commands import (
    activities,
    bench,
    demo,
    dev,
    inspection,
    messages,
    runs,
    schemas,
    starts,
    tables,
    topics,
    upgrade,
    worker,
)
from processor.cli.faults import EXIT_CODES, GuardedGroup
from processor.cli.schedules import commands, declared

__all__ = ("app", "main")

for stream in ("stdout", "stderr"):
    if getattr(sys, stream) is None:  # closed by whoever started this process: nobody reads it
        setattr(sys, stream, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115

app = typer.Typer(
    name="processor",
    cls=GuardedGroup,
    help="Durable execution for Python on Kafka. Start with: processor demo",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if sys.stdout.isatty() else None,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"processor {version('processor')}")
        raise typer.Exit


@app.callback()
def processor(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Durable execution for Python on Kafka. Start with: processor demo"""


for module in (
    *(demo, dev, worker, serving, starts, runs, messages, activities, inspection),
    *(
        entities,
        correlations,
        connections,
        topics,
        upgrade,
        tables,
        schemas,
        bench,
        commands,
        declared,
        views,
    ),
):
    module.register(app)


def main() -> None:
    """Run the command line."""
    app()
