"""``processor connect``: read a topic into workflows and entities, and see how far that is."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from processor import checks
from processor.cli.commands.worker import Shutdown, log_to, serve
from processor.cli.options import Json, Target, checked, loaded, target_options
from processor.cli.output import say, show_table, write_json
from processor.errors import InvalidArgument
from processor.policy import CONFLICT_POLICIES, REUSE_POLICIES

if TYPE_CHECKING:
    from processor.connect import Connection

__all__ = ("register",)

_log = logging.getLogger("processor.cli")

Source = Annotated[
    str,
    typer.Argument(
        metavar="TOPIC", help="Topic to read; or MODULE:NAME, a function under @connect.define."
    ),
]
Starts = Annotated[
    str | None, typer.Option("--start", metavar="WORKFLOW", help="Start this for each record.")
]
Signals = Annotated[
    str | None,
    typer.Option("--signal", metavar="NAME", help="Signal a workflow by this name."),
]
Operation = Annotated[
    str | None,
    typer.Option("--entity", metavar="ENTITY.OPERATION", help="Ask an entity for this."),
]
FieldOfKey = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="FIELD",
        help="With --start: field with the workflow id; with --entity: with its key.",
    ),
]
FieldOfTarget = Annotated[
    str | None,
    typer.Option("--to", metavar="FIELD", help="With --signal: field with the workflow id."),
]
Correlated = Annotated[
    str | None,
    typer.Option(
        metavar="NAME=FIELD",
        help="With --signal: name of a business key, and the field that has it.",
    ),
]
Keep = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        callback=checked(checks.seconds),
        help="With --correlated: how long a signal waits for a run that holds the key.",
        show_default="a day",
    ),
]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--arg", metavar="FIELD", help="Field that is an argument; else the whole value is."
    ),
]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="FILTER",
        help='Only records with this: value.kind == "order"; value.paid. All of them have to hold.',
    ),
]
Reuse = Annotated[
    str | None,
    typer.Option(
        help=f"When the id has a closed run: {', '.join(REUSE_POLICIES)}.", show_default="allow"
    ),
]
Conflict = Annotated[
    str | None,
    typer.Option(
        help=f"When the id has an open run: {', '.join(CONFLICT_POLICIES)}.", show_default="fail"
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        callback=checked(checks.topic),
        help="Name of the processes that share the topic; another one reads all of it again.",
        show_default="the topic's name",
    ),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="earliest|latest",
        help="Where a new group begins.",
        show_default="earliest",
    ),
]
AvroFile = Annotated[
    Path | None,
    typer.Option("--avro", metavar="FILE", dir_okay=False, help="Schema of values in Avro."),
]
AvroHeader = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=100,
        help="Bytes before each value in Avro; Confluent's write 5.",
        show_default="0",
    ),
]
GroupName = Annotated[
    str,
    typer.Argument(metavar="GROUP", callback=checked(checks.topic), help="Topic, or its --group."),
]


class RunsByDefault(TyperGroup):
    """Takes what names no command as the arguments of the ``default`` one."""

    default = ("run",)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = args and (args[0] in self.commands or args[0] in ("--help", "-h"))
        parsed: list[str] = super().parse_args(
            ctx, args if named or not args else [*self.default, *args]
        )
        return parsed

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["TOPIC [OPTIONS]", "|", "COMMAND [ARGS]..."]


group = typer.Typer(
    cls=RunsByDefault,
    help="Read a Kafka topic: its records start workflows, signal them, and ask entities. "
    "The options beside TOPIC: processor connect run --help.",
    no_args_is_help=True,
)


@group.command("run")
@target_options(injects=True, asks=False)
def run(
    target: Target,
    source: Source,
    start: Starts = None,
    signal: Signals = None,
    entity: Operation = None,
    key: FieldOfKey = None,
    to: FieldOfTarget = None,
    correlated: Correlated = None,
    keep: Keep = None,
    arg: Fields = None,
    filter: Filters = None,
    reuse: Reuse = None,
    conflict: Conflict = None,
    group: Group = None,
    begin: From = None,
    avro: AvroFile = None,
    avro_header: AvroHeader = None,
    shutdown: Shutdown = 30.0,
    as_json: Json = False,
) -> None:
    """Read TOPIC, and start, signal or ask for what its records say, once each and in order.

    The word `run` may be left out. A FIELD is value.order.id, value.lines[0], key, headers.NAME,
    topic, partition, offset or timestamp. --json makes its log JSON.
    """
    from processor.config import Settings
    from processor.connect import Avro
    from processor.connect import Connection as Made
    from processor.worker import Worker

    log_to(as_json)
    how = {
        "--start": start,
        "--signal": signal,
        "--entity": entity,
        "--key": key,
        "--to": to,
        "--correlated": correlated,
        "--keep": keep,
        "--arg": arg,
        "--filter": filter,
        "--reuse": reuse,
        "--conflict": conflict,
        "--group": group,
        "--from": begin,
        "--avro": avro,
        "--avro-header": avro_header,
    }
    connection: Connection[Any]
    if ":" in source:
        connection = _in_code(source, [name for name, each in how.items() if each is not None])
    else:
        try:
            if correlated is None:
                if keep is not None:
                    raise InvalidArgument("--keep is for --correlated NAME=FIELD, and not alone")
                function = _declared(start, signal, entity, key, to, arg, filter, reuse, conflict)
            else:
                others = [start, entity, key, to, reuse, conflict]
                function = _correlated(signal, correlated, arg, filter, keep, others)
            if avro is None and avro_header is not None:
                raise InvalidArgument("--avro-header is for values in Avro: add --avro FILE")
            values = None if avro is None else Avro(avro, avro_header or 0)
            wanted: Any = "earliest" if begin is None else begin
            connection = Made(function, source, group, wanted, values)
        except InvalidArgument as error:
            raise typer.BadParameter(str(error)) from error
    _log.info("%s on %s: %s", target.namespace, target.server, connection)
    running = Worker(
        target.server,
        connections=[connection],
        shards=target.server.startswith("embedded:"),  # which says what is wrong with it
        queues=None if target.server.startswith("embedded:") else (),
        settings=replace(Settings(), shutdown_s=shutdown),
        **target.how,
    )
    asyncio.run(serve(running, shutdown))


@group.command()
@target_options()
def status(target: Target, group: GroupName, as_json: Json = False) -> None:
    """Show how far the connection of a group is: its position, and how many records are left."""
    from processor.kafka.clients.connection import KafkaSettings
    from processor.kafka.connecting.status import status_of

    found = status_of(KafkaSettings(target.server, target.namespace, target.kafka), group)
    if as_json:
        write_json(asdict(found))
        return
    lag = sum(each.lag for each in found.partitions)
    say(f"{group}: {found.processes} processes, {lag} records left")
    show_table(
        ("topic", "partition", "position", "end", "lag"),
        [
            (each.topic, *map(str, (each.partition, each.position, each.end, each.lag)))
            for each in found.partitions
        ],
    )


def _in_code(place: str, given: list[str]) -> Connection[Any]:
    """Return the connection that stands at MODULE:NAME."""
    from processor.connect import Connection as Made

    if given:
        raise typer.BadParameter(f"{place} says all of it in code: leave {', '.join(given)} out")
    found = loaded(place)
    if not isinstance(found, Made):
        raise typer.BadParameter(f"{place} is no connection: put @connect.define(topic) on it")
    return found


def _declared(
    start: str | None,
    signal: str | None,
    entity: str | None,
    key: str | None,
    to: str | None,
    arg: list[str] | None,
    filter: list[str] | None,
    reuse: Any,
    conflict: Any,
) -> Any:
    """Return the function that the options declare. Raises ``InvalidArgument``."""
    from processor.connect.declared import signals, signals_entity, starts

    said = [
        name
        for name, given in (("--start", start), ("--signal", signal), ("--entity", entity))
        if given
    ]
    if len(said) != 1:
        raise InvalidArgument(
            "say what a record does, by one of --start WORKFLOW, --signal NAME and --entity "
            f"ENTITY.OPERATION, not {' and '.join(said) or 'none'}; or name a function: MODULE:NAME"
        )
    needed, field, other = ("--to", to, key) if signal else ("--key", key, to)
    if not field or other:
        raise InvalidArgument(
            f"{said[0]} takes {needed} FIELD, which says where a record has the id: {needed} "
            f"value.id{' (and no --key)' if signal else ' (and no --to)'}"
        )
    rest = field, arg or (), filter or ()
    if start:
        how = {"reuse": reuse, "conflict": conflict}
        return starts(
            start, *rest, **{name: each for name, each in how.items() if each is not None}
        )
    if (reuse, conflict) != (None, None):
        raise InvalidArgument(f"--reuse and --conflict are for --start, and not for {said[0]}")
    return signals(signal, *rest) if signal else signals_entity(str(entity), *rest)


def _correlated(
    signal: str | None,
    correlated: str,
    arg: list[str] | None,
    filter: list[str] | None,
    keep: float | None,
    others: list[str | None],
) -> Any:
    """Return the function that signals holders of keys. Raises ``InvalidArgument``."""
    from processor.connect.declared import signals_correlated

    if signal is None or any(each is not None for each in others):
        raise InvalidArgument(
            "--correlated NAME=FIELD goes with --signal NAME, and with --arg, --filter and --keep: "
            "leave --start, --entity, --key, --to, --reuse and --conflict out"
        )
    return signals_correlated(signal, correlated, arg or (), filter or (), keep)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(group, name="connect", rich_help_panel="Serve")
