"""Cancelling a run: when the code hears of it, what it may do then, and what comes of it."""

from __future__ import annotations

import asyncio

import pytest

from processor import (
    ApplicationError,
    Client,
    Status,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowNotFound,
    activity,
    workflow,
)

from .passing import kinds_of, parked, passes, until


@activity.define
async def noted(what: str) -> str:
    return f"noted: {what}"


@workflow.define
async def hears(how: str) -> str:
    """Wait for what never comes, and say which cancellation came instead."""
    try:
        match how:
            case "sleep":
                await workflow.sleep(3_600)
            case "event":
                await workflow.wait_for_event("never")
            case "condition":
                await workflow.wait_until(lambda: False, timeout=3_600)
            case "future":
                await asyncio.get_running_loop().create_future()
            case "gather":
                await asyncio.gather(workflow.sleep(3_600), workflow.wait_for_event("never"))
            case "timeout":
                async with asyncio.timeout(3_600):
                    await workflow.wait_for_event("never")
            case "shield":
                await asyncio.shield(asyncio.ensure_future(workflow.sleep(3_600)))
    except asyncio.CancelledError as error:
        return f"{how}: {error}"
    return "it came"


@pytest.mark.parametrize(
    "how", ["sleep", "event", "condition", "future", "gather", "timeout", "shield"]
)
async def test_whatever_the_code_waits_for_it_hears_the_reason(
    client: Client, id: str, how: str
) -> None:
    """What it catches stays caught."""
    handle = await client.start(hears, how, id=id)
    assert await handle.cancel("enough")
    assert await handle.result() == f"{how}: enough"
    assert (await handle.describe()).status is Status.COMPLETED


@workflow.define
async def never_begins() -> str:
    workflow.set_status("begun")
    return "begun"


async def test_a_run_that_has_not_begun_is_cancelled_without_its_code(
    client: Client, id: str
) -> None:
    handle = await client.start(never_begins, id=id, delay=3_600)
    assert await handle.cancel("too early")
    with pytest.raises(WorkflowCancelled, match="too early"):
        await handle.result()
    assert (await handle.describe()).custom_status is None


@workflow.define
async def cleans_up(seconds: float) -> list[str]:
    done: list[str] = []
    try:
        await workflow.wait_for_event("never")
    finally:
        workflow.set_status("cleaning")
        await workflow.sleep(seconds)
        done.append(await noted("clean"))
        workflow.set_status(done)
    return done


async def test_a_clean_up_may_wait_and_call_activities(client: Client, id: str) -> None:
    handle = await client.start(cleans_up, 0.05, id=id)
    await handle.cancel("enough")
    with pytest.raises(WorkflowCancelled, match="enough"):
        await handle.result()
    told = await handle.describe()
    assert (told.status, told.cancel_reason) == (Status.CANCELLED, "enough")
    assert told.custom_status == ["noted: clean"]


async def test_more_cancellations_do_not_interrupt_the_clean_up(client: Client, id: str) -> None:
    handle = await client.start(cleans_up, 0.1, id=id)
    assert await handle.cancel("first")
    told = [await handle.cancel(f"more {number}") for number in range(3)]
    assert told == [True] * 3, "the run is open, and is being cancelled"
    with pytest.raises(WorkflowCancelled, match="first"):
        await handle.result()
    assert (await handle.describe()).custom_status == ["noted: clean"]
    assert (await kinds_of(handle)).count("WorkflowCancelRequested") == 1


async def test_a_run_that_has_ended_is_cancelled_no_more(client: Client, id: str) -> None:
    handle = await client.start(never_begins, id=id)
    await handle.result()
    assert not await handle.cancel("late")
    assert await handle.result() == "begun"
    assert (await handle.describe()).cancel_reason is None


@workflow.define
async def fails_while_it_cleans() -> None:
    try:
        await workflow.wait_for_event("never")
    finally:
        raise ApplicationError("it cannot be cleaned", type="Dirt")


async def test_an_error_of_the_clean_up_fails_the_run(client: Client, id: str) -> None:
    handle = await client.start(fails_while_it_cleans, id=id)
    await handle.cancel("enough")
    with pytest.raises(WorkflowFailed, match="it cannot be cleaned") as failed:
        await handle.result()
    assert isinstance(failed.value.__cause__, ApplicationError)
    assert failed.value.__cause__.type == "Dirt"


@workflow.define
async def has_a_bug_while_it_cleans() -> None:
    try:
        await workflow.wait_for_event("never")
    finally:
        raise KeyError("a bug")


async def test_a_bug_of_the_clean_up_parks_the_run(client: Client, id: str) -> None:
    handle = await client.start(has_a_bug_while_it_cleans, id=id)
    await handle.cancel("enough")
    assert "a bug" in await parked(client, handle)
    assert await handle.cancel("again"), "it is open, and keeps what it is asked"
    assert (await handle.describe()).status is Status.PARKED
    await handle.terminate()


@workflow.define
async def keeps_a_shield() -> str:
    """What is shielded goes on; the cancellation is raised again once it has ended."""
    kept = asyncio.ensure_future(noted("kept"))
    slow = asyncio.ensure_future(workflow.wait_for_event("go", str))
    both = asyncio.gather(kept, slow)
    try:
        await asyncio.shield(both)
    except asyncio.CancelledError:
        workflow.set_status(await both)
        raise
    return "not cancelled"


async def test_what_is_shielded_goes_on(client: Client, id: str) -> None:
    handle = await client.start(keeps_a_shield, id=id)
    await handle.cancel("enough")
    await passes(client, 0.02)
    assert (await handle.describe()).status is Status.RUNNING
    await handle.raise_event("go", "gone")
    with pytest.raises(WorkflowCancelled):
        await handle.result()
    assert (await handle.describe()).custom_status == ["noted: kept", "gone"]


