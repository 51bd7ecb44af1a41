"""What a worker on Kafka was told, without anything of Kafka's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from processor.connect.connection import Connection, Taking

__all__ = ("PARTITIONS", "QUEUES", "STATE_DIR", "KafkaWorkerOptions")

PARTITIONS: Final = 8
QUEUES: Final = ("default",)
STATE_DIR: Final = Path("processor-state")
"""What a worker has that was told nothing else."""


@dataclass(frozen=True, slots=True)
class KafkaWorkerOptions:
    """What a worker was told. ``partitions`` matters only where ``create_topics`` makes topics.

    ``connections`` come with what tells the requests of their records. Without an ``instance_id``,
    it takes the first free one of this host.
    """

    server: str
    namespace: str
    queues: tuple[str, ...]
    owns_shards: bool
    share_groups: bool
    create_topics: bool
    partitions: int
    state_dir: Path
    instance_id: str | None
    kafka: Mapping[str, str] = field(repr=False)
    connections: tuple[tuple[Connection[Any], Taking], ...] = ()
