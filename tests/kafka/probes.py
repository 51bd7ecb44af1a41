"""Small workflows for the broker tests."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from processor import ApplicationError, RetryPolicy, WorkflowNotFound, activity, workflow


@activity.define(retry=RetryPolicy(initial_interval=timedelta(milliseconds=50)))
async def double(value: int) -> int:
    return 2 * value


@workflow.define
async def queued_double(value: int) -> int:
    """The activity goes through its queue's topic, whoever owns the shard."""
    return await double.options(eager=False, start_to_close=10.0)(value)


@workflow.define
async def publishes(topic: str, count: int) -> int:
    for number in range(count):
        workflow.publish(topic, workflow.info().workflow_id, str(number).encode())
        await double(number)
    return count


@workflow.define
async def passes_on(to: str, value: int) -> None:
    workflow.signal(to, "passed", value)


TAKEN = 5
"""So many events each run of ``meters`` takes."""


@workflow.define
async def meters(count: int, so_far: list[int]) -> list[int]:
    for _ in range(TAKEN):
        so_far.append(await workflow.wait_for_event("told", int))
    if len(so_far) < count:
        workflow.continue_as_new(count, so_far)
    return so_far


@workflow.define
async def collects(count: int) -> list[int]:
    got = [await workflow.wait_for_event("passed", int) for _ in range(count)]
    return sorted(got)


@workflow.define
async def errand(number: int, topic: str, to: str) -> int:
    """A little of everything that leaves a shard."""
    doubled = await double(number)
    await asyncio.sleep(0.1)
    doubled = await double.options(eager=False, start_to_close=10.0)(doubled)
    workflow.publish(topic, workflow.info().workflow_id, str(doubled).encode())
    workflow.signal(to, "passed", number)
    await workflow.wait_for_event("go", bool)
    return doubled


@workflow.define
async def sleeps(first_s: float, then_s: float) -> list[float]:
    """Return what the run's clock (seconds since the epoch) said before and after each sleep."""
    times = [workflow.now().timestamp()]
    for seconds in (first_s, then_s):
        await asyncio.sleep(seconds)
        times.append(workflow.now().timestamp())
    return times


@workflow.define
async def tells(to: str, values: list[int]) -> list[str]:
    """Tell a collector some values, and somebody who is not there; return what came of each."""
    heard = []
    for value in values:
        await workflow.signal(to, "passed", value)
        heard.append("taken")
        try:
            await workflow.signal(f"nobody-{to}", "passed", value)
        except WorkflowNotFound:
            heard.append("nobody")
    return heard


@workflow.define(retry=RetryPolicy(timedelta(milliseconds=200), coefficient=1.0))
async def collects_in_the_end(fails: int, count: int) -> list[int]:
    """Fail some times, each time later than what arrives meanwhile."""
    if workflow.info().attempt <= fails:
        await asyncio.sleep(0.3)
        raise ApplicationError(f"attempt {workflow.info().attempt}")
    got = [await workflow.wait_for_event("passed", int) for _ in range(count)]
    return sorted(got)


