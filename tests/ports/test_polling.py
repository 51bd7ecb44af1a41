"""Temporal: samples-python, polling/ and sleeping."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import ParamSpec, TypeVar

from processor import (
    ActivityError,
    RetryPolicy,
    activity,
    workflow,
)
from processor.testing import Environment

P = ParamSpec("P")
R = TypeVar("R")

# --- polling/frequent


class Flaky:
    """A service that answers at the fifth time."""

    def __init__(self) -> None:
        self.asked = 0

    async def get(self, name: str) -> str:
        self.asked += 1
        if self.asked < 5:
            raise ConnectionError("the service is down")
        return f"Hello, {name}!"


class Polls:
    def __init__(self, service: Flaky) -> None:
        self.service = service

    @activity.define(start_to_close=60, heartbeat=2)
    async def often(self, name: str) -> str:
        while True:
            try:
                return await self.service.get(name)
            except ConnectionError:
                activity.heartbeat("asked")
                await asyncio.sleep(1)

    @activity.define(start_to_close=4, retry=RetryPolicy(initial_interval=60, coefficient=1))
    async def seldom(self, name: str) -> str:
        return await self.service.get(name)

    @activity.define(start_to_close=4, retry=RetryPolicy(maximum_attempts=1))
    async def once(self, name: str) -> str:
        return await self.service.get(name)


@workflow.define
async def polls_often(name: str) -> str:
    return await Polls.often(name)


def test_polling_frequent() -> None:
    """polling/frequent: 34 lines, theirs 67. The activity loops, and says that it is alive."""

    async def main() -> None:
        polls = Polls(Flaky())
        async with Environment([polls_often], [polls.often]) as env:
            assert await env.run(polls_often, "World") == "Hello, World!"

    asyncio.run(main())


# --- polling/infrequent


@workflow.define
async def polls_seldom(name: str) -> str:
    return await Polls.seldom(name)


def test_polling_infrequent() -> None:
    """polling/infrequent: 13 lines, theirs 59. Retries are the poll, and leave no history."""

    async def main() -> None:
        polls = Polls(Flaky())
        async with Environment([polls_seldom], [polls.seldom]) as env:
            begun = env.now()
            handle = await env.start(polls_seldom, "World")
            assert await handle.result() == "Hello, World!"
            assert env.now() - begun == timedelta(minutes=4)
            assert (await handle.describe()).events < 6

    asyncio.run(main())


# --- polling/periodic_sequence


@workflow.define
async def polls_in_turns(name: str) -> str:
    for _ in range(3):
        try:
            return await Polls.once(name)
        except ActivityError:
            await asyncio.sleep(1)
    return workflow.continue_as_new(name)


@workflow.define
async def has_polls(name: str) -> str:
    return await workflow.call_child(polls_in_turns, name)


def test_polling_periodic_sequence() -> None:
    """polling/periodic_sequence: 17 lines, theirs 75. A child polls, and goes on anew."""

    async def main() -> None:
        polls = Polls(Flaky())
        async with Environment([has_polls, polls_in_turns], [polls.once]) as env:
            assert await env.run(has_polls, "World") == "Hello, World!"

    asyncio.run(main())


# --- sleep_for_days


@activity.define
async def send_mail(text: str) -> None:
    MAILS.append(text)


MAILS: list[str] = []


@workflow.define
class SleepsForDays:
    def __init__(self) -> None:
        self.complete = False

    @workflow.run
    async def run(self) -> str:
        while not self.complete:
            await send_mail("30 days later")
            try:
                await workflow.wait_until(lambda: self.complete, timeout=timedelta(days=30))
            except TimeoutError:
                continue
        return "done"

    @workflow.signal
    def finish(self) -> None:
        self.complete = True


def test_sleep_for_days() -> None:
    """sleep_for_days: 29 lines, theirs 84. A loop of 30 days, and a signal that ends it."""

    async def main() -> None:
        async with Environment([SleepsForDays], [send_mail]) as env:
            handle = await env.start(SleepsForDays.run)
            await env.sleep(timedelta(days=95))
            await handle.signal(SleepsForDays.finish)
            assert await handle.result() == "done"
            assert len(MAILS) == 4

    asyncio.run(main())
