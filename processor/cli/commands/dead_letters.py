"""The commands ``topics dead-letters``: what could not be used, and sending it again."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from processor.cli.commands.inspection import at
from processor.cli.faults import FAILED
from processor.cli.options import Json, Target, target_options
from processor.cli.output import cut, say, show_found, to_plain, write_json

if TYPE_CHECKING:
    from processor.kafka.topics.dead_letters import DeadLetters, Kept, LetterOutcome

__all__ = ("group",)

REASON_MAX = 160
KEY_MAX = 40

Topic = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Only letters whose record is for this topic (full name)."),
]

group = typer.Typer(
    help="List what could not be used, and send it again after a fix.", no_args_is_help=True
)


@group.command("list")
@target_options()
def list_letters(
    target: Target,
    topic: Topic = None,
    limit: Annotated[
        int, typer.Option(min=1, help="How many at the most, the oldest first.")
    ] = 100,
    as_json: Json = False,
) -> None:
    """List the dead letters: where each comes from, why, and whether it was replayed."""
    found: list[Kept] = []
    for kept in letters_of(target).read():
        if topic in (None, kept.topic):
            found.append(kept)
            if len(found) > limit:
                break
    if not found and not as_json:
        say("no dead letters", "green")
        return
    columns = ("offset", "time", "topic", "key", "bytes", "state", "reason")
    show_found(found, columns, row, as_json=as_json, limit=limit, document=fields)


@group.command()
@target_options()
def replay(
    target: Target,
    offsets: Annotated[
        list[int] | None,
        typer.Argument(metavar="OFFSET", help="Which letters, as shown by `list`."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that were not replayed.")] = False,
    topic: Topic = None,
    as_json: Json = False,
) -> None:
    """Send records again to the topics that they are for, each once; exit 1 if one is refused."""
    if bool(offsets) == everything:
        raise typer.BadParameter(
            "name the letters by their offsets (`processor topics dead-letters list`), or use --all"
        )
    refused, seen = False, set[int]()

    def is_wanted(kept: Kept) -> bool:
        if topic not in (None, kept.topic):
            return False
        return not (kept.replayed or kept.why_not) if everything else kept.offset in asked

    asked = set(offsets or ())
    for each in letters_of(target).replay(is_wanted):
        seen.add(each.offset)
        fine = each.outcome in ("replayed", "replayed before")
        refused = refused or not fine
        outcome = each.outcome + remedy(target, each)
        if as_json:
            write_json({"offset": each.offset, "topic": each.topic, "outcome": outcome})
        else:
            say(f"{each.offset}: {each.topic}: {outcome}", "green" if fine else "red")
    refused = say_missing(sorted(asked - seen), as_json) or refused
    if not seen and everything and not as_json:
        say("nothing to replay", "green")
    if refused:
        raise typer.Exit(FAILED)


def remedy(target: Target, outcome: LetterOutcome) -> str:
    """Return what to do about a topic that is missing."""
    if "UNKNOWN_TOPIC" not in outcome.outcome:
        return ""
    ours = outcome.topic.startswith(f"{target.namespace}.")
    queue = outcome.topic.removeprefix(f"{target.namespace}.activities.") if ours else ""
    apply = f"processor topics apply --namespace {target.namespace}"
    apply += "" if queue in ("", outcome.topic) else f" --queue {queue}"
    how = apply if ours else f"kafka-topics.sh --create --topic {outcome.topic}"
    return f". Make the topic ({how}), then replay the letter again"


def say_missing(offsets: Sequence[int], as_json: bool) -> bool:
    """Say which letters are not there; return whether there are such."""
    for offset in offsets:
        outcome = "there is no such letter, or not for this topic"
        if as_json:
            write_json({"offset": offset, "topic": None, "outcome": outcome})
        else:
            say(f"{offset}: {outcome}", "red")
    return bool(offsets)


def letters_of(target: Target) -> DeadLetters:
    """Return the letters of a namespace."""
    from processor.kafka.clients.connection import KafkaSettings
    from processor.kafka.topics.dead_letters import DeadLetters
    from processor.kafka.topics.upkeep import connect

    connect(target.server, target.kafka)  # says it where no broker answers
    return DeadLetters(KafkaSettings(target.server, target.namespace, dict(target.kafka)))


def state_of(kept: Kept) -> str:
    """Return a word for the state of a letter."""
    if kept.replayed:
        return "replayed"
    return "cannot be replayed" if kept.why_not else "waiting"


def fields(kept: Kept) -> dict[str, Any]:
    """Return a letter as JSON; ``value`` is readable, ``value_base64`` exact."""
    letter = kept.letter
    value = letter.value
    return {
        "offset": kept.offset,
        "time": datetime.fromtimestamp(kept.time_ms / 1000, UTC).isoformat(),
        "topic": kept.topic,
        "partition": letter.partition,
        "source_offset": letter.offset,
        "key": to_plain(letter.key),
        "value": to_plain(value),
        "value_base64": None if value is None else b64encode(value).decode(),
        "state": state_of(kept),
        "why_not": kept.why_not,
        "reason": letter.reason,
    }


def row(kept: Kept) -> tuple[str, ...]:
    """Return a letter for one line."""
    letter = kept.letter
    key = "" if letter.key is None else letter.key.decode(errors="replace")
    return (
        str(kept.offset),
        at(kept.time_ms),
        kept.topic,
        on_one_line(key, KEY_MAX),
        str(len(letter.value or b"")),
        state_of(kept),
        on_one_line(letter.reason, REASON_MAX),
    )


def on_one_line(text: str, limit: int) -> str:
    return cut(" ".join(text.split()), limit)
