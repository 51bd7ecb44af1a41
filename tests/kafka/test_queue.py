"""Activity queues: tasks in, reports out, and the offsets that are committed meanwhile."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from processor.activities.executor import Executor, Report
from processor.codec.payloads import JsonPayloads
from processor.codec.records import decode_as
from processor.config import Settings
from processor.core.inputs import ActivityReport
from processor.core.records.effects import ActivityTask, DeadLetter
from processor.embedded.runtime import SystemClock
from processor.injection.interceptors import Injected
from processor.kafka.clients.connection import KafkaSettings, partition_of
from processor.kafka.clients.offsets import OffsetTracker
from processor.kafka.queues import queue
from processor.kafka.queues.queue import QueueConsumer
from processor.kafka.queues.queues import Queues
from processor.kafka.queues.share import ShareQueueConsumer
from processor.kafka.topics.upkeep import apply, plan, read_topics
from processor.kafka.transport import KafkaTransport
from processor.registry import Registry

from .harness import PARTITIONS, Adapters, task, until


class Worker:
    """Holds the tasks that it gets until a test lets them end."""

    def __init__(
        self,
        connection: KafkaSettings,
        slots: int,
        member: str | None = None,
        came_back: bool = False,
    ) -> None:
        self.transport = KafkaTransport(connection, Settings())
        self.tasks: dict[int, tuple[ActivityTask, Report]] = {}
        self.again: dict[int, bool] = {}
        self.most = 0
        self.ends_at_once = False
        self.queue = QueueConsumer(
            self.transport, "default", slots, self._run, PARTITIONS, member, came_back
        )

    def _run(self, task: ActivityTask, report: Report, again: bool) -> None:
        self.tasks[task.id] = (task, report)
        self.again[task.id] = again
        self.most = max(self.most, len(self.tasks))
        report(ActivityReport("w", task.run_id, task.id, task.attempt, "started", worker="me"))
        if self.ends_at_once:
            asyncio.get_running_loop().call_soon(self.end, task.id)

    def end(self, id: int) -> None:
        task, report = self.tasks.pop(id)
        report(ActivityReport("w", task.run_id, task.id, task.attempt, "completed", b"%d" % id))


@asynccontextmanager
async def worker(
    kafka: Adapters, slots: int = 100, member: str | None = None, came_back: bool = False
) -> AsyncIterator[Worker]:
    made = Worker(kafka.connection, slots, member, came_back)
    made.queue.start()
    try:
        yield made
    finally:
        await made.queue.stop()
        await asyncio.to_thread(made.transport.close)


async def soon(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    asyncio.run(main())


def send_tasks(kafka: Adapters, count: int) -> None:
    outbox = kafka.open().outbox
    for id in range(1, count + 1):
        outbox.send(task(id=id), id)
    delivered = 0

    def all_there() -> bool:
        nonlocal delivered
        delivered += len(outbox.delivered())
        return delivered == count

    until(all_there, "the tasks")


def committed(kafka: Adapters) -> int:
    """Return the sum of the queue's committed offsets over its partitions."""
    topic = kafka.topic("activities.default")
    reader = Consumer(kafka.connection.consumer(group=topic))
    places = reader.committed([TopicPartition(topic, p) for p in range(PARTITIONS)], 10)
    reader.close()
    return sum(max(place.offset, 0) for place in places)


# ---- which offset may be committed


def test_the_lowest_unfinished_offset_is_committed() -> None:
    tracker = OffsetTracker()
    assert tracker.position is None
    for offset in (5, 6, 9):  # 7 and 8 were compacted, or control records
        tracker.started(offset)
    assert tracker.position == 5
    tracker.finished(6)
    tracker.finished(9)
    assert tracker.position == 5
    tracker.finished(5)
    assert tracker.position == 10
    tracker.started(10)
    assert tracker.position == 10


def test_a_tracker_bears_what_comes_twice() -> None:
    tracker = OffsetTracker()
    tracker.finished(3)
    for offset in (1, 2, 1, 2, 3):
        tracker.started(offset)
    tracker.finished(2)
    tracker.finished(2)
    tracker.finished(1)
    tracker.finished(1)
    assert tracker.position == 3


# ---- on the broker


def test_tasks_run_and_are_reported_to_their_shard(kafka: Adapters) -> None:
    send_tasks(kafka, 50)

    async def test() -> None:
        async with worker(kafka) as it:
            it.ends_at_once = True
            await soon(
                lambda: not it.tasks and it.most > 0 and it.queue._tasks.count == 0, "the tasks"
            )
            await soon(lambda: committed(kafka) == 50, "the offsets")

    run(test)
    found = kafka.records(kafka.topic("activity-results"), 100, PARTITIONS)
    assert {message.partition() for message in found} == {partition_of("w", PARTITIONS)}
    assert {message.key() for message in found} == {b"w"}
    reports = [decode_as(ActivityReport, message.value() or b"") for message in found]
    assert sorted(report.id for report in reports if report.kind == "completed") == list(
        range(1, 51)
    )
    first: dict[int, str] = {}
    for report in reports:
        first.setdefault(report.id, report.kind)
    assert set(first.values()) == {"started"}


