"""Cadence: cadence-samples, cmd/samples. Theirs are written in Go."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from processor import (
    ActivityTimedOut,
    ApplicationError,
    Client,
    RetryPolicy,
    WorkflowFailed,
    WorkflowNotFound,
    activity,
    workflow,
)
from processor.testing import Environment

# --- recipes/mutex


@workflow.define
class Mutex:
    """Lends itself to one run at a time, in the order of the requests."""

    def __init__(self, unlock_after: timedelta) -> None:
        self.waiting: list[str] = []
        self.holder: str | None = None

    @workflow.run
    async def run(self, unlock_after: timedelta) -> int:
        lent = 0
        while self.waiting:
            self.holder = self.waiting.pop(0)
            try:
                await workflow.signal(self.holder, "locked")
                lent += 1
                await workflow.wait_until(lambda: self.holder is None, timeout=unlock_after)
            except (WorkflowNotFound, TimeoutError):
                continue
        return lent

    @workflow.signal
    def lock(self, who: str) -> None:
        self.waiting.append(who)

    @workflow.signal
    def unlock(self, who: str) -> None:
        if self.holder == who:
            self.holder = None


class Locks:
    def __init__(self) -> None:
        self.client: Client | None = None

    @activity.define
    async def ask(self, resource: str, who: str) -> str:
        assert self.client is not None
        handle = await self.client.signal_with_start(
            Mutex.run, timedelta(minutes=10), id=f"mutex:{resource}", signal=(Mutex.lock, who)
        )
        return handle.id


@activity.define
async def critical_section(resource: str) -> None:
    assert INSIDE.get(resource, 0) == 0
    INSIDE[resource] = 1
    await asyncio.sleep(10)
    INSIDE[resource] = 0


INSIDE: dict[str, int] = {}


@workflow.define
async def uses_mutex(resource: str) -> str:
    me = workflow.info().workflow_id
    mutex = await Locks.ask(resource, me)
    await workflow.wait_for_event("locked")
    try:
        await critical_section(resource)
    finally:
        await workflow.signal(mutex, Mutex.unlock, me)
    return "done"


def test_mutex() -> None:
    """recipes/mutex: 60 lines, theirs 230. A run is a lock, which others start by asking for it."""

    async def main() -> None:
        locks = Locks()
        async with Environment([Mutex, uses_mutex], [locks.ask, critical_section]) as env:
            locks.client = env
            users = [await env.start(uses_mutex, "printer", id=f"user-{n}") for n in range(4)]
            assert [await user.result() for user in users] == ["done"] * 4
            assert await env.handle("mutex:printer", workflow=Mutex.run).result() == 4

    asyncio.run(main())


# --- recipes/pickfirst


@activity.define(heartbeat=5, cancellation="wait")
async def works_in(branch: int, seconds: int) -> str:
    try:
        for _ in range(seconds):
            await asyncio.sleep(1)
            activity.heartbeat()
    except asyncio.CancelledError:
        STOPPED.append(branch)
        raise
    return f"branch {branch}"


STOPPED: list[int] = []


@workflow.define
async def picks_first() -> str:
    branches = [asyncio.create_task(works_in(n, seconds)) for n, seconds in enumerate([20, 2])]
    done, others = await asyncio.wait(branches, return_when=asyncio.FIRST_COMPLETED)
    for other in others:
        other.cancel()
    await asyncio.wait(others)
    return done.pop().result()


def test_pickfirst() -> None:
    """recipes/pickfirst: 25 lines, theirs 95. The first activity wins; the other one is stopped."""

    async def main() -> None:
        async with Environment([picks_first], [works_in]) as env:
            assert await env.run(picks_first) == "branch 1"
            assert STOPPED == [0]

    asyncio.run(main())


# --- recipes/choice


@activity.define
async def basket() -> list[Literal["apple", "banana", "cherry"]]:
    return ["banana", "cherry", "banana"]


@activity.define
async def buy(fruit: str) -> str:
    return f"bought {fruit}"


@workflow.define
async def buys_all() -> list[str]:
    return await asyncio.gather(*(buy(fruit) for fruit in sorted(set(await basket()))))


def test_choice() -> None:
    """recipes/choice: 14 lines, theirs 188. What one activity says decides what follows."""

    async def main() -> None:
        async with Environment([buys_all], [basket, buy]) as env:
            assert await env.run(buys_all) == ["bought banana", "bought cherry"]

    asyncio.run(main())


# --- recipes/splitmerge


@dataclass
class Chunk:
    number: int
    sum: int


@activity.define
async def counts(chunk: int) -> Chunk:
    await asyncio.sleep(10 - chunk)
    return Chunk(chunk, chunk * chunk)


@workflow.define
async def splits(chunks: int) -> Chunk:
    total = Chunk(0, 0)
    for each in asyncio.as_completed([counts(n) for n in range(chunks)]):
        chunk = await each
        total = Chunk(total.number + 1, total.sum + chunk.sum)
    return total


def test_splitmerge() -> None:
    """recipes/splitmerge: 20 lines, theirs 96. Chunks are merged as they come."""

    async def main() -> None:
        async with Environment([splits], [counts], max_cached_runs=0) as env:
            assert await env.run(splits, 5) == Chunk(5, 30)

    asyncio.run(main())


# --- recipes/dynamic


@activity.define(name="main.greeting")
async def greeting() -> str:
    return "Hello"


@activity.define(name="main.name")
async def name_of(number: int) -> str:
    return f"World {number}"


@workflow.define
async def calls_by_name(number: int) -> str:
    hello = await workflow.call_activity("main.greeting", result_type=str)
    return f"{hello}, {await workflow.call_activity('main.name', number, result_type=str)}"


def test_dynamic() -> None:
    """recipes/dynamic: 15 lines, theirs 94. Workflow and activities are called by their names."""

    async def main() -> None:
        async with Environment([calls_by_name], [greeting, name_of]) as env:
            assert await env.run("calls_by_name", 7) == "Hello, World 7"

    asyncio.run(main())


# --- recipes/signalcounter


@workflow.define
class SignalCounter:
    def __init__(self, total: int) -> None:
        self.total, self.taken = total, 0

    @workflow.run
    async def run(self, total: int) -> int:
        await workflow.wait_until(lambda: self.taken >= 5 or self.total >= 100)
        if self.total < 100:
            workflow.continue_as_new(self.total)
        return self.total

    @workflow.signal
    def add(self, number: int) -> None:
        self.total += number
        self.taken += 1


def test_signalcounter() -> None:
    """recipes/signalcounter: 22 lines, theirs 92. No signal is lost between two runs."""

    async def main() -> None:
        async with Environment([SignalCounter]) as env:
            handle = await env.start(SignalCounter.run, 0)
            for number in range(1, 15):
                await handle.signal(SignalCounter.add, number)
            assert await handle.result() == 105

    asyncio.run(main())


# --- recipes/timer


@activity.define
async def processes_order(seconds: int) -> str:
    await asyncio.sleep(seconds)
    return "processed"


@activity.define
async def sends_mail() -> None:
    SENT.append("your order takes longer than usual")


SENT: list[str] = []


@workflow.define
async def tells_of_delays(seconds: int) -> str:
    async with asyncio.TaskGroup() as group:
        order = group.create_task(processes_order(seconds))
        done, _ = await asyncio.wait([order], timeout=30)
        if not done:
            await sends_mail()
    return order.result()


@pytest.mark.parametrize(("seconds", "mails"), [(10, 0), (50, 1)])
def test_timer(seconds: int, mails: int) -> None:
    """recipes/timer: 24 lines, theirs 93. A mail is sent if an activity takes long."""

    async def main() -> None:
        SENT.clear()
        async with Environment([tells_of_delays], [processes_order, sends_mail]) as env:
            assert await env.run(tells_of_delays, seconds) == "processed"
            assert len(SENT) == mails

    asyncio.run(main())


# --- recipes/sideeffect


@workflow.define
class DrawsOnce:
    def __init__(self) -> None:
        self.drawn = 0

    @workflow.run
    async def run(self) -> int:
        self.drawn = workflow.side_effect(lambda: next(DRAWS))
        await workflow.wait_for_event("go")
        return self.drawn

    @workflow.query
    def value(self) -> int:
        return self.drawn


DRAWS = iter(range(100, 200))


def test_sideeffect() -> None:
    """recipes/sideeffect: 21 lines, theirs 69. What code computes once stays so at each replay."""

    async def main() -> None:
        async with Environment([DrawsOnce], max_cached_runs=0) as env:
            handle = await env.start(DrawsOnce.run)
            assert [await handle.query(DrawsOnce.value) for _ in range(3)] == [100] * 3
            await handle.signal("go")
            assert await handle.result() == 100

    asyncio.run(main())


# --- recipes/delaystart


@workflow.define
async def begins_late() -> datetime:
    return workflow.now()


def test_delaystart() -> None:
    """recipes/delaystart: 9 lines, theirs 103. A run begins an hour after its start."""

    async def main() -> None:
        async with Environment([begins_late], start=datetime(2030, 1, 1, tzinfo=UTC)) as env:
            begins = await env.run(begins_late, delay=timedelta(hours=1))
            assert begins == datetime(2030, 1, 1, 1, tzinfo=UTC)

    asyncio.run(main())


# --- recipes/retryactivity


@activity.define(
    start_to_close=600,
    heartbeat=10,
    retry=RetryPolicy(maximum_attempts=5, non_retryable=["BadBatch"]),
)
async def processes_tasks(first: int, count: int) -> int:
    begin = activity.heartbeat_details(int) or first
    for task in range(begin, first + count):
        await asyncio.sleep(1)
        activity.heartbeat(task + 1)
        DONE.append(task)
        if len(DONE) % 3 == 0 and task + 1 < first + count:
            raise RuntimeError("some retryable error")
    return len(DONE)


DONE: list[int] = []


@workflow.define
async def processes_tasks_at_last() -> int:
    return await processes_tasks(0, 8)


def test_retryactivity() -> None:
    """recipes/retryactivity: 24 lines, theirs 98. A retry goes on where the heartbeats were."""

    async def main() -> None:
        async with Environment([processes_tasks_at_last], [processes_tasks]) as env:
            assert await env.run(processes_tasks_at_last) == 8
            assert len(set(DONE)) == 8

    asyncio.run(main())


# --- expense

EXPENSES: dict[str, str] = {}


@activity.define(retry=RetryPolicy(maximum_attempts=3))
async def create_expense(id: str) -> None:
    EXPENSES[id] = "created"


@activity.define(schedule_to_close=timedelta(minutes=10))
async def wait_for_decision(id: str) -> str:
    EXPENSES[id] = activity.info().task_token
    raise activity.CompleteAsync


@activity.define
async def pay(id: str) -> None:
    EXPENSES[id] = "paid"


@workflow.define
async def expense(id: str) -> str:
    await create_expense(id)
    try:
        decision = await wait_for_decision(id)
    except ActivityTimedOut:
        raise ApplicationError("nobody has decided") from None
    if decision != "approved":
        return decision
    await pay(id)
    return "paid"


def test_expense() -> None:
    """expense: 34 lines, theirs 311. A person approves what an activity waits for, or does not."""

    async def main() -> None:
        async with Environment([expense], [create_expense, wait_for_decision, pay]) as env:
            handles = {id: await env.start(expense, id) for id in ("a", "b", "c")}
            await env.sleep(1)
            await env.complete(EXPENSES["a"], "approved")
            await env.complete(EXPENSES["b"], "rejected")
            assert await handles["a"].result() == "paid" == EXPENSES["a"]
            assert await handles["b"].result() == "rejected"
            with pytest.raises(WorkflowFailed, match="nobody has decided"):
                await handles["c"].result()

    asyncio.run(main())


# --- fileprocessing


class Machine:
    def __init__(self, name: str) -> None:
        self.name = name
        self.files: dict[str, str] = {}

    @activity.define
    async def fetch(self, file: str) -> tuple[str, str]:
        self.files[file] = "text"
        return self.name, file

    @activity.define(schedule_to_start=timedelta(minutes=1))
    async def process(self, file: str) -> str:
        return self.files[file].upper()


@workflow.define(retry=RetryPolicy(maximum_attempts=5))
async def file_session(file: str) -> str:
    host, path = await Machine.fetch(file)
    return await Machine.process.options(queue=host)(path)


def test_fileprocessing() -> None:
    """fileprocessing: 21 lines, theirs 219. What follows runs where the file is, or all over."""

    async def main() -> None:
        machine = Machine("machine-7")
        async with Environment([file_session], [machine.fetch, machine.process]) as env:
            assert await env.run(file_session, "a.txt") == "TEXT"

    asyncio.run(main())
