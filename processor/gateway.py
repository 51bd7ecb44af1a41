"""What a client needs of a runtime: send a command to a shard, get its answer."""

from __future__ import annotations

from typing import Protocol

from processor.core.effects import ReplyBody
from processor.core.inputs import ClientCommand

__all__ = ("Gateway",)


class Gateway(Protocol):
    @property
    def partitions(self) -> int:
        """How many shards the namespace has."""

    async def start(self) -> None:
        """Connect. Raises ``ShardUnavailable`` or ``TopicsNotReady``."""

    async def request(
        self, command: ClientCommand, *, timeout_s: float, partition: int | None = None
    ) -> ReplyBody:
        """Return the answer of the command's shard (or of the one at ``partition``).

        Raises ``ShardUnavailable`` when the time is up, ``PayloadTooLarge`` before sending.
        """

    async def close(self) -> None: ...
