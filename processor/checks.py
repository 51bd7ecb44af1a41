"""What users pass by hand: ids, names, texts and durations, checked where they enter.

Each function returns the checked value, or raises ``InvalidArgument``. ``what`` names the argument
in the message, for example ``"workflow.sleep: delay"``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from processor.errors import InvalidArgument

__all__ = (
    "DURATION_S_MAX",
    "ENTITY_MARK",
    "ID_BYTES_MAX",
    "KEY_IDS",
    "MESSAGE_BYTES_MAX",
    "NAME_BYTES_MAX",
    "NUMBER_MAX",
    "RECORD_BYTES_MAX",
    "RESERVED_IDS",
    "SCHEDULE_IDS",
    "TEXT_BYTES_MAX",
    "TIME_MS_MAX",
    "due_ms",
    "duration_ms",
    "id_for",
    "is_topic",
    "lasting_ms",
    "listed",
    "name",
    "new_workflow_id",
    "one_of",
    "queue",
    "replies",
    "seconds",
    "servers",
    "shown",
    "text",
    "time_ms",
    "topic",
    "whole",
    "why_reserved",
    "workflow_id",
    "yes_or_no",
)

ENTITY_MARK: Final = "@"
"""So begin the workflow ids of entities, and no others."""


class ReservedIds(NamedTuple):
    """Workflow ids that begin with ``prefix``: only runs of ``workflow`` have them.

    ``what`` they are ids of, and what to do ``instead`` of starting one. ``workflow`` is empty for
    entities: their runs have the name of the entity.
    """

    prefix: str
    workflow: str
    what: str
    instead: str


ENTITY_IDS: Final = ReservedIds(
    ENTITY_MARK, "", "entities", "call the entity (client.entity, workflow.call_entity)"
)
KEY_IDS: Final = ReservedIds(
    "correlation:",
    "processor.correlation",
    "business keys",
    "signal whoever holds the key (client.correlated)",
)
SCHEDULE_IDS: Final = ReservedIds(
    "schedule:",
    "processor.schedule",
    "schedules",
    "make a schedule (client.schedules.create, processor schedule create)",
)
RESERVED_IDS: Final = (ENTITY_IDS, KEY_IDS, SCHEDULE_IDS)

ID_BYTES_MAX: Final = 1_000
NAME_BYTES_MAX: Final = 1_000
TEXT_BYTES_MAX: Final = 100_000
RECORD_BYTES_MAX: Final = 16_000_000
"""A little less than what the log takes in one record: see ``topics/events.yaml``."""

MESSAGE_BYTES_MAX: Final = 1_900_000
"""What one instance sends another: the topic of the messages takes 2 MB with ids and headers."""

_NAMESPACE_MAX: Final = 232
"""Characters: the longest name of a topic of ours goes behind it, and a topic's name has 249."""

DURATION_S_MAX: Final = 4_000 * 366 * 86_400
"""4,000 years: a time that far from now is still one that ``datetime`` can show."""

TIME_MS_MAX: Final = 253_402_300_799_999
"""The end of the year 9999, in UTC: the last that ``datetime`` can show."""

NUMBER_MAX: Final = 1 << 62

_SHOWN_MAX: Final = 100
_QUEUE: Final = re.compile(r"[a-zA-Z0-9._-]{1,150}")
_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")


def workflow_id(value: Any, what: str) -> str:
    """Return a workflow id: text of 1 to 1,000 bytes in UTF-8."""
    return _bounded(value, what, ID_BYTES_MAX, "an id")


def id_for(workflow: str, value: Any, what: str) -> str:
    """Return a workflow id that a workflow of that name may be started under."""
    given = workflow_id(value, what)
    if why := why_reserved(given, workflow):
        raise InvalidArgument(f"{what}: {why}")
    return given


def new_workflow_id(value: Any, what: str) -> str:
    """Return a workflow id that workflow code asks to start a workflow under.

    Code that is replayed may have asked for an id that is reserved now: the shard refuses it.
    """
    given = workflow_id(value, what)
    return id_for("", given, what) if given.startswith(ENTITY_MARK) else given


