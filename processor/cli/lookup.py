"""``processor views serve`` and ``processor views lookup``: what a workflow id is at, over HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from http.client import HTTPException
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import typer

from processor.cli.commands.worker import Shutdown, log_to
from processor.cli.commands.worker import serve as serve_until_signal
from processor.cli.options import (
    VIEWS_DIR,
    Json,
    Target,
    ViewsDir,
    WorkflowId,
    target_options,
)
from processor.cli.output import say, write_json
from processor.errors import InvalidArgument, ProcessorError, RequestError
from processor.remote.token import TOKEN, token_headers
from processor.remote.urls import url_part

__all__ = ("LIBRARIES", "lookup", "serve")

LIBRARIES: Final = ("faust", "mode", "aiokafka", "processor.views.stream")
"""Loggers that tell each step of theirs."""

WEB_DEFAULT: Final = "127.0.0.1:6066"
_ANSWER_S: Final = 15.0
_ANSWER_BYTES_MAX: Final = 1_000_000

Web = Annotated[
    str,
    typer.Option(
        "--web",
        metavar="HOST:PORT",
        help="Where it listens and others reach it; beyond this machine, it takes --auth.",
    ),
]
Standbys = Annotated[
    int,
    typer.Option(min=0, max=10, help="How many other processes keep a copy of each partition."),
]
Auth = Annotated[
    Path | None,
    typer.Option(
        "--auth",
        metavar="FILE",
        envvar="PROCESSOR_AUTH",
        dir_okay=False,
        help="Whose tokens may look up, as for `processor serve` (docs/http-api.md).",
    ),
]
Url = Annotated[
    str,
    typer.Option(
        "--url",
        metavar="URL",
        envvar="PROCESSOR_LOOKUP",
        help="Any process of `processor views serve`; PROCESSOR_TOKEN has the token.",
    ),
]


@target_options()
def serve(
    target: Target,
    views_dir: ViewsDir = VIEWS_DIR,
    web: Web = WEB_DEFAULT,
    standbys: Standbys = 1,
    auth: Auth = None,
    shutdown: Shutdown = 30.0,
    as_json: Json = False,
) -> None:
    """Keep a table of the latest run of each workflow id, and answer GET /instances/{id}, GET /lag.

    Several processes share the partitions, each with a --web and a --views-dir of its own; any of
    them answers for all. Its topic is made by `processor topics apply --lookup`.
    """
    from processor.kafka.clients.connection import KafkaSettings
    from processor.views.stream.lookup.app import WebAddress
    from processor.views.stream.lookup.running import Lookup

    host, port = address(web)
    admits = admitted(auth, target.namespace) if auth is not None else None
    if admits is None and not is_local(host):
        raise typer.BadParameter(
            f"--web {web} is reached from other machines, and anybody there could see which "
            "workflows there are: name a file of tokens (--auth; docs/http-api.md shows one), or "
            "listen on 127.0.0.1"
        )
    log_to(as_json)
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    connection = KafkaSettings(target.server, target.namespace, target.kafka)

    async def work() -> None:
        served = Lookup(connection, views_dir, WebAddress(host, port), standbys, admits)
        await serve_until_signal(served, shutdown)

    asyncio.run(work())


def lookup(id: WorkflowId, url: Url = f"http://{WEB_DEFAULT}", as_json: Json = False) -> None:
    """Show the latest run of a workflow id, as `processor views serve` knows it."""
    found = asked(url, f"/instances/{url_part(id)}")
    if as_json:
        write_json(found)
        return
    ended = f", closed {found['closed']}" if found["closed"] else ""
    say(f"{found['workflow_id']} ({found['workflow']}): {found['status']}")
    say(f"run {found['run_id']}, started {found['started']}{ended}")
    if found["problem"]:
        say(found["problem"], "yellow")
    say(f"{found['lag']:,} records behind the log, says {found['answered_by']}")


def address(web: str) -> tuple[str, int]:
    """Return host and port. What other processes cannot reach is wrong usage."""
    parts = urlsplit(f"//{web}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port or parts.path or parts.username is not None:
        raise typer.BadParameter(f"--web: give HOST:PORT, such as {WEB_DEFAULT}, not {web!r}")
    try:
        everywhere = ip_address(host).is_unspecified
    except ValueError:
        everywhere = False
    if everywhere:
        raise typer.BadParameter(
            f"--web {web}: give the one address by which the other processes reach this one"
        )
    return host, port


def is_local(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def admitted(path: Path, namespace: str) -> Callable[[str | None], bool]:
    """Return what says whether an Authorization header has a token of who may look."""
    from processor.api.auth.config import hash_of, permissions_of, read_auth

    try:
        found = read_auth(path)
    except InvalidArgument as error:
        raise typer.BadParameter(str(error)) from error
    if found.jwt is not None or found.proxy is not None or not found.tokens:
        raise typer.BadParameter(
            f"{path}: the look-up knows [[tokens]] only, and neither [jwt] nor [proxy]: give it a "
            "file of its own"
        )
    viewers = (each for each in found.tokens if "view" in permissions_of(each.roles, namespace))
    known = frozenset(each.sha256 for each in viewers)

    def admits(header: str | None) -> bool:
        scheme, _, token = (header or "").partition(" ")
        return scheme.lower() == "bearer" and hash_of(token.strip()) in known

    return admits


def asked(url: str, path: str) -> dict[str, Any]:
    """Return what a process of the look-up answers. Raises ``RequestError``."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise typer.BadParameter(f"--url: give a URL such as http://{WEB_DEFAULT}, not {url!r}")
    headers = dict(token_headers())
    opener = build_opener(ProxyHandler({}))
    try:
        asks = Request(url.rstrip("/") + path, headers=headers)
        with opener.open(asks, timeout=_ANSWER_S) as answer:
            found: dict[str, Any] = json.loads(answer.read(_ANSWER_BYTES_MAX))
            return found
    except HTTPError as error:
        with error:
            raise RequestError(_detail(error)) from error
    except (URLError, OSError, HTTPException, ValueError) as error:
        raise ProcessorError(
            f"{url} does not answer ({error}): does `processor views serve` run there? It listens "
            "at its --web"
        ) from error


def _detail(error: HTTPError) -> str:
    try:
        text = str(json.loads(error.read(_ANSWER_BYTES_MAX))["detail"])
    except (ValueError, LookupError, TypeError, OSError):
        text = f"HTTP {error.code}: {error.url} is no look-up of processor's"
    if error.code == 401:
        text += f". The environment's {TOKEN} is the token that is sent"
    return text
