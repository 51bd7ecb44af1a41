"""The command ``upgrade``: raises the level of the log's format, once all processes know it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from processor.cli.faults import REFUSED
from processor.cli.options import Json, Target, target_options
from processor.cli.output import say, say_error, write_json
from processor.readable import readable

if TYPE_CHECKING:
    from processor.kafka.group.upgrade import Process

__all__ = ("register",)

CONFIRM_S = 30.0

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Raise the level also where processes do not know it, or do not say. Those leave; "
        "activity workers among them put what they cannot read into dead-letters.",
    ),
]


@target_options()
def upgrade(
    target: Target, dry_run: DryRun = False, force: Force = False, as_json: Json = False
) -> None:
    """Raise a namespace to the log format of this release; until then, all may go back.

    Each release knows the levels of the log's format up to its own. A namespace stays at its level
    while processes are replaced one by one, and records of the next one are written only after this
    command. It looks first whether all processes know it. There is no way back.
    """
    from processor.assembly import embedded_path

    path = embedded_path(target.server)
    if path is None:
        report = on_kafka(target, dry_run, force)
    else:
        report = embedded(path, dry_run)
    if as_json:
        write_json(report)
    elif not report["refused"]:
        show(report)
    if report["refused"]:
        if not as_json:
            say_error(report["refused"], lines=True)
        raise typer.Exit(REFUSED)


def on_kafka(target: Target, dry_run: bool, force: bool) -> dict[str, Any]:
    """Look at everybody, append the claims, and wait until the owners go on under them."""
    from processor.codec.records import LEVEL
    from processor.config import Settings
    from processor.kafka.clients.connection import KafkaSettings
    from processor.kafka.group.upgrade import NamespaceLevel
    from processor.kafka.topics.upkeep import connect

    connection = KafkaSettings(target.server, target.namespace, dict(target.kafka))
    admin = connect(target.server, target.kafka)
    namespace = NamespaceLevel(connection, admin, Settings())
    try:
        levels = namespace.levels()
        behind = [partition for partition, level in enumerate(levels) if level < LEVEL]
        processes, hidden = namespace.processes(), namespace.share_groups()
        report = reported(target.namespace, levels, LEVEL, dry_run)
        report["processes"] = [asdict(each) for each in processes]
        if not behind:
            return report
        if not force:
            report["refused"] = objection(target.namespace, min(levels), LEVEL, processes, hidden)
        if dry_run or report["refused"]:
            return report
        namespace.raise_to(LEVEL, behind)
        report["raised"] = behind
        owners = [each for each in processes if each.group == connection.shards_group]
        if any(each.level is None or each.level >= LEVEL for each in owners):
            report["silent"] = asyncio.run(namespace.confirmed(LEVEL, CONFIRM_S))
        return report
    finally:
        namespace.close()


def embedded(path: Path, dry_run: bool) -> dict[str, Any]:
    """Append the claim; the folder must be no other process's."""
    from processor.codec.records import LEVEL
    from processor.embedded.disk import DiskLog, open_disk
    from processor.shard.recovery.survey import level_of_log, raises

    if not (path / "log").exists():
        raise typer.BadParameter(f"there is no embedded state in {path}")
    disk = open_disk(path / "log", sync=True)
    try:
        log = DiskLog(disk)
        level = level_of_log(0, log)
        report = reported(str(path), [level], LEVEL, dry_run)
        if level < LEVEL and not dry_run:
            log.append(*raises(secrets.token_hex(8), LEVEL, int(time() * 1000)))
            disk.commit()
            report["raised"] = [0]
        return report
    finally:
        disk.close()


def reported(namespace: str, levels: Sequence[int], known: int, dry_run: bool) -> dict[str, Any]:
    """Return what is found; the rest is filled in as it is done."""
    return {
        "namespace": namespace,
        "levels": list(levels),
        "known": known,
        "dry_run": dry_run,
        "processes": [],
        "raised": [],
        "silent": [],
        "refused": "",
    }


def objection(
    namespace: str, level: int, known: int, processes: Sequence[Process], hidden: Sequence[str]
) -> str:
    """Return why the level must not be raised now; "" where nothing speaks against it."""
    old = [each for each in processes if each.level is None or each.level < known]
    lines = [
        f"  {readable(each.member)} on {readable(each.host)}, in group {readable(each.group)}: "
        + ("its client.id does not say" if each.level is None else f"level {each.level}")
        for each in old
    ]
    if old:
        return "\n".join(
            (
                f"namespace {namespace!r} stays at level {level}: {len(old)} of {len(processes)} "
                f"members of its groups do not know level {known}:",
                *lines,
                "Start them with this release, then run `processor upgrade` again. If they are "
                "gone for good, or their client.id is your own: --force",
            )
        )
    if hidden:
        return (
            f"namespace {namespace!r} stays at level {level}: Kafka does not tell who takes "
            f"activities from share groups ({', '.join(hidden)}). Make sure that all of them have "
            "this release, then use --force"
        )
    return ""


def show(report: dict[str, Any]) -> None:
    """Print a report for people."""
    name, known, raised = report["namespace"], report["known"], report["raised"]
    if min(report["levels"]) >= known:
        level = max(report["levels"])
        text = f"nothing to do: {name} is at level {level}, and this release knows level {known}"
        say(text, "green")
    elif report["dry_run"]:
        count = sum(level < known for level in report["levels"])
        say(f"{name}: {shards(count)} would be raised to level {known}")
    else:
        say(f"{name}: {shards(len(raised))} raised to level {known}", "green")
    if report["silent"]:
        silent = ", ".join(map(str, report["silent"]))
        say(
            f"shards {silent}: their owners have not answered within {CONFIRM_S:g} s. They go on "
            f"at level {known} with their next record",
            "yellow",
        )


def shards(count: int) -> str:
    """Return a number of shards in words."""
    return f"{count} shard" if count == 1 else f"{count} shards"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Operate")(upgrade)