def why_reserved(id: str, workflow: str) -> str:
    """Return why a workflow may not be started under an id; empty where it may."""
    for each in RESERVED_IDS:
        if id.startswith(each.prefix) and (workflow != each.workflow or not workflow):
            return (
                f"ids that begin with {each.prefix} are those of {each.what}: give another one "
                f"than {shown(id)}, or {each.instead}"
            )
        if workflow and workflow == each.workflow and not id.startswith(each.prefix):
            return (
                f"{workflow} is the workflow of {each.what}, and their ids begin with "
                f"{each.prefix}, as {shown(id)} does not: {each.instead}"
            )
    return ""


def name(value: Any, what: str) -> str:
    """Return a name of an event, activity, queue or workflow: text of 1 to 1,000 bytes in UTF-8."""
    return _bounded(value, what, NAME_BYTES_MAX, "a name")


def text(value: Any, what: str) -> str:
    """Return text that may be empty, of at most 100,000 bytes in UTF-8."""
    return _bounded(value, what, TEXT_BYTES_MAX, "text", least=0)


def queue(value: Any, what: str) -> str:
    """Return the name of a queue of activities: it becomes the end of a topic's name."""
    given = name(value, what)
    return _in_topics(given, what, "queue", 150, fits=_QUEUE.fullmatch(given) is not None)


def topic(value: Any, what: str) -> str:
    """Return a name that a Kafka topic can have."""
    given = _bounded(value, what, NAME_BYTES_MAX, "the name of a topic")
    return _in_topics(given, what, "Kafka topic", 249, fits=is_topic(given))


def namespace(value: Any, what: str) -> str | None:
    """Return a name that a namespace can have: it begins the names of its topics. None: no name."""
    if value is None:
        return None
    given = _bounded(value, what, NAME_BYTES_MAX, "a namespace")
    fits = is_topic(given) and len(given) <= _NAMESPACE_MAX
    _in_topics(given, what, "namespace", _NAMESPACE_MAX, fits=fits)
    for part, of in (("activities", "queues"), ("replies", "replies")):
        other, found, _ = f"{given}.".partition(f".{part}.")
        if found and other:
            raise InvalidArgument(
                f"{what}: {shown(given)}: its topics would be those of {of} of namespace "
                f"{shown(other)}: leave '.{part}' out of the name"
            )
    return given


def replies(value: Any, what: str, namespace: str) -> str:
    """Return the name of a topic of replies: what stands behind ``<namespace>.replies.``"""
    given = name(value, what)
    full = f"{namespace}.replies.{given}"
    _in_topics(given, what, "topic of replies", 249 - len(full) + len(given), fits=is_topic(full))
    return given


def _in_topics(name: str, what: str, kind: str, most: int, *, fits: bool) -> str:
    """Return what stands in the name of a topic."""
    if not fits:
        raise InvalidArgument(
            f"{what}: no {kind} can be named {shown(name)}; a name has 1 to {most} of the "
            "characters a-z, A-Z, 0-9, '.', '_' and '-'"
        )
    return name


def is_topic(name: str) -> bool:
    """Return whether a Kafka topic can have this name."""
    return _TOPIC.fullmatch(name) is not None and name not in (".", "..")


def servers(value: str, what: str) -> str:
    """Return Kafka's bootstrap servers, without the user and password that some put there."""
    if "@" in value:
        raise InvalidArgument(
            f"{what}: bootstrap servers (HOST:PORT) take no user and password; give them as "
            'kafka={"sasl.username": ..., "sasl.password": ...}, on the command line in the file '
            "of --kafka-config"
        )
    return value


def seconds(value: Any, what: str) -> float:
    """Return a duration in seconds: 0 or more, finite. Takes a ``timedelta`` or seconds."""
    if isinstance(value, timedelta):
        found = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found = value
    else:
        raise InvalidArgument(f"{what}: give a timedelta or seconds, not {shown(value)}")
    if not 0 <= found <= DURATION_S_MAX:  # neither does nan
        raise InvalidArgument(f"{what}: give 0 s to 4,000 years, not {shown(value)}")
    return found


