"""``processor views``: feed the view of a namespace, see how far it is, and drop it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from processor.cli import lookup
from processor.cli.commands.worker import Shutdown, log_to, serve
from processor.cli.options import Json, Target, target_options
from processor.cli.output import say, show_table, write_json
from processor.errors import ProcessorError

__all__ = ("register",)

ViewsDir = Annotated[
    Path,
    typer.Option(
        "--views-dir",
        envvar="PROCESSOR_VIEWS_DIR",
        help="Where the view is kept: files that may be dropped, and are made anew from the log.",
    ),
]
VIEWS_DIR = Path("processor-views")

group = typer.Typer(
    help="Keep a row of each run, by which runs are found: docs/views.md.", no_args_is_help=True
)


@group.command()
@target_options()
def run(
    target: Target,
    views_dir: ViewsDir = VIEWS_DIR,
    shutdown: Shutdown = 30.0,
    as_json: Json = False,
) -> None:
    """Feed the view from the log, until SIGTERM or Ctrl-C. It needs no worker.

    Several processes share the partitions, each with a --views-dir of its own. --json makes its
    log JSON.
    """
    from processor.kafka.clients.connection import KafkaSettings
    from processor.views.stream.feeder import Feeder

    log_to(as_json)
    for name in lookup.LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    connection = KafkaSettings(target.server, target.namespace, target.kafka)

    async def work() -> None:
        await serve(Feeder(connection, views_dir), shutdown)

    asyncio.run(work())


@group.command()
@target_options()
def status(target: Target, views_dir: ViewsDir = VIEWS_DIR, as_json: Json = False) -> None:
    """Show how far the view in a folder is, and how much of the log is not in it yet."""
    from processor.kafka.clients.connection import KafkaSettings
    from processor.kafka.topics.upkeep import connect
    from processor.kafka.view import log_ends
    from processor.kafka.view_folder import ViewFolder

    folder = ViewFolder(views_dir, target.namespace)
    parts, found, fed = folder.read(), [], False
    if parts:
        connection = KafkaSettings(target.server, target.namespace, target.kafka)
        admin = connect(connection.servers, connection.extra)
        ends, fed = log_ends(admin, connection, [rows.partition for rows in parts]), folder.is_fed
    for rows in parts:
        with closing(rows):
            (runs,) = rows.connection.execute("SELECT coalesce(sum(n), 0) FROM counts").fetchone()
            end = ends[rows.partition]
            found.append((rows.partition, rows.position, end, max(end - rows.position, 0), runs))
    names = ("partition", "position", "end", "lag", "runs")
    if as_json:
        partitions = [dict(zip(names, each, strict=True)) for each in found]
        write_json({"folder": str(folder.path), "fed": fed, "partitions": partitions})
        return
    if not parts:
        say(f"{folder.path} has no view: run `processor views run --views-dir {views_dir}`")
        return
    show_table(names, [tuple(f"{each:,}" for each in row) for row in found])
    lag = sum(each[3] for each in found)
    say(f"{lag:,} records behind the log; " + ("it is fed" if fed else "nobody feeds it"))


@group.command()
@target_options()
def rebuild(
    target: Target,
    views_dir: ViewsDir = VIEWS_DIR,
    of_lookup: Annotated[
        bool,
        typer.Option("--lookup", help="Drop the table of `processor views serve`, not the rows."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Drop the view in a folder: `processor views run` makes it anew from the log."""
    from processor.kafka.view_folder import ViewFolder

    if of_lookup:
        return rebuild_lookup(target, as_json)
    folder = ViewFolder(views_dir, target.namespace)
    if folder.is_fed:
        where = folder.path
        raise ProcessorError(f"{where} is fed: stop `processor views run` there, then try again")
    count = folder.drop()
    if as_json:
        return write_json({"folder": str(folder.path), "dropped": count})
    say(f"dropped {count} files in {folder.path}: `processor views run` makes them anew")
    return None


def rebuild_lookup(target: Target, as_json: bool) -> None:
    """Have the look-up made anew."""
    from processor.kafka.clients.connection import KafkaSettings
    from processor.views.stream.lookup.rebuild import rebuild as rebuilt

    connection = KafkaSettings(target.server, target.namespace, target.kafka)
    count = rebuilt(connection)
    if as_json:
        return write_json({"topic": connection.topic("lookup"), "partitions": count})
    say(
        f"{count} partitions of {connection.topic('lookup')} forgot how far they are: `processor "
        "views serve` makes them anew from the log"
    )
    return None


group.command()(lookup.serve)
group.command()(lookup.lookup)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(group, name="views", rich_help_panel="Serve")