def test_no_more_than_the_slots_run_at_once(kafka: Adapters) -> None:
    send_tasks(kafka, 60)

    async def test() -> None:
        async with worker(kafka, slots=7) as it:
            ended = 0
            while ended < 60:
                await soon(lambda: bool(it.tasks), "a task")
                it.end(next(iter(it.tasks)))
                ended += 1
            assert it.most == 7

    run(test)
    assert committed(kafka) == 60


def test_unfinished_tasks_go_to_the_next_worker(kafka: Adapters) -> None:
    send_tasks(kafka, 20)

    async def test() -> None:
        async with worker(kafka) as first:
            await soon(lambda: len(first.tasks) == 20, "the tasks")
            for id in list(first.tasks)[:5]:
                first.end(id)
        left = 20 - committed(kafka)
        assert 15 <= left <= 20
        async with worker(kafka) as second:
            await soon(lambda: len(second.tasks) == left, "the rest")
            unfinished = set(first.tasks)
            assert unfinished <= set(second.tasks)
            for id in list(second.tasks):
                second.end(id)
            await soon(lambda: committed(kafka) == 20, "the offsets")

    run(test)


def test_what_was_there_before_the_worker_is_marked(kafka: Adapters) -> None:
    """Such a task may have ended the worker that had it; the next ones cannot have."""
    send_tasks(kafka, 20)

    async def test() -> None:
        async with worker(kafka) as it:
            await soon(lambda: len(it.tasks) == 20, "the tasks")
            assert all(it.again.values())
            await asyncio.to_thread(send_tasks, kafka, 40)
            await soon(lambda: len(it.tasks) == 40, "the next ones")
            assert not any(it.again[id] for id in range(21, 41))

    run(test)


def test_workers_share_a_queue(kafka: Adapters) -> None:
    async def test() -> None:
        async with worker(kafka, 200) as first, worker(kafka, 200) as second:
            await asyncio.sleep(4)  # both have joined
            await asyncio.to_thread(send_tasks, kafka, 200)
            await soon(lambda: len(first.tasks) + len(second.tasks) == 200, "all tasks")
            assert first.tasks
            assert second.tasks
            assert not set(first.tasks) & set(second.tasks)

    run(test)


