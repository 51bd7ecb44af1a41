"""A library changes nothing of the process that it is used in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = """
import asyncio, gc, json, os, sys
from contextlib import suppress

def seen():
    policies = set()
    if hasattr(os, "sched_getscheduler"):
        for thread in os.listdir("/proc/self/task"):
            with suppress(ProcessLookupError):
                policies.add(os.sched_getscheduler(int(thread)))
    return {
        "threshold": gc.get_threshold(),
        "enabled": gc.isenabled(),
        "frozen": gc.get_freeze_count() > 0,
        "policies": sorted(policies),
        "switch_s": sys.getswitchinterval(),
    }
"""

WORKER = """
from processor import Client, Worker, workflow

@workflow.define
async def hello() -> str:
    await workflow.sleep(0.01)
    return "hello"

async def main():
    before = seen()
    async with Worker(sys.argv[1], workflows=[hello]), Client(sys.argv[1]) as client:
        assert await client.run(hello, id="hello-1") == "hello"
        print(json.dumps([before, seen()]))

asyncio.run(main())
"""

PRODUCING = """
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.producing import Producing
from processor.kafka.shards.reading import InputReader

before = seen()
connection = KafkaSettings("127.0.0.1:1", "none", json.loads(sys.argv[1]))
producing = Producing(connection.producer(), connection.extra, "a test")
reader = InputReader(connection.consumer(), {}, 10)
print(json.dumps([before, seen()]))
reader.close()
producing.close(0)
"""


def told_by(program: str, *arguments: str) -> Any:
    ended = subprocess.run(
        [sys.executable, "-c", HERE + program, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ},
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def test_a_worker_in_somebodys_process_changes_nothing_of_it(tmp_path: Path) -> None:
    before, after = told_by(WORKER, f"embedded:{tmp_path / 'state'}")
    assert before == after


@pytest.mark.parametrize("extra", ["{}", '{"producer": "librdkafka"}'])
def test_clients_of_kafka_change_nothing_of_the_process(extra: str) -> None:
    before, after = told_by(PRODUCING, extra)
    assert before == after
