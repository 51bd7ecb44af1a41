"""Activities that clients run without a workflow."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ActivityFailed,
    ActivityTimedOut,
    ApplicationError,
    Client,
    InvalidArgument,
    RetryPolicy,
    SchemaMismatch,
    Status,
    Worker,
    WorkflowAlreadyStarted,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowParked,
    activity,
    sync,
    workflow,
)
from processor.testing import ActivityNotRegistered, Environment

ran: list[Any] = []


@dataclass
class Order:
    id: str
    amount: int = 1


@activity.define
def charge(order: Order, times: int = 1) -> Order:
    ran.append(order.id)
    return Order(f"{order.id} is paid", order.amount * times)


@activity.define(retry=RetryPolicy(initial_interval=timedelta(hours=1)))
async def flaky(until: int) -> int:
    if activity.info().attempt < until:
        raise ApplicationError("not yet", type="Early", details=[1])
    return activity.info().attempt


def mark(folder: str, name: str, text: str = "") -> None:
    Path(folder, name).write_text(text)


@activity.define
async def waits(marks: str) -> None:
    mark(marks, "began", activity.info().workflow)
    try:
        await asyncio.sleep(3600)
    finally:
        mark(marks, "ended")


class Shop:
    @activity.define
    async def greet(self, name: str = "you") -> str:
        return f"hello {name}"


@pytest.fixture
def activities() -> list[Any]:
    ran.clear()
    return [charge, flaky, waits, Shop().greet]


def test_it_is_run_typed_and_named_in_all_ways(activities: list[Any]) -> None:
    async def main() -> None:
        async with Environment([], activities) as env:
            assert await env.run_activity(charge, Order("a", 2), 3) == Order("a is paid", 6)
            assert await env.run_activity(Shop.greet, "Ada") == "hello Ada"
            assert await env.run_activity("greet") == "hello you"
            paid = await env.run_activity("charge", {"id": "b"}, result_type=Order)
            assert paid == Order("b is paid")
            handle = await env.start_activity(flaky, 3, id="f", memo="why", delay=60)
            assert await handle.result() == 3
            told = await handle.describe()
            assert (told.workflow, told.memo) == ("processor.activity:flaky", "why")
            assert told.events == 5, "attempts leave no history"
            assert env.now().hour == 3
            found = [each.workflow_id async for each in env.list(workflow=told.workflow)]
            assert found == ["f"]
            how = {"maximum_attempts": 1, "non_retryable": ["Early"]}
            assert await env.run("processor.activity:greet", {}, "Bob") == "hello Bob"
            with pytest.raises(WorkflowFailed, match="not yet"):
                await env.run("processor.activity:flaky", how, 2)
            with pytest.raises(WorkflowParked, match="'attempts'"):
                await env.run("processor.activity:flaky", {"attempts": 1}, 2)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("greet", {"start_to_close_ms": -5}, "start_to_close_ms"),
        ("greet", {"start_to_close_ms": "5"}, "start_to_close_ms: give a whole number, not '5'"),
        ("greet", {"heartbeat_ms": 2**70}, "heartbeat_ms"),
        ("greet", {"initial_interval_ms": None}, "initial_interval_ms: give a whole number"),
        ("greet", {"maximum_attempts": 0}, "maximum_attempts"),
        ("greet", {"maximum_attempts": True}, "maximum_attempts: give a whole number, not True"),
        ("greet", {"coefficient": "2"}, "coefficient: give a number"),
        ("greet", {"coefficient": 0.5}, "coefficient"),
        ("greet", {"queue": 5}, "queue: give the name of a queue, not 5"),
        ("greet", {"queue": "a b/../c"}, "no queue can be named"),
        ("greet", {"eager": 1}, "eager: give true, false or nothing"),
        ("greet", {"non_retryable": "Early"}, "non_retryable: give a list"),
        ("greet", {"non_retryable": [5]}, "non_retryable: give a list"),
        ("greet", {"cancellation": "soon"}, "cancellation: give one of"),
        ("", {}, "its name: give a name of 1 to"),
    ],
)
def test_options_that_nobody_can_mean_fail_the_run_that_was_started_with_them(
    activities: list[Any], name: str, options: dict[str, Any], said: str
) -> None:
    """Anybody may start it by hand. A run that parked would wait for code that nobody writes."""

    async def main() -> None:
        async with Environment([], activities) as env:
            with pytest.raises(WorkflowFailed, match=f"no option of an activity: .*{said}"):
                await env.run(f"processor.activity:{name}", options)
            every = {
                "start_to_close_ms": None, "coefficient": 3, "eager": False, "queue": "q",
                "non_retryable": ["Early"], "cancellation": "wait", "maximum_attempts": None,
            }  # fmt: skip
            assert await env.run("processor.activity:greet", every, "Bob") == "hello Bob"

    asyncio.run(main())


def test_an_id_counts_once_as_it_does_for_workflows(activities: list[Any]) -> None:
    async def main() -> None:
        async with Environment([], activities) as env:
            first = await env.start_activity(flaky, 2, id="a")
            with pytest.raises(WorkflowAlreadyStarted):
                await env.run_activity(flaky, 2, id="a")
            again = await env.start_activity(flaky, 9, id="a", conflict="use-existing")
            assert again.run_id == first.run_id and not again.created
            assert await again.result() == 2
            assert await env.run_activity(flaky, 9, id="a", reuse="use-existing") == 2
            with pytest.raises(WorkflowAlreadyStarted):
                await env.run_activity(flaky, 1, id="a", reuse="reject")
            assert await env.run_activity(flaky, 1, id="a") == 1

    asyncio.run(main())


def test_failures_time_outs_and_what_does_not_fit(activities: list[Any]) -> None:
    async def main() -> None:
        async with Environment([], activities) as env:
            once = RetryPolicy(maximum_attempts=1)
            with pytest.raises(WorkflowFailed, match="not yet") as failed:
                await env.run_activity(flaky, 2, retry=once)
            cause: Any = failed.value.__cause__
            assert isinstance(cause, ApplicationError)
            assert (cause.type, cause.details) == ("Early", [1])
            never = RetryPolicy(non_retryable=["Early"])
            with pytest.raises(WorkflowFailed, match="not yet"):
                await env.run_activity(flaky, 2, retry=never)
            with pytest.raises(WorkflowFailed) as failed:
                await env.run_activity(flaky, 9, schedule_to_close=7200.5)
            cause = failed.value.__cause__
            assert isinstance(cause, ApplicationError | ActivityTimedOut)
            with pytest.raises(ActivityNotRegistered):
                await env.run_activity("nobody")
            with pytest.raises(SchemaMismatch, match="argument 'order' of activity 'charge'"):
                await env.run_activity(charge, object())  # type: ignore[arg-type]
            with pytest.raises(InvalidArgument, match="missing a required argument: 'order'"):
                await env.run_activity(charge)  # type: ignore[call-arg]
            with pytest.raises(WorkflowFailed, match="Expected `int`"):
                await env.run_activity("flaky", "x", retry=once)
            with pytest.raises(InvalidArgument, match="activity: give an activity"):
                await env.start_activity(print)  # type: ignore[call-overload]
            with pytest.raises(TypeError, match="unexpected keyword argument 'attempts'"):
                await env.start_activity(flaky, 1, attempts=3)  # type: ignore[call-overload]
            with pytest.raises(InvalidArgument, match="result_type is for activities called by"):
                await env.run_activity(flaky, 1, result_type=int)  # type: ignore[call-overload]

    asyncio.run(main())
    with pytest.raises(InvalidArgument, match="that a client runs without a workflow"):
        workflow.define(name="processor.activity:charge")


def test_a_worker_runs_it_cancels_it_and_remembers_it(
    activities: list[Any], tmp_path: Path
) -> None:
    server = f"embedded:{tmp_path / 'state'}"

    async def main() -> None:
        async with Worker(server, activities=activities), Client(server) as client:
            marks = str(tmp_path)
            handle = await client.start_activity(waits, marks, id="w", cancellation="wait")
            while not (tmp_path / "began").exists():
                await asyncio.sleep(0.01)
            open = (await handle.describe()).pending["activities"]
            assert [each["name"] for each in open] == ["waits"]
            await handle.cancel("enough")
            with pytest.raises(WorkflowCancelled, match="enough"):
                await handle.result()
            assert (tmp_path / "ended").exists()
            assert await client.run_activity(charge, Order("a"), id="a") == Order("a is paid")
        assert (tmp_path / "began").read_text() == "processor.activity:waits"
        async with Worker(server, activities=activities), Client(server) as client:
            kept = client.run_activity(charge, Order("z"), id="a", reuse="use-existing")
            assert await kept == Order("a is paid")
            assert ran == ["a"]
            assert (await client.handle("w").describe()).status is Status.CANCELLED

    asyncio.run(main())


def test_the_blocking_client_has_it(activities: list[Any], tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"
    with sync.Worker(server, activities=activities), sync.Client(server) as client:
        assert client.run_activity(charge, Order("a"), 2) == Order("a is paid", 2)
        handle = client.start_activity("greet", result_type=str, id="g")
        assert handle.result() == "hello you"
        with pytest.raises(WorkflowFailed) as failed:
            client.run_activity("flaky", "x", retry=RetryPolicy(maximum_attempts=1))
        assert not isinstance(failed.value.__cause__, ActivityFailed)