async def die_while_it_gives_up(connection: KafkaSettings, ready: Path) -> None:
    it = Worker(connection, 100, "a")
    assign, mine = it.queue._on_assign, set[int]()

    def assigned(consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        assign(consumer, places)
        mine.update(place.partition for place in places)
        if len(mine) == PARTITIONS:
            ready.touch()

    it.queue._on_assign = assigned  # type: ignore[method-assign]
    it.queue._on_revoke = lambda *_: os._exit(1)  # type: ignore[method-assign]
    it.queue.start()
    await asyncio.sleep(300)


def die_in_a_process(servers: str, namespace: str, ready: Path) -> None:
    asyncio.run(die_while_it_gives_up(KafkaSettings(servers, namespace), ready))


def test_what_a_worker_had_given_up_when_it_died_is_somebodys_again(
    kafka: Adapters, tmp_path: Path
) -> None:
    """A static member that comes back in time begins no generation: tasks would wait for one."""
    ready = tmp_path / "ready"
    where = kafka.connection.servers, kafka.connection.namespace, ready
    process = multiprocessing.get_context("spawn").Process(target=die_in_a_process, args=where)
    process.start()
    until(ready.exists, "all partitions", 60)

    async def test() -> None:
        async with worker(kafka, 200, "b") as other:
            await asyncio.to_thread(process.join, 20)
            async with worker(kafka, 200, "a", came_back=True) as again:
                await asyncio.to_thread(send_tasks, kafka, 200)
                tasks = other.tasks, again.tasks
                await soon(lambda: len(set().union(*tasks)) == 200, "all tasks", 40)

    run(test)


def test_a_queue_that_pauses_goes_on_with_what_it_keeps_in_a_rebalance(
    kafka: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took the first generation after the pause for an end of it, and never resumed."""
    monkeypatch.setattr(queue, "_AHEAD_MAX", 100)
    monkeypatch.setattr(queue, "_BATCH", 5)
    send_tasks(kafka, 400)

    async def test() -> None:
        async with worker(kafka, slots=5) as it:
            await soon(lambda: it.queue._paused, "it pauses")
            while len(it.queue._ahead) >= 80:
                await soon(lambda: bool(it.tasks), "a task")
                it.end(next(iter(it.tasks)))
            assert it.queue._paused, "it goes on once half of that is left"
            async with worker(kafka, slots=5) as other:
                await soon(lambda: bool(other.tasks), "the other one's tasks")
                other.ends_at_once = True
                it.ends_at_once = True
                for one in (it, other):
                    for id in list(one.tasks):
                        one.end(id)
                landed = [it.queue._tasks, other.queue._tasks]
                await soon(lambda: committed(kafka) == 400, "all tasks", 30)
                assert all(each._landed for each in landed)

    run(test)


def test_a_cancelled_task_holds_nothing_up(kafka: Adapters) -> None:
    send_tasks(kafka, 3)

    async def test() -> None:
        async with worker(kafka) as it:
            await soon(lambda: len(it.tasks) == 3, "the tasks")
            for id in list(it.tasks):
                it.queue.finish("0-0", id)
            assert it.queue._tasks.count == 0
            await soon(lambda: committed(kafka) == 3, "the offsets")

    run(test)


def test_what_is_no_task_is_buried(kafka: Adapters) -> None:
    kafka.produce("activities.default", 0, b"k", b"garbage")
    kafka.produce("activities.default", 0, b"k", None)
    send_tasks(kafka, 4)

    async def test() -> None:
        async with worker(kafka) as it:
            it.ends_at_once = True
            await soon(lambda: committed(kafka) == 6, "the offsets")

    run(test)
    letters = [
        decode_as(DeadLetter, message.value() or b"")
        for message in kafka.records(kafka.topic("dead-letters"), 2)
    ]
    assert [(letter.topic, letter.partition, letter.offset) for letter in letters] == [
        ("activities.default", 0, 0),
        ("activities.default", 0, 1),
    ]
    assert "not a record of processor" in letters[0].reason


def test_a_queue_made_again_right_after_the_start_is_read_from_its_start(
    kafka: Adapters, admin: AdminClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever looks at the topic's id only later takes the new topic for the one it began with."""
    topic = kafka.topic("activities.default")

    async def test() -> None:
        transport = KafkaTransport(kafka.connection, Settings())
        payloads = JsonPayloads()
        executor = Executor(
            Registry([], [], Injected(payloads)), Settings(), "a test", SystemClock()
        )
        queues = Queues(transport, executor, ("default",), None)
        await queues.start()
        try:
            admin.delete_topics([topic], operation_timeout=10)[topic].result()
            until(lambda: not read_topics(admin, [topic]), "the deletion")
            apply(admin, plan(admin, kafka.connection.namespace, PARTITIONS, 1))
            until(lambda: bool(read_topics(admin, [topic])), "the new topic")
            await asyncio.to_thread(queues.check_topics)
        finally:
            await queues.stop()
            await asyncio.to_thread(transport.close)

    with caplog.at_level("WARNING", "processor.kafka"):
        run(test)
    assert f"{topic} was deleted and made again: it is read from its start" in caplog.text


# ---- the share group


def test_a_share_group_brings_tasks_as_well(kafka: Adapters) -> None:
    kafka.produce("activities.default", 0, b"k", b"garbage")
    send_tasks(kafka, 30)

    async def test() -> None:
        transport = KafkaTransport(kafka.connection, Settings())
        ended: list[int] = []

        def runs(task: ActivityTask, report: Report, _again: bool) -> None:
            ended.append(task.id)
            report(ActivityReport("w", task.run_id, task.id, task.attempt, "completed", b"1"))

        queue = ShareQueueConsumer(transport, "default", 10, runs, PARTITIONS)
        queue.start()
        await soon(lambda: len(ended) == 30, "the tasks")
        assert sorted(ended) == list(range(1, 31))
        assert queue._tasks.count == 0
        await queue.stop()
        await asyncio.to_thread(transport.close)

    run(test)
    assert len(kafka.records(kafka.topic("activity-results"), 30, PARTITIONS)) == 30
    assert len(kafka.records(kafka.topic("dead-letters"), 1)) == 1


@pytest.mark.parametrize(
    "limits",
    [
        {"_AHEAD_MAX": 10},
        {"_AHEAD_BYTES_MAX": 7_000},
        {"_AHEAD_MAX": 10, "_UNSENT_BYTES_MAX": 1_000},
    ],
    ids=["tasks", "bytes", "reports that no broker has"],
)
def test_a_queue_that_is_longer_than_is_read_ahead_pauses_and_goes_on(
    kafka: Adapters, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int]
) -> None:
    """Else a worker with few slots keeps all tasks of its queue in memory."""
    for name, value in limits.items():
        monkeypatch.setattr(queue, name, value)
    monkeypatch.setattr(queue, "_BATCH", 5)
    send_tasks(kafka, 200)

    async def test() -> None:
        async with worker(kafka, slots=5) as it:
            await soon(lambda: it.queue._paused, "it pauses")
            await asyncio.sleep(1.0)
            assert len(it.tasks) == 5 and len(it.queue._ahead) < 20
            it.ends_at_once = True
            for id in list(it.tasks):
                it.end(id)
            await soon(lambda: it.queue._tasks._landed == 200, "all tasks")
            assert it.most <= 5

    run(test)
