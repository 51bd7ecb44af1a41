"""The command ``worker``: one process, or a supervisor with several."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from processor.cli.options import Json, Modules, StateDir, Target, target_options
from processor.kafka.options import PARTITIONS, QUEUES, STATE_DIR
from processor.readable import readable
from processor.tuning import tune_process

if TYPE_CHECKING:
    from processor.cli.modules import UserCode
    from processor.worker import Worker

__all__ = ("log_to", "new_worker", "register", "serve", "watch_c_code")

_log = logging.getLogger("processor.cli")

SHUTDOWN_MARGIN_S = 3.0
LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

Processes = Annotated[
    int, typer.Option(min=1, help="Run so many processes, and start a dead one again.")
]
Queues = Annotated[str, typer.Option(metavar="A,B", help="Activity queues to serve.")]
Shards = Annotated[bool, typer.Option(help="Own shards; without, serve only activity queues.")]
ShareGroups = Annotated[
    bool,
    typer.Option("--share-groups", help="Read queues through Kafka's share groups (preview)."),
]
MaxActivities = Annotated[
    int, typer.Option(min=1, help="Activities that run at once, per process.")
]
CreateTopics = Annotated[
    bool, typer.Option("--create-topics", help="Make topics that are missing.")
]
Partitions = Annotated[
    int, typer.Option(min=1, help="Shards of the namespace, where topics are made.")
]
InstanceId = Annotated[
    str | None,
    typer.Option(
        envvar="PROCESSOR_INSTANCE_ID",
        help="Static member id: after a restart under the same one, the shards are back at once."
        " Else the first free one of the host's name, host-2, host-3 ...",
    ),
]
Shutdown = Annotated[
    float, typer.Option(min=0, metavar="SECONDS", help="How long a stop may take in all.")
]
Supervised = Annotated[bool, typer.Option("--supervised", hidden=True)]


@target_options(injects=True, asks=False)
def worker(
    target: Target,
    modules: Modules,
    processes: Processes = 1,
    queues: Queues = ",".join(QUEUES),
    shards: Shards = True,
    share_groups: ShareGroups = False,
    max_activities: MaxActivities = 1_000,
    state_dir: StateDir = STATE_DIR,
    create_topics: CreateTopics = False,
    partitions: Partitions = PARTITIONS,
    instance_id: InstanceId = None,
    shutdown: Shutdown = 30.0,
    supervised: Supervised = False,
    as_json: Json = False,
) -> None:
    """Run the workflows and activities of MODULE...

    SIGTERM or Ctrl-C stops it in order: it takes nothing new, and gives its shards away. A
    second one stops it at once; nothing that is in the log is lost. --json makes its log JSON.
    """
    from processor.cli.modules import load_code
    from processor.config import Settings

    log_to(as_json)
    server = target.server
    if processes > 1:
        raise typer.Exit(supervise(server, processes, instance_id, shutdown))
    if server.startswith("embedded:") and not shards:
        raise typer.BadParameter("embedded:PATH is one shard: --no-shards leaves it nothing to do")
    if supervised:
        stop_with_parent(shutdown)

    names = tuple(name.strip() for name in queues.split(",") if name.strip())
    if not names:
        raise typer.BadParameter("--queues: name one or more; without it, it is: default")
    code = load_code(modules)
    _log.info("%s on %s, queues %s: %s", target.namespace, server, queues, code)
    on_kafka: dict[str, Any] = {"queues": names, "partitions": partitions, "state_dir": state_dir}
    if server.startswith("embedded:"):
        usual = {"queues": QUEUES, "partitions": PARTITIONS, "state_dir": STATE_DIR}
        on_kafka = {name: value for name, value in on_kafka.items() if value != usual[name]}
    running = new_worker(
        code,
        target,
        **on_kafka,
        shards=shards,
        share_groups=share_groups,
        max_activities=max_activities,
        create_topics=create_topics,
        instance_id=instance_id,
        settings=replace(Settings(), shutdown_s=shutdown),
    )
    tune_process()
    watch_c_code()
    asyncio.run(serve(running, shutdown))


def watch_c_code() -> None:
    """Interrupt workflow code that is in C for too long, as far as that handles signals."""
    from processor.workflow._engine.watchdog import look_by_signal

    look_by_signal()


def new_worker(code: UserCode, target: Target, **how: Any) -> Worker:
    """Return a worker; what is wrong with the definitions is the user's to correct."""
    from processor.worker import Worker

    for text in code.left_out:
        _log.warning("%s", text)
    if target.server.startswith("embedded:"):
        for each in code.connections:
            _log.warning("%s is not read: %s has no topics", each, target.server)
        how["views"] = code.views
    else:
        for table in code.views:
            _log.info("table %s is fed by `processor views run --module MODULE`", table.name)
        how["connections"] = code.connections
    how = {**target.how, **how}
    try:
        return Worker(target.server, **code.given, **how)
    except (NameError, TypeError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error


class Served(Protocol):
    """What a process runs until a signal comes."""

    async def run(self) -> None: ...

    def stop(self) -> None: ...


async def serve(running: Served, shutdown_s: float) -> None:
    """Run something until a signal comes; never stay much longer than ``shutdown_s`` after it."""
    loop = asyncio.get_running_loop()
    signals: list[signal.Signals] = []

    def signalled(number: signal.Signals) -> None:
        signals.append(number)
        if len(signals) > 1:
            _log.warning("%s again: stopping at once", number.name)
            leave(128 + number)
        _log.info("%s: stopping within %.0f s", number.name, shutdown_s)
        leave_after(shutdown_s + SHUTDOWN_MARGIN_S)
        running.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled, number)
    await running.run()
    _log.info("stopped")


