"""What the publisher of a process asks of whoever has the transactional client.

Each step but ``Exclusively`` and ``Pause`` is one or a few calls of the client, and may block. A
step that fails is answered with ``PublishingFailed``.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from processor.core.records.effects import Publish
from processor.shard.ports import OutputRecord

if TYPE_CHECKING:
    from processor.node.publishing.outputs import Batch, ShardOutputs

__all__ = (
    "Committed",
    "Connect",
    "Exclusively",
    "Fault",
    "Fence",
    "GiveUp",
    "LastCommitted",
    "Pause",
    "Place",
    "Probe",
    "PublishingFailed",
    "Refusal",
    "Standing",
    "Step",
    "Steps",
    "TopicFault",
    "Transact",
)

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
    """``refusals`` are those of single records, by shard."""

    def __init__(
        self,
        fault: Fault,
        refusals: Mapping[ShardOutputs, list[Refusal]] | None = None,
    ) -> None:
        super().__init__(f"{fault.name}: {fault.text}")
        self.fault = fault
        self.refusals = refusals or {}


class Standing(NamedTuple):
    """``group`` is the group's word for this process in one of its generations.

    ``owned`` numbers the assignments of its shards. While a shard is there under the same number,
    no other member has had it, up to that generation.
    """

    group: object
    owned: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class LastCommitted:
    """Return the name that stands beside a shard's position, "" where there is none.

    An open transaction may be about to change it.
    """

    partition: int


@dataclass(frozen=True, slots=True)
class Fence:
    """Abort what the process of a name has left open. If it still lives, it connects again."""

    name: str


@dataclass(frozen=True, slots=True)
class Connect:
    """Begin a producer in our own name; what the one before left open is over after that."""


@dataclass(frozen=True, slots=True)
class Committed:
    """Return the committed positions of shards, None where there is none.

    A transaction that is about to change one of them is waited for. Raises ``LogTruncated`` where
    one was committed for other topics than the shard's.
    """

    shards: Sequence[ShardOutputs]


@dataclass(frozen=True, slots=True)
class Transact:
    """Write records, and the positions behind them with our name, in one transaction."""

    batches: Sequence[Batch]
    group: object


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Let the producer go, whatever its error: the outcome of its transaction may be unknown."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class TopicFault:
    """Return why a topic takes nothing now, or None."""

    topic: str


@dataclass(frozen=True, slots=True)
class Probe:
    """Return why the topic of a record takes nothing in a transaction, or None."""

    record: Publish


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Exclusively:
    """Do these steps while nobody else does such under the same name; return what they return."""

    what: Literal["transaction", "fencing"]
    steps: Steps


Step: TypeAlias = (
    LastCommitted
    | Fence
    | Connect
    | Committed
    | Transact
    | GiveUp
    | TopicFault
    | Probe
    | Pause
    | Exclusively
)
Steps: TypeAlias = Generator[Step, Any, Any]
