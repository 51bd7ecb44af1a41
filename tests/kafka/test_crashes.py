"""kill -9 of a worker at named points and at random, and how long its shards are away."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from processor import Client
from tests.kafka.crash_points import POINTS, message
from tests.kafka.evidence import record
from tests.kafka.load import Load, make_published_topic, prove
from tests.kafka.probes import queued_double
from tests.kafka.processes import WorkerProcess, at_work
from tests.kafka.talking import ask, first_answer

DEPTHS = [int(depth) for depth in os.environ.get("CRASH_DEPTHS", "7").split(",")]
"""At which call of a point the process dies; more of them (``1,2,20,100``) take longer."""

AT_START = ("claim queued", "claimed, not folded", "folded, no input read")
"""Reached a few times while a worker starts, once a shard."""

REACHED_S = 60.0

RESTARTED_MAX_S = 4.0
"""Below the session time-out, which is what a worker that is new to the group would wait for."""

MOVED_MAX_S = 10.0
"""The session time-out, a takeover, and queued steps on top; the target, when quiet, is 8 s."""

Workers = tuple[WorkerProcess, WorkerProcess]


def depth_of(point: str, depth: int) -> int:
    return 1 + depth % 4 if point in AT_START else depth


@pytest.mark.timeout(240 + 20 * len(DEPTHS) * len(POINTS))
def test_killed_at_every_named_point(
    kafka_servers: str, made: str, admin: AdminClient, tmp_path: Path
) -> None:
    """One worker under load dies at each point in turn, and is started again each time."""
    make_published_topic(admin, made)
    worker = WorkerProcess(kafka_servers, made, tmp_path, 0)
    deaths = [(point, depth_of(point, depth)) for depth in DEPTHS for point in POINTS]

    async def talk(client: Client) -> None:
        load = Load(client, made)
        async with load.running():
            for point, depth in deaths:
                if point == "in the middle of a fold":
                    shutil.rmtree(worker.state_dir)
                begun = time.monotonic()
                worker.start(f"--crash={point}:{depth}")
                code = await asyncio.to_thread(worker.ended, REACHED_S)
                assert code == -signal.SIGKILL, worker.log[-2_000:]
                assert message(point) in worker.log
                print(f"died after {time.monotonic() - begun:.1f} s: {message(point)}")
            worker.start()
            await load.rounds_more(load.width)
        proof = await prove(kafka_servers, load)
        assert proof.claims >= len(deaths)
        record("kill -9 at a named point", "; ".join(POINTS), len(deaths), proof)

    try:
        ask(kafka_servers, made, talk, 200 + 20 * len(deaths))
    finally:
        worker.end()


def test_takeover_times(kafka_servers: str, made: str, workers: Workers) -> None:
    """How long it takes after a kill -9 until steps on every shard and queue are done again.

    A busy machine may be slow to start a process: the least of up to three times counts.
    """

    async def outage(client: Client, act: Callable[[], None]) -> float:
        begun = time.monotonic()
        act()
        await asyncio.gather(*(client.run(queued_double, number) for number in range(16)))
        return time.monotonic() - begun

    def restart() -> None:
        workers[0].kill()
        workers[0].start()

    async def talk(client: Client) -> tuple[float, float]:
        await at_work(*workers)
        print(f"undisturbed: {await outage(client, lambda: None):.2f} s")
        restarted_s = math.inf
        for _ in range(3):
            restarted_s = min(restarted_s, await outage(client, restart))
            await first_answer(client)
            if restarted_s <= RESTARTED_MAX_S:
                break
        return restarted_s, await outage(client, workers[1].kill)

    restarted_s, moved_s = ask(kafka_servers, made, talk)
    held = "a step on every shard and through the queue was done again"
    record("takeover, restarted at once", "kill -9 and start of a worker", 1, held, [restarted_s])
    record("takeover by another process", "kill -9 of one of two workers", 1, held, [moved_s])
    assert restarted_s <= RESTARTED_MAX_S
    assert moved_s <= MOVED_MAX_S