@workflow.define
class Listens:
    """Takes signals in two ways, and tells what it has heard."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.doubled: list[int] = []

    @workflow.run
    async def run(self, count: int) -> list[list[int]]:
        await workflow.wait_until(lambda: len(self.heard) == len(self.doubled) == count)
        return [self.heard, sorted(self.doubled)]

    @workflow.signal
    def hear(self, value: int) -> None:
        self.heard.append(value)

    @workflow.signal
    async def twice(self, value: int) -> None:
        self.doubled.append(await double(value))

    @workflow.query
    def so_far(self) -> list[int]:
        return self.heard


@workflow.define
class Books:
    """Takes updates, each with an activity, and ends when it has booked so many."""

    def __init__(self) -> None:
        self.booked: list[int] = []

    @workflow.run
    async def run(self, count: int) -> list[int]:
        await workflow.wait_until(lambda: len(self.booked) == count)
        await workflow.wait_until(workflow.all_handlers_finished)
        return self.booked

    @workflow.update
    async def book(self, value: int) -> list[int]:
        if value % 2:
            await double(value)
        self.booked.append(value)
        workflow.set_value("last", value)
        return [value, len(self.booked)]

    @workflow.query
    def so_far(self) -> list[int]:
        return self.booked


@workflow.define
async def asks(to: str, values: list[int]) -> list[object]:
    """Ask another run for everything that it can be asked for."""
    books = workflow.handle(to, workflow=Books.run)
    end = asyncio.create_task(books.result())
    first = asyncio.create_task(books.value("last", result_type=int))
    told = [await books.update(Books.book, value) for value in values]
    seen = await books.query(Books.so_far)
    return [told, await first, seen, await end, await books.result(), await books.query("so_far")]


@activity.define
async def left_open(number: int) -> int:
    """Hand the token over by a heartbeat, and let somebody else say how the attempt ends."""
    activity.heartbeat(activity.info().task_token)
    raise activity.CompleteAsync


@workflow.define
async def waits_for_both(number: int) -> list[int]:
    near, far = left_open(number), left_open.options(eager=False)(number)
    return list(await asyncio.gather(near, far))


@workflow.define
async def doubles_late(value: int) -> int:
    await asyncio.sleep(0.2)
    return await double(value)


@workflow.define
async def third_time() -> int:
    await asyncio.sleep(0.1)
    if workflow.info().attempt < 3:
        raise ApplicationError("not yet")
    return workflow.info().attempt


@workflow.define
async def hears() -> str:
    return await workflow.wait_for_event("say", str)


@workflow.define
async def raises(count: int) -> list[object]:
    """A parent of many, of one that is tried again, of one that it tells something, of one left."""
    me = workflow.info().workflow_id
    await workflow.start_child(hears, id=f"{me}/left")
    told = await workflow.start_child(hears, id=f"{me}/told")
    retry = RetryPolicy(timedelta(milliseconds=200))
    again = asyncio.create_task(workflow.call_child(third_time, id=f"{me}/again", retry=retry))
    called = (workflow.call_child(doubles_late, n, id=f"{me}/{n}") for n in range(count))
    total = sum(await asyncio.gather(*called))
    await told.signal("say", "told")
    return [total, await again, await told]


@workflow.define
async def away(namespace: str, count: int) -> list[object]:
    """A parent of many in another namespace, and of one that it tells something."""
    me = workflow.info().workflow_id
    told = await workflow.start_child(hears, id=f"{me}/told", namespace=namespace)
    called = (
        workflow.call_child(doubles_late, n, id=f"{me}/{n}", namespace=namespace)
        for n in range(count)
    )
    total = sum(await asyncio.gather(*called))
    await told.signal("say", "told")
    return [total, await told]


@workflow.define
async def leaves(count: int) -> None:
    me = workflow.info().workflow_id
    for number in range(count):
        await workflow.start_child(hears, id=f"{me}/{number}")
    await workflow.wait_for_event("never")


@workflow.define
class Sums:
    """A parent of five children; between the first two and the others it takes one update."""

    def __init__(self) -> None:
        self.half: int | None = None
        self.added: list[int] = []

    @workflow.run
    async def run(self, number: int) -> int:
        self.half = await self._sum_of(range(number, number + 2))
        await workflow.wait_until(lambda: bool(self.added))
        await workflow.wait_until(workflow.all_handlers_finished)
        return self.half + sum(self.added) + await self._sum_of(range(number + 2, number + 5))

    @workflow.update
    async def add(self, number: int) -> list[int]:
        """Return what is added, the how manieth it is, and the sum of before."""
        await workflow.wait_until(lambda: self.half is not None)
        assert self.half is not None
        self.added.append(await double(number))
        return [self.added[-1], len(self.added), self.half]

    async def _sum_of(self, numbers: range) -> int:
        me = workflow.info().workflow_id
        called = (workflow.call_child(doubles_late, n, id=f"{me}/{n}") for n in numbers)
        return sum(await asyncio.gather(*called))


@workflow.define
async def counts_down(left: int) -> int:
    """Each run shows how many are left; each third one fails once."""
    workflow.set_value("left", left)
    await asyncio.sleep(0.2)
    if left % 3 == 0 and workflow.info().attempt == 1:
        raise ApplicationError("once more")
    if left > 0:
        workflow.continue_as_new(left - 1)
    return left


@workflow.define
async def adds_up() -> int:
    """For a cron string: each run adds one event to what the runs before came to."""
    before = workflow.info().last_result(int) or 0
    return before + await workflow.wait_for_event("add", int)


@workflow.define
async def waits_for_promises(count: int) -> list[str]:
    """Tell the ids of two promises, wait for them, and for as many events."""
    made = [workflow.promise(int) for _ in range(count)]
    workflow.set_value("ids", [each.id for each in made])
    told: list[str] = []
    for each in made:
        try:
            told.append(str(await each))
        except ApplicationError as error:
            told.append(f"{error.type}: {error.message}")
    return [*told, *[str(await workflow.wait_for_event("told", int)) for _ in range(count)]]


PROBES = [
    waits_for_promises,
    *(queued_double, publishes, passes_on, meters, collects, errand, sleeps),
    *(tells, collects_in_the_end, Listens, Books, asks, waits_for_both),
    *(doubles_late, third_time, hears, raises, leaves, away, Sums),
    *(counts_down, adds_up),
]
PROBE_ACTIVITIES = [double, left_open]
