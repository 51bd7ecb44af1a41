"""Fan-out and fan-in: count the words of many texts at once, a few at a time.

processor run count_words '["to be or", "not to be"]' -s embedded:./state -m examples.fan_out
"""

import asyncio
from collections import Counter
from datetime import timedelta

from processor import RetryPolicy, activity, workflow


@activity.define(
    start_to_close=timedelta(seconds=30),
    retry=RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=5),
)
async def count_one(text: str) -> dict[str, int]:
    return dict(Counter(text.split()))


@workflow.define
async def count_words(texts: list[str], at_once: int = 100) -> dict[str, int]:
    slots = asyncio.Semaphore(at_once)

    async def bounded(text: str) -> dict[str, int]:
        async with slots:
            return await count_one(text)

    async with asyncio.TaskGroup() as group:
        counting = [group.create_task(bounded(text)) for text in texts]
    total: Counter[str] = Counter()
    for task in counting:
        total.update(task.result())
    return dict(sorted(total.items()))
