"""The options that commands share: where the server is, which namespace, how to print."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from processor import checks
from processor.errors import InvalidArgument

__all__ = (
    "SERVER_DEFAULT",
    "TIME_FORMATS",
    "VIEWS_DIR",
    "AskedView",
    "EmbeddedModules",
    "Interceptors",
    "Json",
    "KafkaConfig",
    "Key",
    "Modules",
    "Namespace",
    "Payloads",
    "RunId",
    "Server",
    "StateDir",
    "Target",
    "ViewsDir",
    "WorkflowId",
    "checked",
    "loaded",
    "named",
    "target_options",
)

SERVER_DEFAULT = "localhost:9092"


def checked_server(server: str | None) -> str | None:
    """Refuse what can be neither bootstrap servers nor an embedded path."""
    if server is not None and (server == "embedded:" or not server.strip()):
        raise typer.BadParameter(
            "name Kafka's bootstrap servers (localhost:9092), or embedded:PATH (embedded:./state)"
        )
    return server


def checked_namespace(namespace: str) -> str:
    """Refuse what cannot begin a topic's name."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", namespace):
        raise typer.BadParameter(
            f"{namespace!r} cannot begin the name of a topic: use letters, digits, '.', '_' and '-'"
        )
    try:
        checks.namespace(namespace, "its name")
    except InvalidArgument as error:
        raise typer.BadParameter(str(error)) from error
    return namespace


def checked(check: Callable[[Any, str], object]) -> Callable[[Any], Any]:
    """Return what refuses a value, where there is one, that ``check`` refuses in a call."""

    def refuse_wrong(value: Any) -> Any:
        if value is not None:
            try:
                check(value, "")
            except InvalidArgument as error:
                raise typer.BadParameter(str(error).removeprefix(": ")) from error
        return value

    return refuse_wrong


def named(metavar: str, help: str) -> Any:
    """Return an argument of a command that has to be a name."""
    return typer.Argument(metavar=metavar, callback=checked(checks.name), help=help)


def server_option(default: str) -> Any:
    return typer.Option(
        "--server",
        "-s",
        envvar="PROCESSOR_SERVER",
        callback=checked_server,
        show_default=f"as --kafka-config says, or {default}",
        help="Kafka's bootstrap servers; embedded:PATH for the runtime without a broker; or for "
        "clients the URL of an HTTP API.",
    )


