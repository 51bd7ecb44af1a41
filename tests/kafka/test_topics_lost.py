"""Topics deleted, made again or truncated behind our back: an error that says so, never a reset."""

from __future__ import annotations

import asyncio
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from examples.orders import order_processing
from processor import Client, ShardUnavailable
from processor.kafka.clients.connection import partition_of
from processor.kafka.topics.upkeep import apply, plan, read_topics
from tests.kafka.conftest import PARTITIONS
from tests.kafka.evidence import Evidence
from tests.kafka.harness import delete_below, set_config, until
from tests.kafka.probes import queued_double
from tests.kafka.processes import WorkerProcess
from tests.kafka.talking import ask, consumed, quick
from tests.orders import DONE

pytestmark = pytest.mark.timeout(300)

INPUTS = ("commands", "activity-results", "timers")
LOST = 2
"""The partition that something happens to."""

OTHERS = tuple(partition for partition in range(PARTITIONS) if partition != LOST)


class Scene:
    """A namespace with one worker, and what is done to its topics."""

    def __init__(self, servers: str, admin: AdminClient, folder: Path, topic: str) -> None:
        self.servers, self.admin = servers, admin
        self.lost_topic = topic
        self.namespace = f"test-{uuid.uuid4().hex[:12]}"
        self.make_topics()
        folder.mkdir()
        self.worker = WorkerProcess(servers, self.namespace, folder, 0)
        self._numbers = iter(range(1_000_000))

    def topic(self, name: str) -> str:
        return f"{self.namespace}.{name}"

    def make_topics(self) -> None:
        apply(self.admin, plan(self.admin, self.namespace, PARTITIONS, 1))

    def new_id(self, partition: int) -> str:
        ids = (f"w-{number}" for number in self._numbers)
        return next(id for id in ids if partition_of(id, PARTITIONS) == partition)

    def work(self, partitions: Sequence[int] = range(PARTITIONS), rounds: int = 1) -> int:
        """Run orders, and activities through the queue, on shards; return how many ended."""
        ids = [self.new_id(partition) for partition in partitions for _ in range(2 * rounds)]

        async def talk(client: Client) -> None:
            await asyncio.gather(
                *(client.run(order_processing, quick(1), id=id) for id in ids[::2]),
                *(client.run(queued_double, 1, id=id) for id in ids[1::2]),
            )

        ask(self.servers, self.namespace, talk)
        return len(ids)

    def is_silent(self) -> None:
        """Check that the lost shard carries nothing out."""

        async def talk(client: Client) -> None:
            with pytest.raises(ShardUnavailable):
                id = self.new_id(LOST)
                await client.start(order_processing, quick(1), id=id, timeout=1)

        ask(self.servers, self.namespace, talk)

    def fill(self, count: int) -> int:
        """Produce records that nobody has read; return the end of the partition."""
        producer = Producer({"bootstrap.servers": self.servers})
        topic = self.topic(self.lost_topic)
        for _ in range(count):
            producer.produce(topic, b"\0nothing", b"key", LOST)
        assert producer.flush(10) == 0
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "looks"})
        end = consumer.get_watermark_offsets(TopicPartition(topic, LOST))[1]
        consumer.close()
        return int(end)

    def truncate(self, end: int) -> None:
        delete_below(self.admin, self.topic(self.lost_topic), LOST, end)

    def delete(self, *names: str) -> None:
        topics = [self.topic(name) for name in names or (self.lost_topic,)]
        for future in self.admin.delete_topics(topics, operation_timeout=10).values():
            future.result()
        until(lambda: not read_topics(self.admin, topics), "the deletion")

    def said(self, *words: str) -> str:
        """Wait until a line of the worker's log has all the words, and return it."""
        lines: list[str] = []

        def is_there() -> bool:
            log = self.worker.log.splitlines()
            lines.extend(line for line in log if all(word in line for word in words))
            return bool(lines)

        until(is_there, f"{words} in {self.worker.log_path}", 60.0)
        return lines[0]

    def ends(self) -> None:
        """Wait until the worker ends by itself, with an error."""
        assert self.worker.ended(60.0) == 1
        assert "Traceback" in self.worker.log  # the test's worker does not catch what run() raises


@pytest.fixture
def scenes(
    kafka_servers: str, admin: AdminClient, tmp_path: Path
) -> Iterator[Callable[..., list[Scene]]]:
    """Makes scenes, one for each topic; their workers run."""
    made: list[Scene] = []

    def make(*topics: str) -> list[Scene]:
        new = [Scene(kafka_servers, admin, tmp_path / topic, topic) for topic in topics]
        made.extend(new)
        for scene in new:
            scene.worker.start()
        return new

    yield make
    for scene in made:
        scene.worker.end()


