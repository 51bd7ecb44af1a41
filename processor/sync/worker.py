"""The worker: each call blocks until it has its answer.

Written by ``processor.dev.sync_client``. What each method does stands in full at its twin.
"""

# mypy: disable-error-code="misc"

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from processor import worker as _worker
from processor.api import HttpOptions
from processor.config import Settings
from processor.injection.interceptors import Interceptor
from processor.injection.payloads import GivenPayloads
from processor.node import ShardStatus
from processor.sync.blocking import Blocking

__all__ = ("Worker",)


class Worker:
    """Runs workflows and activities until it is cancelled or stopped."""

    def __init__(
        self,
        server: str,
        *,
        namespace: str = "default",
        workflows: Iterable[Any] = (),
        activities: Iterable[Any] = (),
        entities: Iterable[Any] = (),
        connections: Iterable[Any] = (),
        views: Iterable[Any] = (),
        queues: Sequence[str] | None = None,
        shards: bool = True,
        share_groups: bool = False,
        max_activities: int | None = None,
        max_cached_runs: int | None = None,
        strict_replay: bool | None = None,
        guard: Literal["answer", "refuse", False] | None = None,
        passthrough: Sequence[str] | None = None,
        create_topics: bool = False,
        partitions: int | None = None,
        state_dir: Path | str | None = None,
        instance_id: str | None = None,
        payloads: GivenPayloads | None = None,
        interceptors: Sequence[Interceptor] | None = None,
        settings: Settings | None = None,
        kafka: Mapping[str, str] | None = None,
        http: HttpOptions | None = None,
    ) -> None:
        self._twin = _worker.Worker(
            server,
            namespace=namespace,
            workflows=workflows,
            activities=activities,
            entities=entities,
            connections=connections,
            views=views,
            queues=queues,
            shards=shards,
            share_groups=share_groups,
            max_activities=max_activities,
            max_cached_runs=max_cached_runs,
            strict_replay=strict_replay,
            guard=guard,
            passthrough=passthrough,
            create_topics=create_topics,
            partitions=partitions,
            state_dir=state_dir,
            instance_id=instance_id,
            payloads=payloads,
            interceptors=interceptors,
            settings=settings,
            kafka=kafka,
            http=http,
        )
        self._blocking = Blocking()

    def __enter__(self) -> Self:
        self._blocking.start()
        try:
            self._blocking.call(self._twin.__aenter__())
        except BaseException:
            self._blocking.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._blocking.leave(self._twin.__aexit__(exc_type, exc, traceback))

    @property
    def shards(self) -> Mapping[int, ShardStatus]:
        """The shards that this process has or takes over, by partition."""
        found: Mapping[int, ShardStatus] = self._twin.shards
        return found

    @property
    def http_url(self) -> str:
        """Where its HTTP API is; "" where it has none."""
        found: str = self._twin.http_url
        return found

    @property
    def activities_running(self) -> int:
        """Return what activities_running of the twin does."""
        found: int = self._twin.activities_running
        return found

    @property
    def slots_free(self) -> int:
        """Return what slots_free of the twin does."""
        found: int = self._twin.slots_free
        return found

    @property
    def queues(self) -> tuple[str, ...]:
        """Return what queues of the twin does."""
        found: tuple[str, ...] = self._twin.queues
        return found
