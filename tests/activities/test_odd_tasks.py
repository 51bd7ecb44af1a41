"""Mutated tasks on the topic of a queue: each ends, and takes nothing with it."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from random import Random
from typing import Any

from processor import activity
from processor.activities.executor import Executor
from processor.codec.inputs import decode_input, decode_task
from processor.codec.payloads import JsonPayloads
from processor.codec.records import encode
from processor.config import Settings
from processor.core.inputs import ActivityReport
from processor.core.records.effects import ActivityTask
from processor.errors import SchemaMismatch
from processor.injection.interceptors import Injected
from processor.kafka.queues.reports import encoded
from processor.registry import Registry
from tests.shard.fuzz import ODD_BYTES, ODD_NUMBERS, ODD_TEXT

from .test_executor import StoppedClock

TASKS = 2_000


@activity.define(name="looks")
async def looks(value: Any = None) -> Any:
    told = activity.info()
    repr(told)
    activity.heartbeat(told.task_token)
    return value


@activity.define(name="in a thread")
def in_a_thread(value: Any = None) -> Any:
    repr(activity.info())
    return value


def odd(dice: Random, number: int) -> ActivityTask:
    name = dice.choice(("looks", "in a thread"))
    names = ("w", f"r{number}", "order", 1, 1, name, b"[1]", "default")
    task = ActivityTask(*names, False, 0, 1_000, 1_000, None)
    for _ in range(dice.randrange(3)):
        field = dice.choice([each.name for each in fields(task) if each.name != "run_id"])
        values: dict[type, Any] = {bool: (True,), int: ODD_NUMBERS, bytes: ODD_BYTES}
        values |= {str: (*ODD_TEXT, "x" * 1_000_000), tuple: ((("h", b"1"),),)}
        values[type(None)] = ODD_NUMBERS
        value = dice.choice(values[type(getattr(task, field))])
        task = replace(task, **{field: value})
    return task


def test_each_odd_task_ends_and_takes_no_slot_with_it() -> None:
    dice, reports = Random(13), dict[str, list[ActivityReport]]()

    async def main() -> None:
        registry = Registry([], [looks, in_a_thread], Injected(JsonPayloads()))
        executor = Executor(registry, Settings(), "a worker", StoppedClock())
        free = executor.free
        for number in range(TASKS):
            try:
                task = decode_task(encode(odd(dice, number)))
            except SchemaMismatch:
                continue
            reports[task.run_id] = []
            executor.enqueue(task, reports[task.run_id].append)
            await asyncio.sleep(0)
        async with asyncio.timeout(60):
            while executor.running:
                await asyncio.sleep(0.05)
        assert executor.free == free
        await executor.drain(1)

    asyncio.run(main())
    assert TASKS / 3 < len(reports) < TASKS, "some are refused when they are read"
    for told in reports.values():
        assert [report.is_last for report in told].count(True) == 1
        for report in told:
            decode_input("results", None, encoded(report))
