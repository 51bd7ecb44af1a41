"""How fast views are made of a log of many runs, how fast they answer, how far behind they are.

A log is filled with short runs, written by the codec: a start and an end each. Processes of
``processor views run`` make rows of it (``--processes``); then lists and counts are asked. At last
chains run on a broker, while one process feeds their rows. The rate is from the first record that
is in a row until all are.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from benchmarks.where import broker_of, emit, options, scratch
from processor.bench.hosts import delete_namespace, on_kafka
from processor.bench.loops import Load
from processor.codec.records import encode
from processor.core.nouns.run import WorkflowCompleted, WorkflowStarted
from processor.core.records.turn import Claim, Positions, Turn, claim_key
from processor.kafka.clients.connection import KafkaSettings, partition_of
from processor.kafka.topics.upkeep import apply, connect, plan
from processor.kafka.view import log_ends
from processor.views.language import parsed
from processor.views.rows import read_rows
from processor.views.search import RunSearch

ASKED = 50
"""How often each question is asked."""

FEED_S = 600.0
LIST = "status = 'running' ORDER BY started DESC"
COUNT = "GROUP BY status"
OPEN_EVERY = 10
"""Of so many runs, one is still open."""


def fill(connection: KafkaSettings, runs: int, partitions: int) -> int:
    """Write the log of short runs; return how many records that are. Blocks."""
    producer = Producer(connection.producer({"linger.ms": 5}))

    def put(partition: int, key: bytes, value: bytes) -> None:
        while True:
            try:
                producer.produce(connection.events, value, key, partition)
                return
            except BufferError:
                producer.poll(0.1)

    for partition in range(partitions):
        put(partition, claim_key("bench"), encode(Claim("bench", "bench", 1, 0)))
    count = partitions
    for number in range(runs):
        id, run = f"order-{number}", f"run-{number:012}"
        turns: list[Any] = [WorkflowStarted(f"order{number % 5}", b"[]", bytes(16))]
        if number % OPEN_EVERY:
            turns.append(WorkflowCompleted(b"1"))
        for first, event in enumerate(turns):
            at = 1_700_000_000_000 + number * 10 + first
            what = id, run, 0, first, at, "commands", Positions(), 0, None, (event,)
            put(partition_of(id, partitions), f"{run}/{first}".encode(), encode(Turn(*what)))
        count += len(turns)
    producer.flush(FEED_S)
    return count


@contextmanager
def fed(server: str, namespace: str, folders: Sequence[Path]) -> Iterator[list[int]]:
    """Run a process for each folder, and yield their ids; they end with it."""
    started = []
    try:
        for folder in folders:
            command = [sys.executable, "-m", "processor", "views", "run", "--server", server]
            told = ["--namespace", namespace, "--views-dir", str(folder)]
            started.append(subprocess.Popen([*command, *told], stderr=subprocess.DEVNULL))
        yield [each.pid for each in started]
    finally:
        for each in started:
            each.send_signal(signal.SIGTERM)
        for each in started:
            each.wait(60)


def positions(namespace: str, folders: Sequence[Path]) -> dict[int, int]:
    """Return how far the rows of each partition are."""
    found: dict[int, int] = {}
    for folder in folders:
        if (folder / namespace).exists():
            for rows in read_rows(folder / namespace):
                with closing(rows):
                    found[rows.partition] = max(found.get(rows.partition, 0), rows.position)
    return found


def rebuilt(connection: KafkaSettings, folders: Sequence[Path], count: int) -> dict[str, Any]:
    """Measure how fast all is in rows. Blocks."""
    begun, end = 0.0, time.monotonic() + FEED_S
    with fed(connection.servers, connection.namespace, folders) as processes:
        while True:
            done = sum(positions(connection.namespace, folders).values())
            now = time.monotonic()
            if done and not begun:
                begun, already = now, done
            if done >= count:
                break
            if now > end:
                raise TimeoutError(f"{done} of {count} records are in rows after {FEED_S:.0f} s")
            time.sleep(0.05)
        memory = max(resident(process) for process in processes)
    seconds = now - begun
    return {
        "records": count,
        "rebuild_s": round(seconds, 1),
        "records_per_s": round((count - already) / seconds),
        "rss_mb": round(memory / 1e6),
    }


def resident(process: int) -> int:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def asked(namespace: str, folders: Sequence[Path]) -> dict[str, Any]:
    """Measure how fast rows answer, all partitions together. Blocks."""
    found: dict[str, Any] = {}
    with ExitStack() as opened:
        parts = [
            opened.enter_context(closing(rows))
            for folder in folders
            for rows in read_rows(folder / namespace)
        ]
        newest = {rows.partition: rows for rows in sorted(parts, key=lambda rows: rows.position)}
        for name, text, limit in (("list", LIST, 50), ("count", COUNT, None)):
            search = RunSearch(parsed(text, 0, "bench"), "bench", limit, None)
            taken = []
            for _ in range(ASKED):
                begun = time.perf_counter()
                search.of(*newest.values())
                taken.append((time.perf_counter() - begun) * 1000)
            found[f"{name}_p50_ms"] = round(statistics.median(taken), 2)
            found[f"{name}_max_ms"] = round(max(taken), 2)
    return found


async def behind(server: str, folder: Path, chains: int, partitions: int) -> dict[str, Any]:
    """Measure how far rows are behind while chains run."""
    async with on_kafka(server, folder, partitions=partitions) as host:
        connection, folders = KafkaSettings(server, host.namespace), [folder / "flood"]
        admin = connect(server)

        def lag() -> int:
            ends = log_ends(admin, connection, range(partitions))
            there = positions(host.namespace, folders)
            return sum(end - there.get(partition, 0) for partition, end in ends.items())

        with fed(server, host.namespace, folders):
            while len(await asyncio.to_thread(positions, host.namespace, folders)) < partitions:
                await asyncio.sleep(0.1)
            load = Load(chains, 1, f"flood-{uuid.uuid4().hex[:8]}")
            begun, seen = time.monotonic(), [0]
            flood = asyncio.create_task(host.flood(host.client, load, host.meter()))
            while not flood.done():
                seen.append(await asyncio.to_thread(lag))
                await asyncio.sleep(0.2)
            await flood
            flooded = time.monotonic()
            while await asyncio.to_thread(lag):
                await asyncio.sleep(0.05)
            return {
                "flood_chains": chains,
                "flood_s": round(flooded - begun, 1),
                "lag_max": max(seen),
                "caught_up_s": round(time.monotonic() - flooded, 1),
            }


async def run(given: argparse.Namespace) -> dict[str, Any]:
    with scratch() as folder:
        async with broker_of(given) as (server, _):
            connection = KafkaSettings(server, f"bench-{uuid.uuid4().hex[:12]}")
            admin = connect(server)
            apply(admin, plan(admin, connection.namespace, given.partitions, 1))
            begun = time.monotonic()
            count = await asyncio.to_thread(fill, connection, given.n, given.partitions)
            result: dict[str, Any] = {"runs": given.n, "fill_s": round(time.monotonic() - begun, 1)}
            folders = [folder / f"views-{number}" for number in range(given.processes)]
            result |= await asyncio.to_thread(rebuilt, connection, folders, count)
            result |= await asyncio.to_thread(asked, connection.namespace, folders)
            await asyncio.to_thread(delete_namespace, server, connection.namespace)
            if given.chains:
                result |= await behind(server, folder, given.chains, given.partitions)
    return result


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--n", type=int, default=1_000_000, help="runs in the log")
    parser.add_argument("--processes", type=int, default=2, help="that feed views")
    parser.add_argument("--chains", type=int, default=2_000, help="that run at last; 0: none")
    given = parser.parse_args()
    emit(given, "views", **asyncio.run(run(given)))


if __name__ == "__main__":
    main()
