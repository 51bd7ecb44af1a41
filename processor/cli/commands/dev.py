"""The command ``dev``: everything in one process, without a broker or with a real one."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from processor.api.options import PORT, is_installed
from processor.cli.options import (
    SERVER_DEFAULT,
    Interceptors,
    Json,
    Namespace,
    Payloads,
    Target,
    loaded,
)
from processor.cli.output import say
from processor.cli.serving import Origins, http_options
from processor.tuning import tune_process

if TYPE_CHECKING:
    from processor.api import HttpOptions
    from processor.cli.modules import UserCode
    from processor.dev.local_broker import LocalBroker
    from processor.worker import Worker

__all__ = ("register",)

_log = logging.getLogger("processor.cli")

PORT_USUAL = 9092
LOOK_EVERY_S = 1.0
WITHOUT_BROKER_S = 20.0
"""How long a worker may take to end without its broker."""
EXAMPLE = "examples.orders"
ORDER = '\'{"id": "A-1", "amount": 5000}\''

DevModules = Annotated[
    list[str] | None,
    typer.Argument(metavar="MODULE", help=f"Modules with the code to run; else {EXAMPLE}."),
]
Kafka = Annotated[
    bool, typer.Option("--kafka", help="Start a real Kafka on this machine (needs Java and Maven).")
]
HttpPort = Annotated[
    int | None,
    typer.Option(
        "--port",
        min=0,
        max=65_535,
        help="The port of the HTTP API; 0 takes a free one.",
        show_default=f"{PORT} if that is free",
    ),
]
State = Annotated[
    Path, typer.Option("--state", "--state-dir", help="Where everything is kept between starts.")
]


def dev(
    modules: DevModules = None,
    kafka: Kafka = False,
    state: State = Path("processor-state/dev"),
    port: HttpPort = None,
    allow_origin: Origins = None,
    namespace: Namespace = "default",
    payloads: Payloads = None,
    interceptors: Interceptors = None,
    as_json: Json = False,
) -> None:
    """Run everything in one process: without a broker, or with --kafka on a real one.

    What it has done is there again at the next start. --json makes its log JSON.
    """
    from processor.cli.commands.worker import log_to, new_worker, serve, watch_c_code
    from processor.cli.modules import load_code
    from processor.config import Settings

    tune_process()
    code = load_code(modules or [EXAMPLE])
    log_to(as_json)
    watch_c_code()
    shutdown_s = Settings().shutdown_s
    injected = {"payloads": loaded(payloads), "interceptors": loaded(interceptors)}
    injected["http"] = api_at(port, allow_origin)
    if not kafka:
        worker = new_worker(code, Target(f"embedded:{state}", namespace), **injected)
        tell_embedded(state, modules or [EXAMPLE], code, as_json)
        asyncio.run(serve(worker, shutdown_s))
        return
    with broker(state, namespace, as_json) as (local, target):
        name = f"{socket.gethostname()}-dev"  # others keep their state elsewhere, as the host
        worker = new_worker(code, target, state_dir=state / "worker", instance_id=name, **injected)
        tell_kafka(target, code, as_json)
        asyncio.run(serve_beside(local, worker, shutdown_s))


def api_at(port: int | None, origins: list[str] | None) -> HttpOptions | None:
    """Return the options of the HTTP API; None where what it needs is not installed."""
    if not is_installed():
        _log.warning("there is no HTTP API: pip install '.[http]' in processor's repository")
        return None
    if port is None:
        port = PORT if port_is_free(PORT) else 0
    return http_options(port=port, origins=origins)


@contextmanager
def broker(state: Path, namespace: str, quiet: bool) -> Iterator[tuple[LocalBroker, Target]]:
    """Run a broker with the topics of the namespace, on the usual port if that is free."""
    from processor.cli.commands.topics import planned, waiting
    from processor.dev.local_broker import LocalBroker
    from processor.kafka.topics import upkeep as topics
    from processor.store.folder import take_folder

    take_folder(state)
    port = PORT_USUAL if port_is_free(PORT_USUAL) else None
    local = LocalBroker((state / "kafka").resolve(), port)
    with waiting("starting Kafka", quiet):
        local.start()
    try:
        target = Target(local.bootstrap_servers, namespace)
        with waiting("making topics", quiet):
            topics.apply(*planned(target))
        yield local, target
    finally:
        local.stop()


async def serve_beside(local: LocalBroker, running: Worker, shutdown_s: float) -> None:
    """Serve until a signal comes; raise ``BrokerUnavailable`` where the broker ends before."""
    from processor.cli.commands.worker import leave_after, serve
    from processor.dev.kafka_jars import BrokerUnavailable

    serving = asyncio.ensure_future(serve(running, shutdown_s))
    while local.is_running:
        if (await asyncio.wait((serving,), timeout=LOOK_EVERY_S))[0]:
            return await serving
    _log.error("the Kafka at %s has ended: stopping", local.bootstrap_servers)
    leave_after(WITHOUT_BROKER_S)
    serving.cancel()
    await asyncio.wait((serving,), timeout=WITHOUT_BROKER_S / 2)
    raise BrokerUnavailable(
        f"the Kafka at {local.bootstrap_servers} has ended, and not by this process. What it has "
        f"acknowledged is in its folder: start this command again. If it ends again, correct what "
        f"the end of {local.log_file} says:\n{local.log_tail()}"
    )


def port_is_free(port: int) -> bool:
    """Tell whether nobody listens on a port of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def tell_kafka(target: Target, code: UserCode, quiet: bool) -> None:
    """Print what can be done from another terminal."""
    if quiet:
        return
    server = target.server
    where = "" if server.endswith(f":{PORT_USUAL}") else f" --server {server}"
    where += "" if target.namespace == "default" else f" --namespace {target.namespace}"
    names = [workflow.name for workflow in code.workflows]
    say(f"A real Kafka runs at {server}. From another terminal:", "bold")
    if "order_processing" in names:
        say(f"  processor start order_processing {ORDER} --id order-A-1{where}")
        say(f"  processor event order-A-1 fraudReviewApproved true{where}")
        say(f"  processor history order-A-1{where}")
    else:
        say(f"  processor start {names[0] if names else 'WORKFLOW'} JSON... --id ID{where}")
        say(f"  processor result ID{where}")
    say(f"  processor list{where}")
    say(f"With {SERVER_DEFAULT} as the default server. Ctrl-C stops it; nothing is lost.", "dim")


def tell_embedded(state: Path, modules: Sequence[str], code: UserCode, quiet: bool) -> None:
    """Print what can be done, and what cannot, without a broker."""
    if quiet:
        return
    say(f"Everything runs in this process; its state is in {state}.", "bold")
    say(f"  processor tables scan runs --state-dir {state}    # look into it from elsewhere")
    name = code.workflows[0].name if code.workflows else "WORKFLOW"
    inside = " ".join(f"-m {module}" for module in modules)
    say("Other terminals and programs reach it by the URL that follows: --server URL. Without it:")
    say(f"  processor dev --kafka {' '.join(modules)}    # a real Kafka, which all can send to")
    say(f"  processor run {name} JSON... -s embedded:{state} {inside}    # after Ctrl-C here")
    say("Ctrl-C stops it; nothing is lost.", "dim")


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel="Try it")(dev)
