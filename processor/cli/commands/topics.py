"""The commands ``topics``: what they must be, making them so, and what is unsafe about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from processor import checks
from processor.cli.commands import dead_letters
from processor.cli.faults import FAILED
from processor.cli.options import Json, Target, target_options
from processor.cli.output import STATUS_STYLES, on_terminal, say, write_json
from processor.errors import InvalidArgument

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

    from processor.kafka.topics.upkeep import Change, Finding

__all__ = ("register",)

PARTITIONS_DEFAULT = 8
REPLICATION_MAX = 3

Partitions = Annotated[
    int | None,
    typer.Option(
        min=1, help="Shards of the namespace; fixed once it is made. Else as it is, or 8."
    ),
]
Replication = Annotated[
    int | None,
    typer.Option(min=1, help="Copies of each new topic; else 3, or as many as there are brokers."),
]
Queue = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Activity queues; give it once for each. Else: default."),
]
Lookup = Annotated[
    bool, typer.Option("--lookup", help="Also the changelog of `processor views serve`.")
]
RepliesTopics = Annotated[
    list[str] | None,
    typer.Option(
        "--replies",
        metavar="NAME",
        help="Topics of replies that clients name (Client(replies=...)); give it once for each.",
    ),
]

group = typer.Typer(
    help="Plan, make and check the topics of a namespace, and their dead letters.",
    no_args_is_help=True,
)
group.add_typer(dead_letters.group, name="dead-letters")


@group.command()
@target_options()
def plan(
    target: Target,
    partitions: Partitions = None,
    replication: Replication = None,
    queue: Queue = None,
    lookup: Lookup = False,
    replies: RepliesTopics = None,
    as_json: Json = False,
) -> None:
    """Show what `apply` would change; exit 1 if something is wrong that it cannot change."""
    from processor.kafka.topics.upkeep import PartitionMismatch

    changes = planned(target, partitions, replication, queue, lookup, replies)[1]
    show_changes(changes, as_json)
    if any(isinstance(change, PartitionMismatch) for change in changes):
        raise typer.Exit(FAILED)


@group.command()
@target_options()
def apply(
    target: Target,
    partitions: Partitions = None,
    replication: Replication = None,
    queue: Queue = None,
    lookup: Lookup = False,
    replies: RepliesTopics = None,
    as_json: Json = False,
) -> None:
    """Make missing topics and correct settings; no partition count is ever changed."""
    from processor.kafka.topics import upkeep as topics

    admin, changes = planned(target, partitions, replication, queue, lookup, replies)
    with waiting(f"changing {len(changes)} topics", as_json):
        topics.apply(admin, changes)
    show_changes(changes, as_json)
    if not as_json and changes:
        say("done", "green")


@group.command()
@target_options()
def check(
    target: Target,
    queue: Queue = None,
    lookup: Lookup = False,
    replies: RepliesTopics = None,
    as_json: Json = False,
) -> None:
    """Say what is missing, wrong or unsafe, and what helps; exit 1 on errors."""
    from processor.kafka.topics import upkeep as topics

    optional = optional_topics(target.namespace, lookup, replies)
    wanted = queue or topics.DEFAULT_QUEUES, optional
    with waiting(f"asking {target.server}", as_json):
        admin = topics.connect(target.server, target.kafka)
        findings = topics.check(admin, target.namespace, *wanted)
    show_findings(findings, as_json)
    if not as_json and not findings:
        say(f"the topics of {target.namespace} are as they should be", "green")
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(FAILED)


def planned(
    target: Target,
    partitions: int | None = None,
    replication: int | None = None,
    queues: Sequence[str] | None = None,
    lookup: bool = False,
    replies: Sequence[str] | None = None,
) -> tuple[AdminClient, list[Change]]:
    """Return the changes, with what was left out filled in from the brokers."""
    from processor.kafka.topics import upkeep as topics

    optional = optional_topics(target.namespace, lookup, replies)
    admin = topics.connect(target.server, target.kafka)
    if partitions is None:
        events = topics.topic_name(target.namespace, "events")
        state = topics.read_topics(admin, (events,)).get(events)
        partitions = PARTITIONS_DEFAULT if state is None else state.partitions
    brokers = len(admin.list_topics(timeout=topics.REQUEST_TIMEOUT_S).brokers)
    if replication is not None and replication > brokers:
        raise typer.BadParameter(
            f"--replication {replication} needs as many brokers, and there are {brokers} at "
            f"{target.server}: use --replication {brokers}, or add brokers"
        )
    replication = replication or min(REPLICATION_MAX, brokers)
    wanted = queues or topics.DEFAULT_QUEUES, optional
    return admin, topics.plan(admin, target.namespace, partitions, replication, *wanted)


def optional_topics(namespace: str, lookup: bool, replies: Sequence[str] | None) -> tuple[str, ...]:
    """Return the optional topics that are asked for; refuse what cannot end the name of one."""
    try:
        named = [checks.replies(each, "--replies", namespace) for each in replies or ()]
    except InvalidArgument as error:
        raise typer.BadParameter(str(error)) from error
    return (*(("lookup",) if lookup else ()), *(f"replies.{each}" for each in named))


def show_changes(changes: Sequence[Change], as_json: bool) -> None:
    """Print each change on a line."""
    from processor.kafka.topics.upkeep import AlterTopic, CreateTopic

    for change in changes:
        if as_json:
            action = {CreateTopic: "create", AlterTopic: "alter"}.get(type(change), "impossible")
            write_json({"action": action, **asdict(change)})
        else:
            say(str(change))
    if not changes and not as_json:
        say("nothing to change", "green")


def show_findings(findings: Sequence[Finding], as_json: bool) -> None:
    """Print each finding; for people, topics with the same problem share one."""
    if as_json:
        for finding in findings:
            write_json(asdict(finding))
        return
    shared: dict[tuple[str, str, str], list[str]] = {}
    for each in findings:
        shared.setdefault((each.severity, each.problem, each.remedy), []).append(each.topic)
    for (severity, problem, remedy), names in shared.items():
        say(f"{severity}: {', '.join(names)}: {problem}. {remedy}", STATUS_STYLES[severity])


@contextmanager
def waiting(what: str, quiet: bool) -> Iterator[None]:
    """Show on a terminal that something takes its time."""
    if quiet or not on_terminal():
        yield
        return
    from rich.console import Console

    with Console().status(what):
        yield


def register(app: typer.Typer) -> None:
    """Add the group of this module."""
    app.add_typer(group, name="topics", rich_help_panel="Operate")
