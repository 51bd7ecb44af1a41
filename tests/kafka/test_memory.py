"""What a worker works off is not kept: memory is bounded by bytes, not by the garbage collector."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from processor.codec.records import encode
from processor.core.inputs import ClientCommand
from processor.core.nouns.start import StartRun
from processor.kafka.clients.connection import partition_of
from tests.kafka.conftest import PARTITIONS
from tests.kafka.harness import until
from tests.kafka.processes import WorkerProcess

LARGE, COUNT = 1_900_000, 300
Commands = Callable[[], Iterator[tuple[bytes, bytes]]]
linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it says how much")


def peak_mb(worker: WorkerProcess) -> int:
    """Return how much memory a process has had at the most."""
    assert worker._process is not None, "started before"
    status = Path(f"/proc/{worker._process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def junk() -> Iterator[tuple[bytes, bytes]]:
    while True:
        yield b"k", os.urandom(LARGE)


def refused() -> Iterator[tuple[bytes, bytes]]:
    """Yield starts of a workflow that nobody has: they can be read, and are written twice."""
    for number in count():
        id = f"order-{number}"
        if partition_of(id, PARTITIONS) == 0:
            yield id.encode(), encode(ClientCommand(id, StartRun("nothing", os.urandom(LARGE))))


@linux
@pytest.mark.parametrize(
    ("commands", "most_mb"), [(junk, 350), (refused, 600)], ids=["junk", "refused"]
)
def test_large_commands_that_are_buried_take_no_more_memory_than_is_in_flight(
    kafka_servers: str, made: str, tmp_path: Path, commands: Commands, most_mb: int
) -> None:
    """All of them are 570 MB, or 1,140 as commands and letters; without them it has about 65."""
    producer = Producer(
        {
            "bootstrap.servers": kafka_servers,
            "message.max.bytes": 2_000_000,
            "queue.buffering.max.kbytes": 20_000,
        }
    )
    for key, value in islice(commands(), COUNT):
        while True:
            try:
                producer.produce(f"{made}.commands", value, key, 0)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(60) == 0
    worker = WorkerProcess(kafka_servers, made, tmp_path, 0)
    letters = Consumer({"bootstrap.servers": kafka_servers, "group.id": "looks"})

    def buried() -> bool:
        time.sleep(0.2)
        place = TopicPartition(f"{made}.dead-letters", 0)
        return bool(letters.get_watermark_offsets(place, 10)[1] >= COUNT)

    try:
        worker.start()
        until(buried, "all of them", 120.0)
        assert peak_mb(worker) < most_mb
    finally:
        worker.end()
        letters.close()