@workflow.define
async def goes_on_anew() -> list[str]:
    """Take a cancellation back, as asyncio has it: time-outs after it are time-outs."""
    told = []
    task = asyncio.current_task()
    assert task is not None
    try:
        await workflow.wait_for_event("never")
    except asyncio.CancelledError:
        told.append(f"{task.cancelling()} left {task.uncancel()}")
    try:
        async with asyncio.timeout(0.01):
            await workflow.wait_for_event("never")
    except TimeoutError:
        told.append("timed out")
    async with asyncio.TaskGroup() as group:
        group.create_task(noted("group"))
    return [*told, await noted("after")]


async def test_a_cancellation_that_is_taken_back_is_over(client: Client, id: str) -> None:
    handle = await client.start(goes_on_anew, id=id)
    await handle.cancel()
    assert await handle.result() == ["1 left 0", "timed out", "noted: after"]


@workflow.define
async def in_a_group() -> None:
    ended: list[str] = []

    async def works(name: str) -> None:
        try:
            await workflow.wait_for_event("never")
        finally:
            ended.append(await noted(name))

    try:
        async with asyncio.TaskGroup() as group:
            for name in ("a", "b", "c"):
                group.create_task(works(name))
    finally:
        workflow.set_status(ended)


async def test_a_task_group_ends_its_tasks_each_with_its_clean_up(client: Client, id: str) -> None:
    handle = await client.start(in_a_group, id=id)
    await handle.cancel("enough")
    with pytest.raises(WorkflowCancelled, match="enough"):
        await handle.result()
    status = (await handle.describe()).custom_status
    assert sorted(status) == ["noted: a", "noted: b", "noted: c"]


@workflow.define
async def is_late(seconds: float) -> str:
    try:
        async with asyncio.timeout(seconds):
            try:
                await workflow.wait_for_event("never")
            finally:
                await workflow.sleep(0.05)
    except TimeoutError:
        await workflow.wait_for_event("never")
    return "in time"


async def test_a_cancellation_within_a_time_out_is_no_time_out(client: Client, id: str) -> None:
    """Also where the time-out passes while the code cleans up."""
    for seconds in (3_600, 0.03):
        handle = await client.start(is_late, seconds, id=f"{id}-{seconds}")
        await handle.cancel("enough")
        with pytest.raises(WorkflowCancelled, match="enough"):
            await handle.result()


async def test_a_time_out_before_a_cancellation_is_one(client: Client, id: str) -> None:
    handle = await client.start(is_late, 0.01, id=id)

    async def waits_again() -> bool:
        kinds = await kinds_of(handle)
        return kinds.count("TimerFired") == 2

    await until(client, waits_again)
    assert (await handle.describe()).status is Status.RUNNING
    await handle.cancel("enough")
    with pytest.raises(WorkflowCancelled, match="enough"):
        await handle.result()


@workflow.define
class Busy:
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.go = False

    @workflow.run
    async def run(self) -> list[str]:
        try:
            await workflow.wait_for_event("never")
        except asyncio.CancelledError:
            self.heard.append("run")
        await workflow.wait_until(workflow.all_handlers_finished)
        return self.heard

    @workflow.signal
    async def work(self, name: str) -> None:
        try:
            await workflow.wait_until(lambda: self.go)
            self.heard.append(await noted(name))
        except asyncio.CancelledError:
            self.heard.append("handler")
            raise

    @workflow.update
    async def wait(self) -> str:
        await workflow.wait_until(lambda: self.go)
        return "waited"

    @workflow.signal
    def release(self) -> None:
        self.go = True


async def test_handlers_are_not_cancelled_with_their_run(client: Client, id: str) -> None:
    handle = await client.start(Busy.run, id=id)
    await handle.signal(Busy.work, "first")
    waits = await handle.start_update(Busy.wait)
    await handle.cancel("enough")
    await handle.signal(Busy.work, "second")
    await handle.signal(Busy.release)
    assert await waits.result() == "waited"
    assert await handle.result() == ["run", "noted: first", "noted: second"]


@workflow.define
async def takes_events(left: int) -> list[int]:
    """A wait that is cancelled takes nothing of what comes after it."""
    taken: list[int] = []
    try:
        taken.append(await workflow.wait_for_event("number", int))
        await workflow.wait_for_event("number", int)
    except asyncio.CancelledError:
        pass
    while len(taken) < left:
        taken.append(await workflow.wait_for_event("number", int))
    return taken


async def test_events_that_come_after_a_cancellation_are_not_lost(client: Client, id: str) -> None:
    handle = await client.start(takes_events, 3, id=id)
    await handle.raise_event("number", 1)
    await handle.cancel()
    for number in (2, 3):
        await handle.raise_event("number", number)
    assert await handle.result() == [1, 2, 3]


@workflow.define
async def loops(left: int) -> None:
    await workflow.wait_for_event("go")
    workflow.continue_as_new(left - 1)


async def test_a_handle_of_a_chain_cancels_the_run_that_is_open(client: Client, id: str) -> None:
    handle = await client.start(loops, 5, id=id)
    for _ in range(2):
        await handle.raise_event("go")
    with pytest.raises(WorkflowNotFound, match="is not the latest run"):
        await client.handle(id, handle.run_id).cancel("that one has ended")
    assert (await handle.describe()).status is Status.RUNNING
    assert await handle.cancel("enough")
    with pytest.raises(WorkflowCancelled, match="enough"):
        await handle.result()