def whole(value: Any, what: str, least: int) -> int:
    """Return a whole number, ``least`` or more."""
    if type(value) is not int or value < least:
        raise InvalidArgument(f"{what}: give a whole number from {least} on, not {shown(value)}")
    if value > NUMBER_MAX:
        raise InvalidArgument(f"{what}: give a number of up to {NUMBER_MAX}, not {shown(value)}")
    return value


def yes_or_no(value: Any, what: str) -> bool:
    """Return True or False, which text such as "no" is not."""
    if type(value) is not bool:
        raise InvalidArgument(f"{what}: give True or False, not {shown(value)}")
    return value


def listed(value: Any, what: str, example: str) -> list[Any]:
    """Return what a list, or something like it, holds; text and dictionaries are no lists."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InvalidArgument(f"{what}: give a list, as {example}, not {shown(value)}")
    return list(value)


def duration_ms(value: Any, what: str) -> int:
    """Return a duration in whole milliseconds, rounded up. As ``seconds``, and longer than 0."""
    found = seconds(value, what)
    if found == 0:
        raise InvalidArgument(f"{what}: give a duration longer than 0, not {shown(value)}")
    return math.ceil(found * 1000)


def lasting_ms(value: Any, what: str) -> int | None:
    """Return how long to wait in whole milliseconds; None for ``math.inf``: for ever.

    What is over already (below 0) is 0, as in asyncio.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value == math.inf:
            return None
        if value < 0:
            return 0
        if value > DURATION_S_MAX:
            raise InvalidArgument(
                f"{what}: {shown(value)} s is longer than 4,000 years, the longest that can be "
                "waited for; give math.inf to wait for ever"
            )
    return math.ceil(seconds(value, what) * 1000)


def time_ms(value: Any, what: str) -> int:
    """Return a time as milliseconds since the epoch."""
    if not isinstance(value, datetime) or value.tzinfo is None or value.utcoffset() is None:
        raise InvalidArgument(f"{what}: give a datetime with a time zone, not {shown(value)}")
    milliseconds = int(value.timestamp() * 1000)
    if milliseconds < 0:
        raise InvalidArgument(f"{what}: give a time after 1970, not {shown(value)}")
    if milliseconds > TIME_MS_MAX:
        raise InvalidArgument(f"{what}: give a time before the year 10000, not {shown(value)}")
    return milliseconds


def due_ms(delay: Any, at: Any, now_ms: int, call: str) -> int | None:
    """Return when something is due after a delay, or at a time; None where neither is given."""
    if delay is not None and at is not None:
        raise InvalidArgument(f"{call}: give delay or at, not both")
    if delay is not None:
        return now_ms + round(seconds(delay, f"{call}: delay") * 1000)
    return None if at is None else time_ms(at, f"{call}: at")


def one_of(choices: Collection[str], value: Any, what: str) -> Any:
    """Return one of the choices that there are."""
    if isinstance(value, str) and (text := str.__str__(value)) in choices:
        return text
    raise InvalidArgument(f"{what}: give one of {choices}, not {shown(value)}")


def shown(value: Any) -> str:
    """Return a value as errors show it: short, on one line, and never failing."""
    try:
        found = ascii(value)
    except Exception:
        found = f"a value of type {type(value).__name__}"
    return found if len(found) <= _SHOWN_MAX else f"{found[:_SHOWN_MAX]} ..."


def _bounded(value: Any, what: str, bytes_max: int, kind: str, least: int = 1) -> str:
    if not isinstance(value, str):
        wanted = "text (str)" if kind == "text" else f"{kind} as text (str)"
        hint = ": use str(...)" if kind == "an id" else ""
        raise InvalidArgument(f"{what}: give {wanted}, not {shown(value)}{hint}")
    given = str.__str__(value)  # what a subclass makes of itself is not what it holds
    try:
        size = len(given.encode())
    except UnicodeEncodeError:
        raise InvalidArgument(
            f"{what}: {shown(given)} holds half of a surrogate pair, which is no text; decode "
            "bytes with errors='replace'"
        ) from None
    if not least <= size <= bytes_max:
        raise InvalidArgument(
            f"{what}: give {kind} of {least} to {bytes_max:,} bytes, not {size:,}"
        )
    return given
