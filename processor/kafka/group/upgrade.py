"""Raising the activated level of a namespace on Kafka: who is there, what they know, new claims."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, sleep, time
from typing import Final

import msgspec
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from processor.config import Settings
from processor.core.inputs import ClientCommand
from processor.core.questions import ReadShard
from processor.core.records.answers import Page
from processor.errors import ShardUnavailable
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.gateway import KafkaGateway
from processor.kafka.shards.identity import describe_shard_topics, ids_text, log_id
from processor.kafka.shards.log import KafkaLog
from processor.kafka.transport import KafkaTransport
from processor.shard.recovery.survey import level_of_log, raises

__all__ = ("NamespaceLevel", "Process")

_CALL_S: Final = 15.0
_LOOK_S: Final = 0.02
_AGAIN_S: Final = 0.1
_LEVEL: Final = re.compile(r"-level-(\d+)$")


@dataclass(frozen=True, slots=True)
class Process:
    """A member of a consumer group of the namespace.

    ``level`` is the highest one that its release knows; None where its ``client.id``, which says
    that, was replaced by another one.
    """

    group: str
    member: str
    host: str
    level: int | None


class NamespaceLevel:
    """Reads and raises the level. Its methods block, but for ``confirmed``."""

    def __init__(self, connection: KafkaSettings, admin: AdminClient, settings: Settings) -> None:
        self._connection = connection
        self._admin = admin
        self._settings = settings
        self._transport = KafkaTransport(connection, settings)
        ids, partitions = describe_shard_topics(admin, connection)
        self._logs = [
            KafkaLog(
                connection,
                partition,
                log_id(ids_text(ids)),
                self._transport.log,
                self._transport.watermarks,
            )
            for partition in range(partitions)
        ]

    def levels(self) -> list[int]:
        """Return the activated level of each shard; a raise that was cut short is not the same."""
        return [
            level_of_log(partition, log, self._connection.events)
            for partition, log in enumerate(self._logs)
        ]

    def processes(self) -> list[Process]:
        """Return who owns shards or takes activities at this moment."""
        prefix = self._connection.topic("activities.")
        listed = self._admin.list_consumer_groups(request_timeout=_CALL_S).result(_CALL_S)
        groups = [
            each.group_id
            for each in listed.valid
            if each.group_id == self._connection.shards_group or each.group_id.startswith(prefix)
        ]
        if not groups:
            return []
        found: list[Process] = []
        described = self._admin.describe_consumer_groups(groups, request_timeout=_CALL_S)
        for group, future in sorted(described.items()):
            for member in future.result(_CALL_S).members:
                told = _LEVEL.search(member.client_id or "")
                name = member.group_instance_id or member.member_id
                level = None if told is None else int(told[1])
                found.append(Process(group, name, (member.host or "").lstrip("/"), level))
        return found

    def share_groups(self) -> list[str]:
        """Return the share groups that queues have had: nobody can be asked for their members."""
        prefix = self._connection.topic("activities.")
        topics = self._admin.list_topics(timeout=_CALL_S).topics
        names = [f"{topic}.share" for topic in sorted(topics) if topic.startswith(prefix)]
        resources = [ConfigResource(ResourceType.GROUP, name) for name in names]
        found: list[str] = []
        for resource, future in self._admin.describe_configs(resources).items():
            entry = future.result(_CALL_S).get("share.auto.offset.reset")
            if entry is not None and not entry.is_default:
                found.append(resource.name)
        return found

    def raise_to(self, level: int, partitions: Sequence[int]) -> None:
        """Append a claim to each of these shards. Their owners find it, and claim them again."""
        for partition in partitions:
            claim = raises(secrets.token_hex(8), level, int(time() * 1000))
            self._logs[partition].append(*claim)
        deadline = monotonic() + _CALL_S
        waiting = {*partitions}
        while waiting and monotonic() < deadline:
            sleep(_LOOK_S)
            waiting -= {each for each in waiting if self._logs[each].acknowledged()}
        if waiting:
            raise ShardUnavailable(
                f"Kafka did not take the claims of shards {sorted(waiting)} within {_CALL_S:g} s. "
                "Run `processor upgrade` again"
            )

    async def confirmed(self, level: int, timeout_s: float) -> list[int]:
        """Ask the owners of all shards; return those that do not go on at a level by then."""
        gateway = KafkaGateway(self._connection, self._settings)
        await gateway.start()
        try:
            asked = [
                _confirmed(gateway, partition, level, monotonic() + timeout_s)
                for partition in range(len(self._logs))
            ]
            there = await asyncio.gather(*asked)
        finally:
            await gateway.close()
        return [partition for partition, is_there in enumerate(there) if not is_there]

    def close(self) -> None:
        self._transport.close()


async def _confirmed(gateway: KafkaGateway, partition: int, level: int, deadline: float) -> bool:
    """Ask until the shard is at a level: an owner that has not noticed yet writes, and notices."""
    while (left_s := deadline - monotonic()) > 0:
        command = ClientCommand("", ReadShard())
        try:
            answer = await gateway.request(command, timeout_s=left_s, partition=partition)
        except ShardUnavailable:
            return False
        if isinstance(answer, Page) and msgspec.json.decode(answer.content)["level"] >= level:
            return True
        await asyncio.sleep(_AGAIN_S)
    return False
