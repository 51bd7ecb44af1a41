"""Every primitive of asyncio, run in random orders, and replayed to the same commands."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from processor import activity, workflow
from processor.workflow import Workflow
from tests.workflow.driver import World


@activity.define
async def double(number: int) -> int:
    raise NotImplementedError


@activity.define
async def note(text: str) -> None: ...


ANSWERS = {"double": lambda number: 2 * number, "note": lambda text: None}


@workflow.define
async def sleeps() -> list[str]:
    begun = workflow.now()
    await asyncio.sleep(10)
    await asyncio.sleep(0)
    await workflow.sleep(timedelta(minutes=1))
    await workflow.timer(begun + timedelta(hours=1))
    return [str(workflow.now() - begun)]


@workflow.define
async def gathers() -> list[int]:
    results = await asyncio.gather(*(double(n) for n in range(6)), asyncio.sleep(3, 100))
    return list(results)


@workflow.define
async def gathers_in_sets() -> list[int]:
    both = {asyncio.gather(double(n), double(n + 1)) for n in range(0, 12, 2)}
    done, _ = await asyncio.wait(both)
    for each in done:
        await note(str(each.result()))
    return sorted(n for each in done for n in each.result())


@workflow.define
async def waits_for_first() -> int:
    tasks = {asyncio.create_task(double(n)) for n in range(8)}
    rounds = 0
    while tasks:
        done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            await note(str(each.result()))
        rounds += 1
    return 0


@workflow.define
async def waits_with_timeout() -> list[int]:
    tasks = [asyncio.create_task(asyncio.sleep(n, n)) for n in range(1, 9)]
    done, pending = await asyncio.wait(tasks, timeout=4.5)
    for each in pending:
        each.cancel()
    for each in done:
        await note(each.get_name())
    return sorted(each.result() for each in done)


@workflow.define
async def waits_for() -> list[str]:
    found = []
    for seconds in (1, 5):
        try:
            found.append(await asyncio.wait_for(asyncio.sleep(3, "slept"), seconds))
        except TimeoutError:
            found.append("late")
    return found


@workflow.define
async def as_they_complete() -> list[int]:
    found = []
    for each in asyncio.as_completed([double(n) for n in range(20)]):
        found.append(await each)
        await note(str(found[-1]))
    return sorted(found)


@workflow.define
async def as_they_complete_in_time() -> int:
    count = 0
    try:
        for each in asyncio.as_completed([asyncio.sleep(n, n) for n in range(9)], timeout=3.5):
            await each
            count += 1
    except TimeoutError:
        await note("late")
    return count


@workflow.define
async def groups() -> int:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(double(n)) for n in range(5)]
        group.create_task(asyncio.sleep(2))
    return sum(task.result() for task in tasks)


@workflow.define
async def group_fails() -> list[str]:
    async def refuse() -> None:
        await asyncio.sleep(1)
        raise ValueError("no")

    ended = []

    async def cleans_up(n: int) -> None:
        try:
            await double(n)
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            await note(f"cancelled {n}")
            ended.append(f"cancelled {n}")
            raise

    try:
        async with asyncio.TaskGroup() as group:
            for n in range(5):
                group.create_task(cleans_up(n))
            group.create_task(refuse())
    except* ValueError as failed:
        ended.append(str(failed.exceptions[0]))
    return sorted(ended)


@workflow.define
async def timeouts() -> list[str]:
    found = []
    try:
        async with asyncio.timeout(5):
            await asyncio.sleep(100)
    except TimeoutError:
        found.append("timeout")
    try:
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + 5):
            await double(1)
            await asyncio.sleep(100)
    except TimeoutError:
        found.append("timeout_at")
    async with asyncio.timeout(50) as limit:
        limit.reschedule(asyncio.get_running_loop().time() + 60)
        await asyncio.sleep(55)
    return found


@workflow.define
async def events_and_conditions() -> list[int]:
    event, condition, found = asyncio.Event(), asyncio.Condition(), []

    async def waiter(n: int) -> None:
        await event.wait()
        found.append(await double(n))
        async with condition:
            condition.notify_all()

    tasks = [asyncio.create_task(waiter(n)) for n in range(4)]
    await asyncio.sleep(1)
    event.set()
    async with condition:
        await condition.wait_for(lambda: len(found) == 4)
    await asyncio.gather(*tasks)
    return sorted(found)


@workflow.define
async def queues() -> list[int]:
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)
    found: list[int] = []

    async def worker() -> None:
        while True:
            found.append(await double(await queue.get()))
            queue.task_done()

    workers = [asyncio.create_task(worker()) for _ in range(3)]
    for n in range(9):
        await queue.put(n)
    await queue.join()
    for each in workers:
        each.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    return sorted(found)


@workflow.define
async def locks() -> int:
    lock, semaphore, busy, most = asyncio.Lock(), asyncio.Semaphore(2), 0, 0

    async def one(n: int) -> None:
        nonlocal busy, most
        async with semaphore:
            busy += 1
            most = max(most, busy)
            async with lock:
                await double(n)
            busy -= 1

    await asyncio.gather(*(one(n) for n in range(6)))
    return most


@workflow.define
async def barriers() -> list[str]:
    barrier, order = asyncio.Barrier(3), []

    async def one(n: int) -> None:
        await double(n)
        await barrier.wait()
        order.append(str(n))
        await note(str(n))

    await asyncio.gather(*(one(n) for n in range(3)))
    return sorted(order)


@workflow.define
async def shields() -> list[Any]:
    inner = asyncio.create_task(double(21))
    try:
        await asyncio.wait_for(asyncio.shield(inner), 0.001)
    except TimeoutError:
        await note("shielded")
    return [await inner]


@workflow.define
async def generators() -> list[int]:
    closed = []

    async def numbers() -> AsyncIterator[int]:
        try:
            for n in range(10):
                yield await double(n)
        finally:
            await note("closed")
            closed.append(1)

    found = []
    async for n in numbers():
        found.append(n)
        if len(found) == 3:
            break
    await workflow.wait_until(lambda: bool(closed))
    return found + closed


marker: contextvars.ContextVar[int] = contextvars.ContextVar("marker", default=0)


@workflow.define
async def contexts() -> list[int]:
    marker.set(marker.get() + 1)

    async def one(n: int) -> int:
        marker.set(marker.get() + n)
        await double(n)
        return marker.get()

    return [*await asyncio.gather(*(one(n) for n in range(3))), marker.get()]


@workflow.define
async def callbacks() -> list[str]:
    loop = asyncio.get_running_loop()
    seen: list[str] = []
    loop.call_soon(seen.append, "soon")
    loop.call_later(2, seen.append, "later")
    loop.call_at(loop.time() + 1, seen.append, "at")
    loop.call_later(0, seen.append, "now")
    loop.call_later(1, seen.append, "never").cancel()
    late = loop.call_later(5, seen.append, "never")
    await asyncio.sleep(3)
    late.cancel()
    future = loop.create_future()
    future.add_done_callback(lambda done: seen.append(str(done.result())))
    loop.call_later(1, future.set_result, 7)
    await future
    await asyncio.sleep(0)
    return seen


@workflow.define
async def runs_verbs() -> list[Any]:
    ready: list[int] = []

    async def fill() -> None:
        for n in range(3):
            ready.append(await double(n))

    task = asyncio.create_task(fill())
    await workflow.wait_until(lambda: len(ready) == 3)
    await task
    random = workflow.random().random()
    asked = workflow.side_effect(lambda: [1, 2, 3], list[int])
    workflow.publish("records", "key", {"random": random})
    workflow.set_status(str(workflow.uuid4()))
    workflow.signal("other", "hello", 1)
    await note(f"{random} {asked} {workflow.info().started}")
    return sorted(ready)


CASES: list[tuple[Workflow[..., Any], Any]] = [
    (sleeps, ["1:00:00"]),
    (gathers, [0, 2, 4, 6, 8, 10, 100]),
    (gathers_in_sets, [2 * n for n in range(12)]),
    (waits_for_first, 0),
    (waits_with_timeout, [1, 2, 3, 4]),
    (waits_for, ["late", "slept"]),
    (as_they_complete, [2 * n for n in range(20)]),
    (as_they_complete_in_time, 4),
    (groups, 20),
    (group_fails, [*(f"cancelled {n}" for n in range(5)), "no"]),
    (timeouts, ["timeout", "timeout_at"]),
    (events_and_conditions, [0, 2, 4, 6]),
    (queues, [2 * n for n in range(9)]),
    (locks, 2),
    (barriers, ["0", "1", "2"]),
    (shields, [42]),
    (generators, [0, 2, 4, 1]),
    (contexts, [1, 2, 3, 1]),
    (callbacks, ["soon", "now", "at", "later", "7"]),
    (runs_verbs, [0, 2, 4]),
]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("defined", "expected"), CASES, ids=lambda c: getattr(c, "name", ""))
def test_it_works_and_replays(defined: Workflow[..., Any], expected: Any, seed: int) -> None:
    world = World(defined, answers=ANSWERS)
    assert world.run(seed) == expected
    assert not world.activities
    world.replay()


def test_it_runs_within_a_callback_of_a_host_loop() -> None:
    async def host() -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        worlds = [World(defined, answers=ANSWERS) for defined, _ in CASES]
        results: list[Any] = []

        def step() -> None:
            for world in worlds:
                results.append(world.run(1))
                assert asyncio.get_running_loop() is loop
                world.replay()
            ended.set()

        loop.call_soon(step)
        await ended.wait()
        assert results == [expected for _, expected in CASES]

    asyncio.run(host())


def test_as_completed_stays_as_it_was_elsewhere() -> None:
    async def host() -> list[int]:
        return [await each for each in asyncio.as_completed([asyncio.sleep(0, n) for n in (1, 1)])]

    World(sleeps).runner.close()
    assert asyncio.run(host()) == [1, 1]
    with pytest.raises(TypeError):
        asyncio.run(asyncio.wait_for(host_of_one(), 1))


async def host_of_one() -> None:
    one = asyncio.sleep(0)
    try:
        list(asyncio.as_completed(one))  # type: ignore[arg-type]
    finally:
        one.close()


def test_sets_of_tasks_iterate_alike_in_every_process() -> None:
    order = []

    @workflow.define
    async def sets() -> int:
        tasks = {asyncio.create_task(asyncio.sleep(0), name=str(n)) for n in range(50)}
        order.append([task.get_name() for task in tasks])
        return len(tasks)

    for _ in range(3):
        assert World(sets).run() == 50
    assert order[0] == order[1] == order[2]


def test_as_completed_starts_coroutines_in_their_order() -> None:
    """asyncio's own puts them into a set, which goes by address."""

    @workflow.define
    async def many() -> list[str]:
        calls = [double(n) for n in range(30)]
        return [str(await each) for each in asyncio.as_completed(calls)]

    asked = World(many).start()
    assert [getattr(command, "arguments", b"") for command in asked] == [
        b"[%d]" % n for n in range(30)
    ]
