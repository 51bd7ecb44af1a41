"""The options that commands share: where the server is, which namespace, how to print."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

__all__ = (
    "SERVER_DEFAULT",
    "EmbeddedModules",
    "Json",
    "Modules",
    "Namespace",
    "RunId",
    "Server",
    "StateDir",
    "WorkflowId",
)

SERVER_DEFAULT = "localhost:9092"


def checked_server(server: str) -> str:
    """Refuse what can be neither bootstrap servers nor an embedded path."""
    if server == "embedded:" or not server.strip():
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
    return namespace


Server = Annotated[
    str,
    typer.Option(
        "--server",
        "-s",
        envvar="PROCESSOR_SERVER",
        callback=checked_server,
        help="Kafka's bootstrap servers, or embedded:PATH for the runtime without a broker.",
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
WorkflowId = Annotated[str, typer.Argument(metavar="ID", help="The workflow id.")]
RunId = Annotated[
    str | None, typer.Option("--run-id", help="One run of the workflow id; else the latest one.")
]
StateDir = Annotated[
    Path,
    typer.Option(
        "--state-dir", envvar="PROCESSOR_STATE_DIR", help="Where the shards' tables are kept."
    ),
]
