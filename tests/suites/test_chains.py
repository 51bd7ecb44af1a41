"""Chains: a run goes on as another one, with what was sent to it, and a handle follows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    RetryPolicy,
    Status,
    ValueNotSet,
    WorkflowAlreadyStarted,
    WorkflowContinued,
    WorkflowFailed,
    WorkflowTerminated,
    WorkflowTimedOut,
    activity,
    workflow,
)

from .passing import kinds_of, passes, until

SOON = RetryPolicy(initial_interval=0.001)


@activity.define
async def echo(value: int) -> int:
    return value


@activity.define
async def never_ends() -> None:
    await asyncio.sleep(3_600)


@workflow.define
async def takes(to: int, so_far: list[int]) -> list[int]:
    while len(so_far) < to:
        so_far.append(await workflow.wait_for_event("number", int))
        if len(so_far) % 3 == 0 and len(so_far) < to:
            workflow.continue_as_new(to, so_far)
    return so_far


async def test_pending_events_go_on_in_order_and_a_handle_follows(client: Client, id: str) -> None:
    handle = await client.start(takes, 10, [], id=id)
    await asyncio.gather(*(handle.raise_event("number", number) for number in range(10)))
    assert sorted(await handle.result()) == list(range(10))
    assert await client.handle(id).result() == await handle.result()


async def test_each_run_of_a_chain_is_told_by_the_one_before(client: Client, id: str) -> None:
    handle = await client.start(takes, 10, [], id=id)
    for number in range(10):
        await handle.raise_event("number", number)
    assert await handle.result() == list(range(10))
    run_id, seen = handle.run_id, 0
    while (run := await client.handle(id, run_id).describe()).status is Status.CONTINUED:
        with pytest.raises(WorkflowContinued) as went_on:
            await client.handle(id, run_id).result()
        assert run.successor == went_on.value.next_run_id
        run_id, seen = run.successor, seen + 1
    assert await client.handle(id, run_id).result() == list(range(10))
    assert seen == 3
    assert run_id == (await client.handle(id).describe()).run_id


@workflow.define
class Meter:
    """Goes on when it is told to, at once or once its handlers have ended."""

    def __init__(self, waits: bool, total: int = 0, runs: int = 1) -> None:
        self.total, self.runs = total, runs
        self.go_on = self.over = False

    @workflow.run
    async def run(self, waits: bool, total: int = 0, runs: int = 1) -> list[int]:
        await workflow.wait_until(lambda: self.go_on or self.over)
        if waits or self.over:
            await workflow.wait_until(workflow.all_handlers_finished)
        if self.over:
            return [self.total, self.runs]
        return workflow.continue_as_new(waits, self.total, self.runs + 1)

    @workflow.signal(unfinished="abandon")
    async def add(self, number: int) -> None:
        await workflow.sleep(0.01)
        number = await echo(number)
        self.total += number

    @workflow.signal
    def move(self) -> None:
        self.go_on = True

    @workflow.signal
    def jump(self) -> None:
        workflow.continue_as_new(True, self.total, self.runs + 10)

    @workflow.signal
    def end(self) -> None:
        self.over = True

    @workflow.query
    def so_far(self) -> list[int]:
        return [self.total, self.runs]


async def test_a_run_that_awaits_its_handlers_loses_no_signal(client: Client, id: str) -> None:
    handle = await client.start(Meter.run, True, id=id)
    for number in range(1, 7):
        await handle.signal(Meter.add, number)
        await handle.signal(Meter.move)
        if number == 3:
            await passes(client, 0.05)
    await handle.signal(Meter.end)
    total, runs = await handle.result()
    assert total == 21
    assert runs > 1


async def test_handlers_that_run_are_dropped_by_a_run_that_does_not_await_them(
    client: Client, id: str
) -> None:
    handle = await client.start(Meter.run, False, id=id)
    await handle.signal(Meter.add, 1)
    await handle.signal(Meter.move)
    assert await handle.query(Meter.so_far) == [0, 2]
    await handle.signal(Meter.add, 5)
    await handle.signal(Meter.end)
    assert await handle.result() == [5, 2]


async def test_a_handler_lets_the_run_go_on(client: Client, id: str) -> None:
    handle = await client.start(Meter.run, True, id=id)
    await handle.signal(Meter.jump)
    await handle.signal(Meter.jump)
    assert await handle.query(Meter.so_far) == [0, 21]
    await handle.signal(Meter.end)
    assert await handle.result() == [0, 21]


@workflow.define
async def tells(left: int) -> dict[str, Any]:
    info = workflow.info()
    if left == 2:
        workflow.set_status("first")
        workflow.set_value("first", 1)
        workflow.upsert_memo({"step": left})
    if left:
        workflow.continue_as_new(left - 1)
    return {
        "first": info.first_run_id,
        "previous": info.previous_run_id,
        "attempt": info.attempt,
        "memo": info.memo,
        "events": info.history_events,
    }


async def test_what_a_chain_keeps_and_what_is_of_one_run(client: Client, id: str) -> None:
    handle = await client.start(tells, 2, id=id, memo={"who": "Ada"})
    told = await handle.result()
    assert (told["first"], told["attempt"], told["events"]) == (handle.run_id, 1, 1)
    assert told["previous"] not in (None, handle.run_id)
    assert told["memo"] == {"who": "Ada", "step": 2}
    last = await client.handle(id).describe()
    assert (last.custom_status, last.memo) == (None, {"who": "Ada", "step": 2})
    with pytest.raises(ValueNotSet):
        await client.handle(id).value("first")
    first = client.handle(id, handle.run_id)
    assert (await first.describe()).custom_status == "first"


@workflow.define
async def fails_between(run: int) -> list[int]:
    """Its second run fails once: attempts and runs that go on are told apart."""
    attempt = workflow.info().attempt
    if run == 2 and attempt == 1:
        raise ApplicationError("once")
    if run < 4:
        workflow.continue_as_new(run + 1)
    return [run, attempt]


async def test_attempts_count_anew_in_each_run_that_goes_on(client: Client, id: str) -> None:
    assert await client.run(fails_between, 1, id=id, retry=SOON) == [4, 1]
    with pytest.raises(WorkflowFailed, match="once"):
        await client.run(fails_between, 1, id=f"{id}-once")


@workflow.define
async def adds(a: int, b: int = 0) -> int:
    return a + b


@workflow.define
async def becomes(how: str) -> int:
    if how == "by name":
        workflow.continue_as_new(3, 4, workflow="adds")
    workflow.continue_as_new(1, workflow=adds)


async def test_another_workflow_goes_on_under_the_id(client: Client, id: str) -> None:
    assert await client.run(becomes, "usual", id=id) == 1
    assert (await client.handle(id).describe()).workflow == "adds"
    assert await client.run(becomes, "by name", id=id) == 7


@workflow.define
async def leaves(left: int) -> str:
    if left:
        tasks = [asyncio.ensure_future(each) for each in (never_ends(), workflow.sleep(3_600))]
        await asyncio.wait(tasks, timeout=0.01)
        workflow.continue_as_new(left - 1)
    return "done"


async def test_what_a_run_leaves_open_ends_with_it(client: Client, id: str) -> None:
    handle = await client.start(leaves, 3, id=id)
    assert await handle.result() == "done"
    assert not (await handle.describe()).pending
    first = await kinds_of(client.handle(id, handle.run_id))
    assert first[-1] == "WorkflowContinued"


@workflow.define
async def leaves_a_block(left: int) -> list[str]:
    """``finally`` blocks run, and may wait; what else runs in the group is cancelled."""
    if not left:
        return ["done"]

    async def works() -> None:
        try:
            await workflow.sleep(3_600)
        finally:
            workflow.publish("tidied", None, "task")

    async with asyncio.TaskGroup() as group:
        group.create_task(works())
        await asyncio.sleep(0)
        try:
            workflow.continue_as_new(left - 1)
        finally:
            workflow.publish("tidied", None, str(await echo(left)))


async def test_a_run_that_goes_on_leaves_its_blocks_first(client: Client, id: str) -> None:
    handle = await client.start(leaves_a_block, 1, id=id)
    assert await handle.result() == ["done"]
    first = await kinds_of(client.handle(id, handle.run_id))
    assert first.count("RecordPublished") == 2
    assert first[-1] == "WorkflowContinued"


@workflow.define
async def outlasts() -> None:
    await workflow.sleep(0.03)
    workflow.continue_as_new()


async def test_the_time_out_of_a_start_is_that_of_its_chain(client: Client, id: str) -> None:
    handle = await client.start(outlasts, id=id, execution_timeout=0.2)
    with pytest.raises(WorkflowTimedOut):
        await handle.result()
    assert (await client.handle(id).describe()).run_id != handle.run_id


async def test_a_chain_is_one_instance_for_those_who_start_it(client: Client, id: str) -> None:
    handle = await client.start(takes, 100, [], id=id)
    for number in range(4):
        await handle.raise_event("number", number)
    with pytest.raises(WorkflowAlreadyStarted):
        await client.start(takes, 1, [], id=id)
    found = await client.start(takes, 1, [], id=id, conflict="use-existing")
    assert not found.created
    await found.raise_event("number", 4)
    other = await client.start(takes, 1, [], id=id, conflict="terminate")
    for each in (handle, found):
        with pytest.raises(WorkflowTerminated, match="replaced"):
            await each.result()
    await other.raise_event("number", 5)
    assert await other.result() == [5], "it inherits nothing"
    assert await client.run(takes, 0, [], id=id) == []


@workflow.define
class Polls:
    """Answers queries in each of its runs."""

    def __init__(self, number: int) -> None:
        self.number = number

    @workflow.run
    async def run(self, number: int) -> int:
        await workflow.wait_for_event("go")
        if number < 3:
            workflow.continue_as_new(number + 1)
        return number

    @workflow.query
    def which(self) -> int:
        return self.number


async def test_a_query_is_answered_by_the_run_that_is_open(client: Client, id: str) -> None:
    handle = await client.start(Polls.run, 1, id=id)
    for number in (1, 2, 3):
        assert await handle.query(Polls.which) == number
        await handle.raise_event("go")

    async def has_ended() -> bool:
        return not (await handle.describe()).status.is_open

    await until(client, has_ended)
    assert await handle.query(Polls.which) == 3
