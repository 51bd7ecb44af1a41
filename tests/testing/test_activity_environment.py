"""One activity runs outside of a workflow, and sees what it sees in a worker."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from processor import InvalidArgument, SchemaMismatch, activity
from processor.testing import ActivityEnvironment


@dataclass
class Progress:
    done: int


@activity.define(name="the-import")
async def imports(rows: int) -> int:
    before = activity.heartbeat_details(Progress) or Progress(0)
    for number in range(before.done, rows):
        await asyncio.sleep(0)
        activity.heartbeat(Progress(number + 1))
    return rows - before.done


@activity.define
def imports_plainly(rows: int, pause_s: float = 0.0) -> int:
    progress = Progress(0)
    while progress.done < rows and not activity.is_cancelled():
        progress.done += 1
        activity.heartbeat(progress)
        time.sleep(pause_s)
    return progress.done


class Payments:
    def __init__(self, currency: str) -> None:
        self.currency = currency

    @activity.define
    async def charge(self, amount: int) -> str:
        return f"{amount} {self.currency}"

    @activity.define
    def refund(self, amount: int) -> str:
        return f"-{amount} {self.currency}"


def run(function: Any, *args: Any, env: ActivityEnvironment | None = None, **kwargs: Any) -> Any:
    async def main() -> Any:
        async with asyncio.timeout(30):
            return await (env or ActivityEnvironment()).run(function, *args, **kwargs)

    return asyncio.run(main())


def test_both_kinds_of_functions_return_and_their_heartbeats_are_there() -> None:
    env = ActivityEnvironment()
    assert run(imports, 3, env=env) == 3
    assert env.heartbeats == [Progress(1), Progress(2), Progress(3)]
    told: list[Any] = []
    env = ActivityEnvironment(on_heartbeat=lambda details: told.append(details.done))
    assert run(imports_plainly, 2, pause_s=0.0, env=env) == 2
    assert env.heartbeats == [Progress(1), Progress(2)], "each as it was given"
    assert told == [1, 2]


def test_an_earlier_attempt_left_details() -> None:
    env = ActivityEnvironment(heartbeat_details=Progress(8), attempt=2)
    assert run(imports, 10, env=env) == 2
    assert env.heartbeats == [Progress(9), Progress(10)]


def test_methods_and_functions_that_are_no_activity_yet() -> None:
    payments = Payments("EUR")
    assert run(payments.charge, 12) == "12 EUR"
    assert run(payments.refund, 12) == "-12 EUR"
    assert run(lambda number: number * 2, 21) == 42
    with pytest.raises(InvalidArgument, match=r"run\(instance\.charge, \.\.\.\)"):
        run(Payments.charge, 12)
    with pytest.raises(InvalidArgument, match="no activity and no function"):
        run("charge")


@pytest.mark.parametrize("is_async", [True, False])
def test_the_attempt_is_what_the_test_says(is_async: bool) -> None:
    @activity.define(name="asks")
    async def asks() -> activity.ActivityInfo:
        return activity.info()

    @activity.define(name="asks")
    def asks_plainly() -> activity.ActivityInfo:
        return activity.info()

    deadline = datetime(2030, 1, 1, tzinfo=UTC)
    env = ActivityEnvironment(
        attempt=3, workflow_id="order-7", deadline=deadline, headers={"trace": b"1"}
    )
    info = run(asks if is_async else asks_plainly, env=env)
    assert (info.name, info.attempt, info.workflow_id) == ("asks", 3, "order-7")
    assert (info.deadline, info.headers) == (deadline, {"trace": b"1"})
    assert info.idempotency_key == "test-run/1"
    with pytest.raises(RuntimeError, match="outside of a running activity"):
        activity.info()


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError("mine")]
)
def test_errors_come_out_as_raised(error: BaseException) -> None:
    async def fails() -> None:
        raise error

    def fails_plainly() -> None:
        raise error

    async def main(function: Any) -> None:
        with pytest.raises(type(error)) as raised:
            await ActivityEnvironment().run(function)
        assert raised.value is error

    asyncio.run(main(fails))
    asyncio.run(main(fails_plainly))


def test_a_plain_function_that_raises_stop_iteration_does_not_hang() -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        run(lambda: next(iter(())))


def test_what_cannot_be_sent_is_refused() -> None:
    async def beats() -> None:
        activity.heartbeat(threading.Lock())

    with pytest.raises(SchemaMismatch):
        run(beats)


def test_cancelling_an_async_function_raises_at_its_await() -> None:
    seen: list[Any] = []

    async def cleans_up() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError as error:
            seen.append((str(error), activity.is_cancelled()))
            raise

    async def shrugs() -> str:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return "done anyway"
        return ""

    async def main() -> None:
        for function in (cleans_up, shrugs):
            env = ActivityEnvironment()
            running = asyncio.ensure_future(env.run(function))
            await asyncio.sleep(0.01)
            env.cancel()
            if function is shrugs:
                assert await running == "done anyway"
            else:
                with pytest.raises(asyncio.CancelledError):
                    await running

    asyncio.run(main())
    assert seen == [("the activity was cancelled", True)]


def test_cancelling_reaches_a_plain_function_and_does_not_interrupt_it() -> None:
    env = ActivityEnvironment(on_heartbeat=lambda progress: progress.done == 3 and env.cancel())
    assert run(imports_plainly, 100, pause_s=0.01, env=env) == 3
    before = ActivityEnvironment()
    before.cancel()
    assert run(imports_plainly, 100, env=before) == 0
    with pytest.raises(asyncio.CancelledError):
        run(imports, 100, env=before)


def test_who_waits_may_be_cancelled_and_the_function_hears_of_it() -> None:
    ended = threading.Event()

    def waits() -> None:
        while not activity.is_cancelled():
            time.sleep(0.005)
        ended.set()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await ActivityEnvironment().run(waits)

    asyncio.run(main())
    assert ended.wait(5)


def test_what_is_no_attempt_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="ActivityEnvironment: attempt"):
        ActivityEnvironment(attempt=0)
    with pytest.raises(InvalidArgument, match="ActivityEnvironment: workflow_id"):
        ActivityEnvironment(workflow_id="")
    with pytest.raises(SchemaMismatch):
        ActivityEnvironment(heartbeat_details=threading.Lock())
