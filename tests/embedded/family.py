"""Parents and children, and where they run: embedded, and in the test environment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ApplicationError,
    ChildFailed,
    Client,
    RetryPolicy,
    SchemaMismatch,
    Settings,
    Worker,
    WorkflowAlreadyStarted,
    activity,
    workflow,
)
from processor.testing import Environment


@dataclass
class Order:
    id: str
    amount: int = 1


@workflow.define
async def ship(order: Order) -> str:
    return f"shipped {order.id}"


@workflow.define
async def slow(seconds: float = 3_600) -> str:
    await workflow.sleep(seconds)
    return "slept"


@workflow.define
async def waits_for(name: str) -> Any:
    return await workflow.wait_for_event(name)


@workflow.define
async def cleans_up(seconds: float) -> str:
    try:
        await workflow.sleep(3_600)
    finally:
        workflow.set_status("cleaning")
        await workflow.sleep(seconds)
        workflow.set_status("clean")
    return "slept"


@workflow.define
async def stubborn() -> str:
    try:
        await workflow.sleep(3_600)
    except asyncio.CancelledError:
        return "went on"
    return "slept"


class Broken(Exception):
    pass


@workflow.define
async def breaks(how: str) -> None:
    if how == "application":
        raise ApplicationError("out of stock", type="Stock", details={"left": 0})
    if how == "activity":
        await fails()
    if how == "child":
        await workflow.call_child(breaks, "application", id="deep")
    raise Broken(how)


@activity.define(retry=RetryPolicy(maximum_attempts=1))
async def fails() -> None:
    raise ValueError("no")


TRIED: list[str] = []


@workflow.define
async def third_time(word: str) -> str:
    run = workflow.info()
    if run.attempt < 3:
        raise ApplicationError(f"attempt {run.attempt}")
    assert run.parent is not None and run.parent.workflow_id == "parent"
    return f"{word} {run.attempt}"


@workflow.define
class Basket:
    def __init__(self) -> None:
        self.items: list[str] = []
        self.closed = False

    @workflow.run
    async def run(self, owner: str) -> str:
        await workflow.wait_until(lambda: self.closed)
        return f"{owner}: {', '.join(self.items)}"

    @workflow.signal
    async def add(self, item: str, times: int) -> None:
        self.items += [item] * times

    @workflow.signal
    def close(self) -> None:
        self.closed = True


@workflow.define
async def whose(depth: int) -> list[tuple[str, str]]:
    """The ids of parent and root, from here down."""
    run = workflow.info()
    names = (
        (run.parent and run.parent.workflow_id) or "",
        (run.root and run.root.workflow_id) or "",
    )
    below = await workflow.call_child(whose, depth - 1, id=f"at-{depth - 1}") if depth else []
    return [names, *below]


async def _told(child: Coroutine[Any, Any, Any]) -> str:
    try:
        return str(await child)
    except ChildFailed as error:
        cause = error.__cause__
        said = f" <- {type(cause).__name__}: {cause}" if cause else ""
        return f"{error.kind} {error.workflow} {error.id} {bool(error.run_id)}: {error}{said}"
    except (WorkflowAlreadyStarted, SchemaMismatch) as error:
        return f"{type(error).__name__}: {error}"


@workflow.define
async def calls(what: str, id: str | None = None) -> str:
    call: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
        "ship": lambda: workflow.call_child(ship, Order("A"), id=id),
        "by name": lambda: workflow.call_child("ship", Order("B"), id=id, result_type=str),
        "wrong type": lambda: workflow.call_child("ship", Order("B"), id=id, result_type=int),
        "class": lambda: workflow.call_child(Basket.run, "Ada", id=id),
        "application": lambda: workflow.call_child(breaks, "application", id=id),
        "activity": lambda: workflow.call_child(breaks, "activity", id=id),
        "child": lambda: workflow.call_child(breaks, "child", id=id),
        "time-out": lambda: workflow.call_child(slow, id=id, execution_timeout=5),
        "slow": lambda: workflow.call_child(slow, id=id),
        "rejects": lambda: workflow.call_child(ship, Order("A"), id=id, reuse="reject"),
        "delay": lambda: workflow.call_child(ship, Order("A"), id=id, delay=timedelta(hours=1)),
        "retry": lambda: workflow.call_child(
            third_time, "time", id=id, retry=RetryPolicy(initial_interval=1), memo={"for": id}
        ),
        "nowhere": lambda: workflow.call_child("nowhere", 1, id=id),
    }
    return await _told(call[what]())


@workflow.define
async def starts(id: str) -> list[Any]:
    child = await workflow.start_child(Basket.run, "Ada", id=id)
    assert child.run_id is not None and child.id == id and not child.done()
    child.signal(Basket.add, "egg", 2)
    await child.signal("close")
    return [await child, await child, child.run_id]


@workflow.define
async def fans_out(count: int) -> int:
    return sum(await asyncio.gather(*(workflow.call_child(double, i) for i in range(count))))


@workflow.define
async def double(number: int) -> int:
    return 2 * number


@workflow.define
async def parent(child: str, parent_close: Any, then: str) -> str:
    await workflow.start_child(child, 3_600, id="child", parent_close=parent_close)
    if then == "complete":
        return "done"
    if then == "fail":
        raise ApplicationError("no")
    await workflow.wait_for_event("never")
    return "never"


@workflow.define
async def cancels(how: Any, child: str = "cleans_up") -> str:
    """Cancel what awaits a child, and say what that came to, and when."""
    args = (5,) if child == "cleans_up" else ()
    called = workflow.call_child(child, *args, id="child", cancellation=how)
    waits = asyncio.create_task(called)
    await workflow.sleep(1)
    waits.cancel("enough")
    began = workflow.now()
    try:
        told = str(await waits)
    except asyncio.CancelledError:
        told = "cancelled"
    return f"{told} after {(workflow.now() - began).total_seconds():.0f} s"


@workflow.define
async def times_out() -> str:
    try:
        async with asyncio.timeout(10):
            await workflow.call_child(cleans_up, 5, id="child")
    except TimeoutError:
        return "timed out"
    return "not"


@workflow.define
async def cancels_a_start() -> str:
    """The child has left, and its begin is waited for: it waits for its time, so it has begun."""
    task = asyncio.create_task(workflow.start_child("nowhere", id="child", cancellation="try"))
    await workflow.sleep(0.001)
    task.cancel()
    found = await asyncio.gather(task, return_exceptions=True)
    return type(found[0]).__name__


@workflow.define
async def passes_on() -> str:
    return await workflow.call_child(cleans_up, 5, id="child")


@workflow.define
async def grandparent(parent_close: Any) -> None:
    await workflow.call_child(parent, "slow", parent_close, "wait", id="parent")


@workflow.define
async def in_every_way() -> list[Any]:
    """What asyncio takes of its own tasks, it takes of children."""
    a, b, c, d = [await workflow.start_child(double, i, id=f"way-{i}") for i in range(4)]
    done, pending = await asyncio.wait([a, b])
    assert (len(done), len(pending)) == (2, 0)
    each = [await first for first in asyncio.as_completed([c, d])]
    e = await workflow.start_child(waits_for, "go", id="way-5")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(e), 1)
    assert not e.done()
    await e.signal("go", "went")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(workflow.call_child(double, 7))
    return [a.result() + b.result(), sorted(each), await asyncio.shield(e), task.result()]


@workflow.define
async def too_many() -> int:
    started = [await workflow.start_child(slow, 60) for _ in range(4)]
    return len(await asyncio.gather(*started))


@workflow.define
async def misuses(what: str) -> None:
    call_child: Any = workflow.call_child
    call: dict[str, Callable[[], Any]] = {
        "option": lambda: call_child(ship, Order("A"), unknown=1),
        "close": lambda: call_child(slow, parent_close="kill"),
        "arguments": lambda: call_child(slow, 1, 2),
        "activity": lambda: call_child(fails),
        "class": lambda: call_child(Basket, "Ada"),
        "both": lambda: call_child(slow, delay=1, at=workflow.now()),
        "cron": lambda: call_child(slow, cron="@daily"),  # type: ignore[call-overload]
        "no cron": lambda: workflow.start_child(slow, cron="often"),
        "cron and delay": lambda: workflow.start_child(slow, cron="@daily", delay=1),
        "id": lambda: call_child(slow, id=""),
        "reuse": lambda: call_child(slow, reuse="use-existing"),
        "result": lambda: call_child(slow, result_type=str),
    }
    await call[what]()


@workflow.define
async def passes_event(count: int) -> list[int]:
    called = (workflow.call_child(waits_for, "go", id=f"waits-{i}") for i in range(count))
    return list(await asyncio.gather(*called))


ALL = [ship, slow, waits_for, cleans_up, stubborn, breaks, third_time, Basket, whose, calls, starts]
ALL += [fans_out, double, parent, cancels, times_out, cancels_a_start, passes_on]
ALL += [grandparent, in_every_way, too_many, misuses, passes_event]


@asynccontextmanager
async def simulated(cached: int | None, **settings: Any) -> AsyncIterator[Environment]:
    given = Settings(**settings)
    async with Environment(ALL, [fails], max_cached_runs=cached, settings=given) as env:
        yield env


@asynccontextmanager
async def embedded(path: Path, cached: int | None = None) -> AsyncIterator[Client]:
    server = f"embedded:{path}"
    how = {"workflows": ALL, "activities": [fails], "max_cached_runs": cached}
    async with Worker(server, **how) as _, Client(server) as client:  # type: ignore[arg-type]
        yield client


CACHED = pytest.mark.parametrize("cached", [0, None], ids=["replayed", "live"])


async def types_of(client: Client, id: str) -> list[str]:
    return [event.type for event in await client.handle(id).history()]