Server = Annotated[str | None, server_option(SERVER_DEFAULT)]
KafkaConfig = Annotated[
    Path | None,
    typer.Option(
        "--kafka-config",
        metavar="FILE",
        envvar="PROCESSOR_KAFKA_CONFIG",
        dir_okay=False,
        help="Properties of librdkafka for all Kafka clients (TLS, passwords): name=value lines.",
    ),
]
Namespace = Annotated[
    str,
    typer.Option(
        "--namespace",
        "-n",
        envvar="PROCESSOR_NAMESPACE",
        callback=checked_namespace,
        help="The set of topics to use.",
    ),
]
Payloads = Annotated[
    str | None,
    typer.Option(
        "--payloads",
        metavar="MODULE:OBJECT",
        envvar="PROCESSOR_PAYLOADS",
        help="Codecs that values go through, as for Client(payloads=...).",
    ),
]
Interceptors = Annotated[
    str | None,
    typer.Option(
        "--interceptors",
        metavar="MODULE:OBJECT",
        envvar="PROCESSOR_INTERCEPTORS",
        help="What is put around calls, as for Client(interceptors=...).",
    ),
]
Replies = Annotated[
    str | None,
    typer.Option(
        "--replies",
        metavar="NAME",
        envvar="PROCESSOR_REPLIES",
        help="On Kafka: the topic of replies to read, as for Client(replies=...).",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON: one document, or one a line for lists.")
]
EmbeddedModules = Annotated[
    list[str] | None,
    typer.Option(
        "--module",
        "-m",
        metavar="MODULE",
        help="With embedded:PATH: run a worker with this code inside, for the time of the command.",
    ),
]
Modules = Annotated[
    list[str],
    typer.Argument(metavar="MODULE", help="Python modules that define workflows and activities."),
]
WorkflowId = Annotated[
    str,
    typer.Argument(metavar="ID", callback=checked(checks.workflow_id), help="The workflow id."),
]
RunId = Annotated[
    str | None,
    typer.Option(
        "--run-id",
        callback=checked(checks.name),
        help="One run of the workflow id; else the latest one.",
    ),
]
VIEWS_DIR = Path("processor-views")
ViewsDir = Annotated[
    Path,
    typer.Option(
        "--views-dir",
        envvar="PROCESSOR_VIEWS_DIR",
        help="Where it is kept: files that may be deleted, and are made anew.",
    ),
]
AskedView = Annotated[
    Path | None,
    typer.Option(
        "--views-dir",
        envvar="PROCESSOR_VIEWS_DIR",
        help="On Kafka: the folder in which `processor views run` keeps the view that is asked.",
    ),
]
StateDir = Annotated[
    Path,
    typer.Option(
        "--state-dir", envvar="PROCESSOR_STATE_DIR", help="Where the shards' tables are kept."
    ),
]


@dataclass(frozen=True)
class Target:
    """What a command speaks to: the arguments that ``Client`` and ``Worker`` have in common."""

    server: str
    namespace: str = "default"
    kafka: Mapping[str, str] = field(default_factory=dict, repr=False)
    payloads: Any = None
    interceptors: Any = None
    replies: str | None = None
    """For clients alone."""

    @property
    def how(self) -> dict[str, Any]:
        """What ``Client`` and ``Worker`` are given beside the server."""
        other = ("server", "replies")
        return {name: value for name, value in vars(self).items() if name not in other}

    @classmethod
    def given(
        cls, server: str | None, namespace: str, config: Path | None, default: str = SERVER_DEFAULT
    ) -> Target:
        """Return what these options say; ``default`` is the server where none is named."""
        kafka = {} if config is None else properties_in(config)
        named = kafka.pop("bootstrap.servers", default)
        return cls(server or named, namespace, kafka)


TIME_FORMATS: Final = ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"]
"""How people write a time: with its zone."""

Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        callback=checked(checks.name),
        help="An idempotency key: what is sent again with it counts once.",
    ),
]


def target_options(
    default: str = SERVER_DEFAULT, *, injects: bool = False, asks: bool | None = None
) -> Callable[[Callable[..., None]], Any]:
    """Give a command --server, --namespace and --kafka-config in place of its ``target``.

    One that has a client or a worker (``injects``) takes --payloads and --interceptors as well,
    one that has a client (``asks``; default: as ``injects``) --replies.
    """
    asks = injects if asks is None else asks
    options = [
        ("server", Annotated[str | None, server_option(default)], None),
        ("namespace", Namespace, "default"),
        ("kafka_config", KafkaConfig, None),
    ]
    if injects:
        options += [("payloads", Payloads, None), ("interceptors", Interceptors, None)]
    if asks:
        options.append(("replies", Replies, None))
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=option)
        for name, option, value in options
    ]

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def with_target(
            server: str | None, namespace: str, kafka_config: Path | None, **others: Any
        ) -> None:
            target = Target.given(server, namespace, kafka_config, default)
            if injects:
                names = ("payloads", "interceptors")
                target = replace(target, **{name: loaded(others.pop(name)) for name in names})
            if asks:
                target = replace(target, replies=others.pop("replies"))
            command(target=target, **others)

        signature = inspect.signature(command, eval_str=True)
        own = [each for each in signature.parameters.values() if each.name != "target"]
        taken = signature.replace(parameters=[*own, *shared])
        with_target.__signature__ = taken  # type: ignore[attr-defined]  # what Typer reads
        return with_target

    return with_options


def loaded(place: str | None) -> Any:
    """Return what stands at MODULE:OBJECT."""
    if place is None:
        return None
    from processor.cli.modules import load_object

    return load_object(place)


def properties_in(path: Path) -> dict[str, str]:
    """Return the properties in a file: a line is name=value, a comment (#), or empty."""
    properties = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"--kafka-config {path} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        name, equals, value = (part.strip() for part in line.partition("="))
        if not name or name.startswith("#"):
            continue
        if not equals:
            raise typer.BadParameter(
                f"--kafka-config {path}, line {number} is no property (it is not shown: it may hold"
                " a password). A line is name=value, as in: security.protocol=SASL_SSL"
            )
        properties[name] = value
    return properties
