"""Load on real workers while something bad happens to them, and the proof that nothing was lost."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from confluent_kafka.admin import AdminClient, NewTopic

from processor import (
    Client,
    CommandRejected,
    Handle,
    ShardUnavailable,
    WorkflowAlreadyStarted,
)
from processor.core.event import Event
from processor.core.nouns.record import RecordPublished
from tests.kafka.probes import collects, errand
from tests.kafka.talking import committed
from tests.log_rules import (
    Reading,
    check_histories,
    check_messages,
    check_positions,
    read_log,
)

__all__ = (
    "Load",
    "Proof",
    "check_logs",
    "make_published_topic",
    "prove",
    "published_topic",
    "read_logs",
)

_ERRANDS = 3
_PATIENCE_S = 30.0
_TRIES = 6
_SUCCESS_MIN = 0.9
_HISTORIES = 20

R = TypeVar("R")


def published_topic(namespace: str) -> str:
    return f"{namespace}-published"


def make_published_topic(admin: AdminClient, namespace: str, replication: int = 1) -> None:
    topic = NewTopic(published_topic(namespace), 2, replication)
    for future in admin.create_topics([topic]).values():
        future.result()


@dataclass
class Load:
    """``width`` lanes, each with a collector and its errands in flight, one after another.

    An operation (a start, an event, a result) that fails is counted, and tried again.
    """

    client: Client
    namespace: str
    width: int = 8
    asked: int = 0
    failures: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    rounds: int = 0
    _stopping: bool = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        """Keep the load on, and let every round that was begun end before this returns."""
        async with asyncio.TaskGroup() as group:
            for lane in range(self.width):
                group.create_task(self._lane(lane))
            try:
                yield self
            finally:
                self._stopping = True

    async def rounds_more(self, count: int, timeout_s: float = 150.0) -> None:
        """Wait until so many more rounds have ended: the system is at work."""
        wanted = self.rounds + count
        async with asyncio.timeout(timeout_s):
            while self.rounds < wanted:
                await asyncio.sleep(0.01)

    async def _lane(self, lane: int) -> None:
        for number in itertools.count():
            if self._stopping:
                return
            await self._round(f"{lane}-{number}")
            self.rounds += 1

    async def _round(self, name: str) -> None:
        collector = f"collect-{name}"
        collecting = await self._start(collects, _ERRANDS, id=collector)
        topic = published_topic(self.namespace)
        begun = [
            await self._start(errand, number, topic, collector, id=f"errand-{name}-{number}")
            for number in range(_ERRANDS)
        ]
        for handle in begun:
            await self._raise_event(handle)
        done = await asyncio.gather(*(self._result(handle) for handle in begun))
        assert done == [2 * 2 * number for number in range(_ERRANDS)]
        passed = await self._result(collecting)
        assert passed == list(range(_ERRANDS)), f"{collector}: {passed}"

    async def _start(self, workflow: Any, *arguments: Any, id: str) -> Handle[Any]:
        """Start a run whose id is used once; an answer that was missed is no reason for two."""
        again: dict[str, Any] = {"conflict": "use-existing", "reuse": "reject"}
        start: Callable[[], Awaitable[Any]] = partial(
            self.client.start, workflow, *arguments, id=id, **again
        )
        with suppress(WorkflowAlreadyStarted):
            await self._ask(f"the start of {id}", start)
        self.accepted.append(id)
        return self.client.handle(id)

    async def _raise_event(self, handle: Handle[Any]) -> None:
        """Let an errand end; if an answer was missed, it may have ended already."""
        with suppress(CommandRejected):
            await self._ask(f"an event for {handle.id}", partial(handle.raise_event, "go", True))

    async def _result(self, handle: Handle[Any]) -> Any:
        return await self._ask(f"the result of {handle.id}", partial(handle.result, _PATIENCE_S))

    async def _ask(self, what: str, operation: Callable[[], Awaitable[R]]) -> R:
        for _ in range(_TRIES):
            self.asked += 1
            try:
                return await operation()
            except (ShardUnavailable, TimeoutError) as error:
                self.failures.append(f"{what}: {type(error).__name__}: {error}")
        raise AssertionError(f"{what} failed {_TRIES} times: {self.failures[-1]}")


@dataclass(frozen=True)
class Proof:
    """What held: counts for the report."""

    runs: int
    operations: int
    failed: int
    turns: int
    claims: int
    ghosts: int

    def __str__(self) -> str:
        return (
            f"{self.runs} runs ended once, {self.operations - self.failed} of {self.operations} "
            f"operations succeeded, {self.turns} turns, {self.claims} claims, {self.ghosts} ghosts"
        )


async def prove(servers: str, load: Load) -> Proof:
    """Check, after the load, every promise that a log, its outputs and its histories can show."""
    assert load.asked, "nothing was asked"
    assert len(load.failures) <= (1 - _SUCCESS_MIN) * load.asked, load.failures
    readings = await asyncio.to_thread(check_logs, servers, load.namespace)
    runs = _runs(readings)
    started = Counter(workflow_id for workflow_id, _ in runs.values())
    assert set(load.accepted) <= set(started), "what was accepted has a run"
    assert set(started.values()) == {1}, f"started twice: {started.most_common(3)}"
    await asyncio.to_thread(_check_outputs, servers, load.namespace, runs)
    await _check_served(load.client, runs)
    return Proof(
        len(runs),
        load.asked,
        len(load.failures),
        sum(len(reading.turns) for reading in readings),
        sum(len(reading.claimed) for reading in readings),
        sum(len(reading.ghosts) for reading in readings),
    )


def read_logs(servers: str, namespace: str) -> list[Reading]:
    """Read every partition of ``events`` by the claim rule."""
    logs: dict[int, list[tuple[int, bytes, bytes | None]]] = {}
    for message in committed(servers, f"{namespace}.events", 0, "read_uncommitted"):
        log = logs.setdefault(message.partition() or 0, [])
        log.append((message.offset() or 0, message.key() or b"", message.value()))
    for log in logs.values():
        _check_keys(log)
    return [read_log(log) for log in logs.values()]


def _check_keys(log: list[tuple[int, bytes, bytes | None]]) -> None:
    """No key is used twice for a value, by whoever wrote: nothing replaces anything."""
    used = Counter(key for _, key, value in log if value is not None)
    assert not used or max(used.values()) == 1, used.most_common(3)


def check_logs(servers: str, namespace: str) -> list[Reading]:
    """Read the logs when all runs have ended, and check them."""
    readings = read_logs(servers, namespace)
    for reading in readings:
        check_histories(reading)
        check_positions(reading)
    check_messages(readings)
    return readings


def _runs(readings: list[Reading]) -> dict[str, tuple[str, list[Event]]]:
    """Return each run's workflow id and history, as the logs have them."""
    return {
        run_id: (turns[0].turn.workflow_id, [e for _, turn in turns for e in turn.events])
        for reading in readings
        for run_id, turns in reading.runs.items()
    }


def _check_outputs(servers: str, namespace: str, runs: dict[str, tuple[str, list[Event]]]) -> None:
    """Results and published records are seen once each by a ``read_committed`` consumer."""
    due = Counter(workflow_id.encode() for workflow_id, _ in runs.values())
    results = committed(servers, f"{namespace}.results", due.total())
    seen = Counter(message.key() or b"" for message in results)
    assert seen == due, f"results: {(seen - due) or (due - seen)}"
    topic = published_topic(namespace)
    published = Counter(
        (event.key, event.value)
        for _, history in runs.values()
        for event in history
        if isinstance(event, RecordPublished)
    )
    found = Counter((m.key(), m.value()) for m in committed(servers, topic, published.total()))
    assert found == published, f"published: {(found - published) or (published - found)}"


async def _check_served(client: Client, runs: dict[str, tuple[str, list[Event]]]) -> None:
    """The owners' tables say what the log says, for some of the runs."""
    for workflow_id, history in list(runs.values())[-_HISTORIES:]:
        served = [event.type for event in await client.handle(workflow_id).history()]
        assert served == [type(event).__name__ for event in history], workflow_id