def supervise(server: str, processes: int, instance_id: str | None, shutdown_s: float) -> int:
    """Run ``processes`` children with the arguments of this process, each with a name of its own.

    Where no instance id is given, each child takes the first free name of the host by itself.
    """
    from processor.cli.supervisor import Supervisor

    if server.startswith("embedded:"):
        raise typer.BadParameter("embedded:PATH belongs to one process: leave --processes out")

    def command(slot: int) -> list[str]:
        named = [f"--instance-id={instance_id}-{slot}"] if instance_id else []
        own = ["--processes=1", *named, "--supervised"]
        return [sys.executable, "-m", "processor", *sys.argv[1:], *own]

    async def run() -> int:
        return await Supervisor(command, processes, shutdown_s=shutdown_s).run()

    return asyncio.run(run())


def stop_with_parent(shutdown_s: float) -> None:
    """Stop this process when its supervisor dies, which closes the pipe on stdin."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        leave_after(shutdown_s + SHUTDOWN_MARGIN_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="supervisor-watch", daemon=True).start()


def leave_after(delay_s: float) -> None:
    """End this process then, even if a thread of the user's does not end."""
    timer = threading.Timer(delay_s, leave, (1,))
    timer.daemon = True
    timer.start()


def leave(code: int) -> None:
    """End this process without waiting for any thread; what is in the log is safe."""
    logging.shutdown()
    os._exit(code)


class Lines(logging.Formatter):
    """Log lines for people: one record is one line, and what more it has is indented.

    So no text of others (an id, a reason, an error) looks like a record, or acts on the terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        return readable(super().format(record), lines=True).replace("\n", "\n    ")


class JsonLines(logging.Formatter):
    """One JSON document for each log record."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def log_to(as_json: bool, level: int = logging.INFO) -> None:
    """Log to stderr for people, or as JSON lines to stdout."""
    handler = logging.StreamHandler(sys.stdout if as_json else sys.stderr)
    handler.setFormatter(JsonLines() if as_json else Lines(LOG_FORMAT))
    logging.root.setLevel(level)
    logging.root.handlers = [handler]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel="Serve")(worker)
