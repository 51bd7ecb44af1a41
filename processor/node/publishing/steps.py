"""What the publisher of a process asks of whoever has the transactional client.

Each step but ``Exclusively`` and ``Pause`` is one or a few calls of the client, and may block. A
step that fails is answered with ``PublishingFailed``.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from processor.core.records.effects import Publish
from processor.node.publishing.faults import Fault, TopicFault
from processor.node.publishing.outputs import Batch, ShardOutputs

__all__ = (
    "Committed",
    "Connect",
    "Exclusively",
    "Fence",
    "GiveUp",
    "LastCommitted",
    "Pause",
    "Probe",
    "Standing",
    "Step",
    "Steps",
    "Transact",
)


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