def test_inputs_truncated(scenes: Callable[..., list[Scene]], evidence: Evidence) -> None:
    """Records deleted before they were read: that shard stops, naming offsets; the others go on.

    First while the worker runs (paused, so that it has not read them), then while it is down.
    """
    done = 0
    made = scenes(*INPUTS)
    for scene in made:
        done += scene.work()
        scene.worker.signal(signal.SIGSTOP)
        end = scene.fill(20_000)  # more than it has fetched
        scene.truncate(end - 1)
        scene.worker.signal(signal.SIGCONT)
        place = f"{scene.topic(scene.lost_topic)}[{LOST}]"
        scene.said("is stopped", place, "reads offset", f"holds offsets {end - 1} to {end}")
        done += scene.work(OTHERS)
        scene.is_silent()
        scene.worker.kill()
    for scene in made:
        scene.worker.start()
        place = f"{scene.topic(scene.lost_topic)}[{LOST}]"
        line = scene.said("is stopped", place, "the shard has read it up to offset")
        assert "were deleted before they were read" in line
        done += scene.work(OTHERS)
        scene.is_silent()
    evidence.note(
        "an input truncated past what its shard had read, running and down",
        2 * len(made),
        "the shard stops, both offsets named; the other shards go on",
        succeeded=done,
        asked=done,
    )


def test_topics_made_again(scenes: Callable[..., list[Scene]], evidence: Evidence) -> None:
    """Deleted and made again, and filled past the old offsets: found by the topic's id.

    While the worker runs, while it is down, and while it is down and loses its disk as well.
    """
    done = 0
    made = scenes("events", *INPUTS)
    for scene in made:
        done += scene.work()
        scene.delete()
        scene.make_topics()
        if scene.lost_topic != "events":
            scene.fill(500)
    for lose_disk in (False, True):
        for scene in made:
            scene.ends()
            if lose_disk:
                shutil.rmtree(scene.worker.state_dir)
            scene.worker.start()
        for scene in made:
            scene.said(f"{scene.topic(scene.lost_topic)} was deleted and made again")
    for scene in made:
        scene.ends()
        holder = "the offset of group"
        scene.said("is stopped", f"{scene.lost_topic} was deleted and made again: {holder}")
    evidence.note(
        "the log or an input deleted, made again and filled: running, down, with the disk lost",
        3 * len(made),
        "the worker ends, both topic ids named; nothing is read again or skipped",
        succeeded=done,
        asked=done,
    )


def test_topics_deleted(scenes: Callable[..., list[Scene]], evidence: Evidence) -> None:
    """The log or an input deleted while the worker runs: it ends, and does not start again."""
    done = 0
    made = scenes("events", *INPUTS)
    for scene in made:
        done += scene.work()
        scene.delete()
    for scene in made:
        scene.ends()
        scene.said(scene.topic(scene.lost_topic), "does not exist")
        scene.worker.start()
    for scene in made:
        scene.ends()
        scene.said(f"{scene.topic(scene.lost_topic)}: the topic is missing")
    evidence.note(
        "the log or an input deleted while the worker runs",
        len(made),
        "the worker ends and names the topic; it does not start without it",
        succeeded=done,
        asked=done,
    )


def test_the_log_truncated(
    scenes: Callable[..., list[Scene]], admin: AdminClient, evidence: Evidence
) -> None:
    """Kafka refuses it for a compacted topic; where somebody changed that, no state is invented."""
    (scene,) = scenes("events")
    done = scene.work(rounds=3)
    set_config(admin, scene.topic("events"), "cleanup.policy", "delete")
    scene.truncate(20)
    done += scene.work()
    scene.worker.kill()
    set_config(admin, scene.topic("events"), "cleanup.policy", "compact")
    scene.worker.start()
    done += scene.work()
    scene.worker.kill()
    shutil.rmtree(scene.worker.state_dir)
    scene.worker.start()
    scene.said(f"shard {LOST}", "at log offset 0", "[20,")
    done += scene.work(OTHERS)
    scene.is_silent()
    evidence.note(
        "the log truncated, with the state directory and without",
        2,
        "the state directory goes on; without it the shard stops, both offsets named",
        succeeded=done,
        asked=done,
    )


def test_other_topics_deleted(scenes: Callable[..., list[Scene]], evidence: Evidence) -> None:
    """``results``, ``dead-letters``, a queue, ``replies``: what needs them waits, and goes on."""
    (scene,) = scenes("results")
    done = scene.work()
    scene.delete("results", "dead-letters", "activities.default")
    scene.lost_topic = "commands"
    scene.fill(1)  # a poison command
    with ThreadPoolExecutor() as threads:
        working = threads.submit(scene.work, OTHERS, 3)
        for name in ("dead-letters", "activities.default"):
            line = scene.said(f"sending to {scene.topic(name)} failed")
            assert "`processor topics apply" in line
        scene.said("publishing failed", f"{scene.topic('results')} or a topic of", "is missing")
        scene.make_topics()
        done += working.result()
    done += scene.work(rounds=3)
    letters = consumed(scene.servers, scene.topic("dead-letters"), 1)
    assert len(letters) == 1, "intake waited for the letter"
    ended = done
    assert len(consumed(scene.servers, scene.topic("results"), ended - 8)) >= ended - 8

    async def waits(client: Client) -> None:
        handle = await client.start(order_processing, quick(1, follow_up_s=2.0), id="waits")
        scene.delete("replies")
        scene.make_topics()
        assert await handle.result(120) == DONE

    ask(scene.servers, scene.namespace, waits)
    evidence.note(
        "results, dead-letters, a queue and replies deleted under load, and made again",
        4,
        "each is named with the command that makes it; what needs it waits and goes on",
        succeeded=done + 1,
        asked=done + 1,
    )
