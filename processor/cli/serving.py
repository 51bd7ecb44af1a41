"""The command ``serve``: the HTTP API of a namespace, in a process of its own."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from processor.api.options import PORT
from processor.cli.commands.worker import log_to
from processor.cli.options import AskedView, EmbeddedModules, Json, Target, target_options
from processor.cli.output import say, write_json
from processor.cli.session import connected
from processor.errors import InvalidArgument, ProcessorError

if TYPE_CHECKING:
    from processor.api import HttpOptions
    from processor.client import Client

__all__ = ("AuthConfig", "Hosts", "Origins", "PublicUrl", "http_options", "register")

LAG_EVERY_S = 5.0

Host = Annotated[
    str, typer.Option(help="The address to listen on; beyond this machine, it takes --auth.")
]
Port = Annotated[int, typer.Option(min=0, max=65_535, help="The port; 0 takes a free one.")]
PublicUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="How clients reach it: what URLs in answers begin with."),
]
Hosts = Annotated[
    list[str] | None,
    typer.Option("--allow-host", metavar="NAME", help="Another name by which it may be asked."),
]
Origins = Annotated[
    list[str] | None,
    typer.Option("--allow-origin", metavar="ORIGIN", help="Web pages of it may use the API."),
]
AuthConfig = Annotated[
    Path | None,
    typer.Option(
        "--auth",
        metavar="FILE",
        envvar="PROCESSOR_AUTH",
        dir_okay=False,
        help="Who may do what: tokens, JWTs, a proxy (docs/http-api.md).",
    ),
]


def http_options(**given: Any) -> HttpOptions:
    """Return the options of the API; what is wrong with them is wrong usage.

    This process gets a file for each connection, where it may have so many.
    """
    from processor.api import HttpOptions
    from processor.api.files import raise_files

    try:
        found = HttpOptions(**{name: each for name, each in given.items() if each is not None})
    except InvalidArgument as error:
        raise typer.BadParameter(str(error)) from error
    raise_files(found.connections_max)
    return found


@target_options(injects=True)
def serve(
    target: Target,
    host: Host = "127.0.0.1",
    port: Port = PORT,
    public_url: PublicUrl = None,
    allow_host: Hosts = None,
    allow_origin: Origins = None,
    auth: AuthConfig = None,
    views_dir: AskedView = None,
    modules: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Serve the HTTP API of a namespace, until SIGTERM or Ctrl-C. --json makes its log JSON."""
    log_to(as_json)
    options = http_options(
        host=host,
        port=port,
        public_url=public_url,
        hosts=allow_host,
        origins=allow_origin,
        auth=auth,
    )

    async def work() -> None:
        async with connected(target, modules, views_dir) as client:
            async with lag_of_view(client, target, views_dir) as figures:
                await served_until_signal(client, target, options, as_json, figures)

    asyncio.run(work())


@asynccontextmanager
async def lag_of_view(
    client: Client, target: Target, views_dir: Path | None
) -> AsyncIterator[Mapping[str, Any]]:
    """Yield ``view_behind``, which is looked at every few seconds; None: it is not known.

    Nothing where no view on Kafka is asked.
    """
    from processor.assembly import embedded_path, is_http

    server = target.server
    if views_dir is None or embedded_path(server) is not None or is_http(server):
        yield {}
        return
    from confluent_kafka import KafkaException

    from processor.kafka.clients.connection import KafkaSettings
    from processor.kafka.view import FolderView

    view = FolderView(KafkaSettings(target.server, target.namespace, target.kafka), views_dir)
    figures: dict[str, Any] = {"view_behind": None}

    async def look() -> None:
        while True:
            try:
                partitions = client._calls.gateway.partitions
                figures["view_behind"] = await asyncio.to_thread(view.behind, partitions)
            except (ProcessorError, KafkaException, sqlite3.Error, TimeoutError):
                figures["view_behind"] = None
            await asyncio.sleep(LAG_EVERY_S)

    looking = asyncio.create_task(look())
    try:
        yield figures
    finally:
        looking.cancel()


async def served_until_signal(
    client: Client,
    target: Target,
    options: HttpOptions,
    as_json: bool,
    figures: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Serve over a client of the target, and say where. ``figures`` are told by /health/ready."""
    from processor.api.running import served

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with served(client, target.namespace, options, figures=figures) as server:
        if as_json:
            write_json({"url": server.url, "namespace": target.namespace})
        else:
            say(f"namespace {target.namespace!r} is at {server.url}/api/v1/namespaces/", "bold")
        await stopped.wait()


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel="Serve")(serve)
