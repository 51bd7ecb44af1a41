"""``processor views``: feed the view of a namespace, see how far it is, drop it, read tables."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from processor.cli import lookup
from processor.cli.commands.worker import Shutdown, log_to, serve
from processor.cli.options import (
    VIEWS_DIR,
    AskedView,
    EmbeddedModules,
    Json,
    Target,
    ViewsDir,
    target_options,
)
from processor.cli.output import say, show_found, show_table, shown_value, write_json
from processor.cli.session import connected
from processor.errors import ProcessorError

if TYPE_CHECKING:
    from processor.kafka.view_folder import ViewFolder
    from processor.views.answers import ViewRow

__all__ = ("register",)

TableModules = Annotated[
    list[str] | None,
    typer.Option(
        "--module", "-m", metavar="MODULE", help="A module with tables of yours: @views.table."
    ),
]

group = typer.Typer(
    help="Keep a row of each run, by which runs are found: docs/views.md.", no_args_is_help=True
)


@group.command()
@target_options(injects=True)
def run(
    target: Target,
    module: TableModules = None,
    views_dir: ViewsDir = VIEWS_DIR,
    shutdown: Shutdown = 30.0,
    as_json: Json = False,
) -> None:
    """Feed the view from the log, until SIGTERM or Ctrl-C. It needs no worker.

    Several processes share the partitions, each with a --views-dir of its own. --json makes its
    log JSON.
    """
    from processor.assembly import injected
    from processor.cli.modules import load_views
    from processor.kafka.clients.connection import KafkaSettings
    from processor.views.stream.feeder import Feeder
    from processor.views.tables.definition import by_name
    from processor.views.tables.stored import UserTables

    tables = by_name(load_views(module or ()), "views run: --module")
    given = injected(target.payloads, target.interceptors, "views run")
    log_to(as_json)
    for name in lookup.LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    connection = KafkaSettings(target.server, target.namespace, target.kafka)

    async def work() -> None:
        feeder = Feeder(connection, views_dir, UserTables(tables, given.payloads))
        await serve(feeder, shutdown)

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
    tables = list(_tables(folder, ends)) if parts else []
    if as_json:
        partitions = [dict(zip(names, each, strict=True)) for each in found]
        told = {"folder": str(folder.path), "fed": fed, "partitions": partitions}
        write_json({**told, "tables": tables})
        return
    if not parts:
        say(f"{folder.path} has no view: run `processor views run --views-dir {views_dir}`")
        return
    show_table(names, [tuple(f"{each:,}" for each in row) for row in found])
    for table in tables:
        why = "".join(f"; it stands still, {each}" for each in table["errors"])
        say(f"table {table['name']}, version {table['version']}: {table['lag']:,} behind{why}")
    lag = sum(each[3] for each in found)
    say(f"{lag:,} records behind the log; " + ("it is fed" if fed else "nobody feeds it"))


def _tables(folder: ViewFolder, ends: Mapping[int, int]) -> Iterator[dict[str, Any]]:
    """Yield how far each table is."""
    for name in folder.table_names():
        parts = folder.tables(name)
        for part in parts:
            part.close()
        if parts:
            lag = sum(max(ends.get(each.partition, 0) - each.position, 0) for each in parts)
            errors = [each.error for each in parts if each.error]
            yield {"name": name, "version": parts[0].version, "lag": lag, "errors": errors}


@group.command()
@target_options(injects=True)
def show(
    target: Target,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the table.")],
    prefix: Annotated[str, typer.Option(help="Only keys that begin so.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many at the most.")] = 100,
    views_dir: AskedView = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Show the rows of a table of yours (@views.table), in the order of their keys."""

    async def work() -> None:
        async with connected(target, module, views_dir) as client:
            found = [row async for row in client.view(name, prefix=prefix, limit=limit + 1)]
        show_found(found, ("key", "value"), _row, as_json=as_json, limit=limit)

    asyncio.run(work())


def _row(row: ViewRow) -> tuple[str, str]:
    return row.key, shown_value(row.value)


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
