"""What each topic of a namespace must be, read from the YAML files in ``topics/``.

The files are data so that people who run Kafka by other means (Terraform, an operator, a ticket
to another team) have the same facts as ``processor topics``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import yaml

from processor.data import data_dir

__all__ = ("TopicSpec", "expand", "is_own", "load_specs", "topic_name")

CleanupPolicy = Literal["compact", "delete"]
FIELDS = frozenset(
    (
        "adjustable",
        "cleanup_policy",
        "co_partitioned",
        "configs",
        "key",
        "name",
        "optional",
        "partitions",
        "schema",
        "template",
        "why",
    )
)
NAME_BYTES_MAX = 249


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic of a namespace, or with ``template`` one topic of each activity queue.

    ``partitions`` is None where the namespace's count applies. ``co_partitioned`` topics must all
    have that count: a shard reads the same partition of each. What is ``optional`` is made and
    checked only for those who ask for it. ``configs`` includes the clean-up policy. ``adjustable``
    configs are set when the topic is made and belong to the user then.
    """

    name: str
    partitions: int | None
    co_partitioned: bool
    template: bool
    optional: bool
    key: str
    schemas: tuple[str, ...]
    cleanup_policy: CleanupPolicy
    configs: Mapping[str, str]
    adjustable: frozenset[str]
    why: str


def load_specs() -> tuple[TopicSpec, ...]:
    """Return the specification of every topic, in the order of their names."""
    return tuple(parse_spec(path) for path in sorted(data_dir("topics").glob("*.yaml")))


def parse_spec(path: Path) -> TopicSpec:
    """Return the specification in one file; an unknown or missing field is an error."""
    fields: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if unknown := fields.keys() - FIELDS:
        raise ValueError(f"{path} has unknown fields {sorted(unknown)}; known: {sorted(FIELDS)}")
    try:
        partitions = fields["partitions"]
        policy: CleanupPolicy = fields["cleanup_policy"]
        return TopicSpec(
            name=fields["name"],
            partitions=None if partitions == "namespace" else int(partitions),
            co_partitioned=bool(fields["co_partitioned"]),
            template=bool(fields.get("template", False)),
            optional=bool(fields.get("optional", False)),
            key=fields["key"],
            schemas=tuple(fields["schema"]),
            cleanup_policy=policy,
            configs=MappingProxyType({**fields["configs"], "cleanup.policy": policy}),
            adjustable=frozenset(fields.get("adjustable", ())),
            why=fields["why"],
        )
    except KeyError as error:
        raise ValueError(f"{path} lacks the field {error}; add it as in its neighbours") from error


@lru_cache(maxsize=1_000)
def topic_name(namespace: str, topic: str) -> str:
    """Return the full name of a namespace's topic; refuse what Kafka would not take as a name."""
    name = f"{namespace}.{topic}"
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name) or not namespace or not topic:
        raise ValueError(
            f"{name!r} cannot name a topic: use letters, digits, '.', '_' and '-' only in the"
            " namespace and in queue names"
        )
    if len(name) > NAME_BYTES_MAX:
        raise ValueError(
            f"The topic name {name!r} has {len(name)} characters, Kafka allows {NAME_BYTES_MAX}:"
            " choose a shorter namespace or queue name"
        )
    return name


def expand(
    namespace: str, queues: Iterable[str], optional: Collection[str] = ()
) -> dict[str, TopicSpec]:
    """Return the full name and the specification of every topic that the namespace needs.

    ``optional`` names those that it needs beside the usual ones; ``replies.NAME`` is as
    ``replies``, for clients of their own.
    """
    named: dict[str, TopicSpec] = {}
    for spec in load_specs():
        if spec.optional and spec.name not in optional:
            continue
        if not spec.template:
            named[topic_name(namespace, spec.name)] = spec
            if spec.name == "replies":
                own = [each for each in optional if each.startswith("replies.")]
                named |= {topic_name(namespace, each): spec for each in own}
            continue
        for queue in queues:
            named[topic_name(namespace, f"{spec.name}.{queue}")] = spec
    return named


def is_own(namespace: str, topic: str) -> bool:
    """Return whether a topic is the namespace's or Kafka's own, to which no user writes."""
    name = topic.removeprefix(f"{namespace}.")
    if name == topic:
        return topic.startswith("__")
    return name in _names() or name.startswith(("activities.", "replies."))


@cache
def _names() -> frozenset[str]:
    return frozenset(spec.name for spec in load_specs())
