"""Plain operations run without a task, and keep every promise that those with one keep."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from processor import UpdateFailed, activity, entity, workflow
from processor.injection.interceptors import Interceptor, WorkflowRun
from processor.testing import Environment
from processor.workflow._engine import watchdog

BEGUN: list[str] = []


async def _begins() -> None:
    BEGUN.append("a task of an operation that has returned")


@activity.define
async def work() -> str:
    return "done"


@entity.define
class Meter:
    reading: int = 0

    def leaves_tasks(self) -> int:
        loop = asyncio.get_running_loop()
        loop.create_task(_begins())  # noqa: RUF006  # nobody waits for it
        loop.call_soon(BEGUN.append, "a callback")
        loop.call_later(60, BEGUN.append, "a timer")
        self.reading += 1
        return self.reading

    def clocks(self) -> list[float]:
        return [time.time(), time.time(), workflow.now().timestamp()]

    def draws(self) -> str:
        return str(workflow.uuid4())

    def waits(self) -> Any:
        return work()

    def cancels_itself(self) -> None:
        raise asyncio.CancelledError("nobody asked")

    def reaches_out(self) -> None:
        self.reading = 99
        threading.Thread(target=print).start()

    def never_ends(self) -> None:
        self.reading = 99
        while True:
            pass

    def exits(self) -> None:
        raise SystemExit(3)

    def stops(self) -> None:
        raise StopIteration("no more")

    @entity.read
    def read(self) -> int:
        return self.reading


def test_what_a_plain_operation_leaves_never_begins() -> None:
    async def main() -> None:
        async with Environment([], [work], entities=[Meter]) as env:
            meter = env.entity(Meter, "a")
            assert await meter.call(Meter.leaves_tasks) == 1
            assert await meter.call(Meter.leaves_tasks) == 2
            await env.sleep(120)
        assert BEGUN == []

    asyncio.run(main())


def test_a_plain_operation_sees_the_time_of_its_turn_and_its_own_random_numbers() -> None:
    async def main() -> None:
        async with Environment([], entities=[Meter]) as env:
            meter = env.entity(Meter, "a")
            assert len(set(await meter.call(Meter.clocks))) == 1
            drawn = [await meter.call(Meter.draws) for _ in range(3)]
            assert len(set(drawn)) == 3

    asyncio.run(main())


def test_a_plain_operation_cannot_wait() -> None:
    async def main() -> None:
        async with Environment([], [work], entities=[Meter]) as env:
            meter = env.entity(Meter, "a")
            with pytest.raises(UpdateFailed) as caught:
                await meter.call(Meter.waits)
            assert "no await to wait for that" in str(caught.value.__cause__)
            with pytest.raises(UpdateFailed) as caught:
                await meter.call(Meter.stops)
            assert "no more" in str(caught.value.__cause__)
            assert await meter.call(Meter.leaves_tasks) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("operation", "kind", "says"),
    [
        (Meter.cancels_itself, "bug", "cancelled, but nobody asked for that"),
        (Meter.reaches_out, "nondeterminism", "Replay cannot repeat it"),
        (Meter.never_ends, "never_ends", "did not give control back"),
        (Meter.exits, "bug", "SystemExit"),
    ],
    ids=["cancels-itself", "reaches-out", "never-ends", "exits"],
)
def test_code_that_cannot_go_on_parks_and_changes_nothing(
    operation: Any, kind: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        monkeypatch.setattr(watchdog, "INTERRUPT_S", 0.2)
        monkeypatch.setattr(watchdog, "LOOK_EVERY_S", 0.02)
        async with Environment([], entities=[Meter]) as env:
            meter = env.entity(Meter, "a")
            assert await meter.call(Meter.leaves_tasks) == 1
            await meter.signal(operation)
            parked = (await meter.describe()).parked
            assert parked is not None and parked["kind"] == kind and says in parked["error"], parked
            state = await meter.state()
            assert state is not None and state.reading == 1

    asyncio.run(main())


def test_interceptors_are_around_plain_operations() -> None:
    seen: list[str] = []

    class Tells(Interceptor):
        async def run_workflow(self, run: WorkflowRun, next: Any) -> Any:
            seen.append("before")
            try:
                return await next(run)
            finally:
                seen.append("after")

    async def main() -> None:
        async with Environment([], entities=[Meter], interceptors=[Tells()]) as env:
            assert await env.entity(Meter, "a").call(Meter.leaves_tasks) == 1

    asyncio.run(main())
    assert seen == ["before", "after"]
