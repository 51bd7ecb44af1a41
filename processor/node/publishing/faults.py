"""What may be wrong with a record, a topic or a transaction, and the question about a topic."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from processor.shard.ports import OutputRecord

__all__ = ("Asks", "Fault", "Kind", "Place", "PublishingFailed", "Refusal", "TopicFault")

Kind = Literal[
    "missing",  # there is no such topic or partition
    "forbidden",  # we may not write there, or no topic can have this name
    "too large",  # the record, or the request that it was in
    "invalid",  # the request that it was in, for what it holds
    "invalid record",  # the record itself
    "timed out",  # nobody answered: the outcome is not known
    "fenced",  # another producer has our name, or we took too long
    "no member",  # the group does not count this process in, or not yet
    "not ours",  # the shard is not assigned to this process any more
    "other",
]

Place = tuple[int, int]
"""The log offset of a turn, and which one of its records it is."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What was said of a record, a topic or a transaction. ``topics`` are those that it names.

    ``aborts``: the transaction is to be aborted.
    """

    kind: Kind
    name: str
    text: str
    topics: tuple[str, ...] = ()
    aborts: bool = False


class Refusal(NamedTuple):
    """What was said of a record that was not taken. ``record``: None for a dead letter."""

    place: Place
    record: OutputRecord | None
    fault: Fault


class PublishingFailed(Exception):
    """``refusals`` are those of single records, by the partition of their shard."""

    def __init__(
        self,
        fault: Fault,
        refusals: Mapping[int, list[Refusal]] | None = None,
    ) -> None:
        super().__init__(f"{fault.name}: {fault.text}")
        self.fault = fault
        self.refusals = refusals or {}


@dataclass(frozen=True, slots=True)
class TopicFault:
    """Return why a topic takes nothing now, or None."""

    topic: str


Asks: TypeAlias = Generator[TopicFault, Any, Any]
"""Steps that only ask about topics."""
