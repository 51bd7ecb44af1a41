"""Children: how they end for their parents, and what becomes of them when these end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processor import (
    ApplicationError,
    ChildFailed,
    Client,
    InvalidArgument,
    RetryPolicy,
    Status,
    WorkflowAlreadyStarted,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowNotFound,
    activity,
    workflow,
)
from processor.testing import Environment

from .passing import begun, kinds_of, passes, until

SOON = RetryPolicy(initial_interval=0.001)


@activity.define
async def doubled(number: int) -> int:
    return number * 2


def below(name: str) -> str:
    """An id of its own below the run that calls."""
    return f"{workflow.info().workflow_id}-{name}"


@workflow.define
async def doubles(number: int) -> int:
    return await doubled(number)


@workflow.define
class Basket:
    def __init__(self) -> None:
        self.items: list[str] = []
        self.closed = False

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_until(lambda: self.closed)
        return self.items

    @workflow.signal
    def add(self, item: str, times: int = 1) -> None:
        self.items += [item] * times

    @workflow.signal
    def close(self) -> None:
        self.closed = True


@workflow.define
async def waits(name: str = "go") -> Any:
    return await workflow.wait_for_event(name)


@workflow.define
async def cleans_up(seconds: float) -> str:
    try:
        await workflow.wait_for_event("never")
    finally:
        await workflow.sleep(seconds)
        workflow.set_status("clean")
    return "never"


@workflow.define
async def stubborn() -> str:
    try:
        await workflow.wait_for_event("never")
    except asyncio.CancelledError as error:
        return f"went on after: {error}"
    return "never"


@workflow.define
async def fails(how: str) -> None:
    if how == "deep":
        await workflow.call_child(fails, "shallow", id=below("below"))
    if how == "late":
        await workflow.sleep(0.02)
    raise ApplicationError(f"it fails {how}", type="How", details={"how": how})


@workflow.define
async def third_time() -> str:
    if workflow.info().attempt < 3:
        raise ApplicationError("not yet")
    return f"attempt {workflow.info().attempt}"


@workflow.define
async def counts_down(left: int) -> str:
    await workflow.sleep(0.001)
    if left:
        workflow.continue_as_new(left - 1)
    return f"run of {workflow.info().parent is not None}"


async def told(child: Any) -> str:
    try:
        return str(await child)
    except ChildFailed as error:
        cause = error.__cause__
        return f"{error.kind}: {type(cause).__name__} {cause}" if cause else error.kind
    except WorkflowAlreadyStarted as error:
        return type(error).__name__


# --- how they end -------------------------------------------------------------------------------


@workflow.define
async def fans_out(count: int) -> list[Any]:
    called = (workflow.call_child(doubles, number) for number in range(count))
    found: list[Any] = list(await asyncio.gather(*called))
    first = [await each for each in asyncio.as_completed(
        [await workflow.start_child(doubles, number) for number in (7, 8)]
    )]  # fmt: skip
    return [*found, *sorted(first)]


async def test_results_of_many_come_in_the_order_of_their_calls(client: Client, id: str) -> None:
    assert await client.run(fans_out, 12, id=id) == [*range(0, 24, 2), 14, 16]


@workflow.define
async def sees_failures() -> list[Any]:
    found = [await told(workflow.call_child(fails, how)) for how in ("soon", "late", "deep")]
    both = await asyncio.gather(
        workflow.call_child(fails, "soon"), workflow.call_child(doubles, 2), return_exceptions=True
    )
    found += [type(each).__name__ for each in both]
    try:
        await workflow.call_child(fails, "again")
    except ChildFailed as error:
        cause = error.__cause__
        assert isinstance(cause, ApplicationError)
        found += [error.workflow, cause.type, cause.details]
    return found


async def test_a_failure_is_told_with_its_cause(client: Client, id: str) -> None:
    soon, late, deep, *more = await client.run(sees_failures, id=id)
    assert soon == "failed: ApplicationError it fails soon"
    assert late == "failed: ApplicationError it fails late"
    assert deep.startswith("failed: ChildFailed child workflow 'fails'")
    assert deep.endswith("failed: How: it fails shallow")
    assert more == ["ChildFailed", "int", "fails", "How", {"how": "again"}]


@workflow.define
async def takes_ids(name: str) -> list[str]:
    """Two children of one id: the second is told so; once the first has ended, it may begin."""
    first = await workflow.start_child(waits, id=name)
    found = [await told(workflow.call_child(doubles, 1, id=name))]
    first.signal("go", "gone")
    found.append(await first)
    found.append(await told(workflow.call_child(doubles, 1, id=name, reuse="reject")))
    found.append(await told(workflow.call_child(doubles, 1, id=name, reuse="allow-failed")))
    found.append(await told(workflow.call_child(doubles, 1, id=name)))
    return found


async def test_an_id_that_is_taken_is_told(client: Client, id: str) -> None:
    taken = "WorkflowAlreadyStarted"
    assert await client.run(takes_ids, f"{id}-child", id=id) == [taken, "gone", taken, taken, "2"]


@workflow.define
async def sees_chains() -> list[str]:
    return [
        await told(workflow.call_child(third_time, retry=SOON)),
        await told(workflow.call_child(counts_down, 3)),
        await told(workflow.call_child(third_time, retry=RetryPolicy(0.001, maximum_attempts=2))),
        await told(workflow.call_child(waits, execution_timeout=0.05)),
    ]


async def test_a_parent_has_the_end_of_the_chain(client: Client, id: str) -> None:
    assert await client.run(sees_chains, id=id) == [
        *("attempt 3", "run of True", "failed: ApplicationError not yet", "timed_out"),
    ]


@workflow.define
async def talks() -> list[Any]:
    basket = await workflow.start_child(Basket.run, id=below("basket"))
    basket.signal(Basket.add, "egg", 2)
    await basket.signal("add", "milk")
    assert not basket.done()
    await workflow.signal(below("basket"), "close")
    return [await basket, await basket, basket.done()]


async def test_a_child_is_signalled_while_it_runs(client: Client, id: str) -> None:
    items = ["egg", "egg", "milk"]
    assert await client.run(talks, id=id) == [items, items, True]
    child = await client.handle(f"{id}-basket").describe()
    assert child.parent is not None and child.parent.workflow_id == id


@workflow.define
async def calls(name: str) -> str:
    return await told(workflow.call_child(name, id=below("child")))


@pytest.mark.parametrize("how", ["cancel", "terminate"])
async def test_a_parent_is_told_of_a_child_that_somebody_else_ends(
    client: Client, id: str, how: str
) -> None:
    handle = await client.start(calls, "waits", id=id)
    child = await begun(client, f"{id}-child")
    await (child.cancel("an operator") if how == "cancel" else child.terminate("an operator"))
    assert await handle.result() == {"cancel": "cancelled", "terminate": "terminated"}[how]


# --- cancellation -------------------------------------------------------------------------------


@workflow.define
async def cancels(name: str, how: Any, by: str) -> str:
    """Cancel what awaits a child that runs, and say what that came to."""
    child = await workflow.start_child(name, id=below("child"), cancellation=how)
    if by == "hand":
        child.cancel("enough")
        return await told(child)
    try:
        async with asyncio.timeout(0.02):
            await child
    except TimeoutError:
        return "timed out"
    return f"result: {await child}"


@workflow.define
async def cleans_up_shortly() -> str:
    return await cleans_up(0.02)


@pytest.mark.parametrize(
    ("name", "how", "expected", "status"),
    [
        ("cleans_up_shortly", "wait", "timed out", Status.CANCELLED),
        ("cleans_up_shortly", "try", "timed out", Status.TERMINATED),
        ("waits", "abandon", "timed out", Status.TERMINATED),
        ("stubborn", "wait", "result: went on after: ", Status.COMPLETED),
    ],
)
async def test_a_time_out_around_a_child(
    client: Client, id: str, name: str, how: str, expected: str, status: Status
) -> None:
    assert await client.run(cancels, name, how, "time-out", id=id) == expected

    async def has_ended() -> bool:
        return not (await client.handle(f"{id}-child").describe()).status.is_open

    await until(client, has_ended)
    child = await client.handle(f"{id}-child").describe()
    assert child.status is status
    assert child.custom_status == ("clean" if how == "wait" and name != "stubborn" else None)


@workflow.define
async def passes_on(name: str) -> str:
    return str(await workflow.call_child(name, id=below("child")))


async def test_a_cancelled_parent_waits_for_the_clean_up_of_its_child(
    client: Client, id: str
) -> None:
    handle = await client.start(passes_on, "cleans_up_shortly", id=id)
    child = await begun(client, f"{id}-child")
    for _ in range(2):
        await handle.cancel("enough")
    with pytest.raises(WorkflowCancelled, match="enough"):
        await handle.result()
    found = await child.describe()
    assert (found.status, found.cancel_reason) == (Status.CANCELLED, "enough")
    assert found.custom_status == "clean"


async def test_a_child_that_ignores_its_cancellation_ends_that_of_its_parent(
    client: Client, id: str
) -> None:
    handle = await client.start(passes_on, "stubborn", id=id)
    await begun(client, f"{id}-child")
    await handle.cancel("enough")
    assert await handle.result() == "went on after: enough"
    assert (await handle.describe()).status is Status.COMPLETED


@workflow.define
async def cancels_at_once(verb: str) -> str:
    call: Any = workflow.call_child if verb == "call" else workflow.start_child
    task = asyncio.create_task(call(waits, id=below("child")))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return str(task.cancelled())


@pytest.mark.parametrize("verb", ["call", "start"])
async def test_a_child_that_was_not_sent_yet_leaves_nothing(
    client: Client, id: str, verb: str
) -> None:
    handle = await client.start(cancels_at_once, verb, id=id)
    assert await handle.result() == "True"
    assert await kinds_of(handle) == ["WorkflowStarted", "WorkflowCompleted"]
    with pytest.raises(WorkflowNotFound):
        await client.handle(f"{id}-child").describe()


# --- the end of the parent ----------------------------------------------------------------------


@workflow.define
async def parent(parent_close: Any) -> str:
    await workflow.start_child(stubborn_until_told, id=below("child"), parent_close=parent_close)
    how = await workflow.wait_for_event("end", str)
    if how == "fail":
        raise ApplicationError("it fails")
    return how


@workflow.define
async def stubborn_until_told() -> str:
    try:
        return await workflow.wait_for_event("go", str)
    except asyncio.CancelledError as error:
        workflow.set_status(str(error))
        return await workflow.wait_for_event("go", str)


@pytest.mark.parametrize("how", ["complete", "fail", "cancel", "terminate", "replace"])
@pytest.mark.parametrize("parent_close", ["terminate", "cancel", "abandon"])
async def test_each_end_of_a_parent_with_each_policy(
    client: Client, id: str, parent_close: str, how: str
) -> None:
    handle = await client.start(parent, parent_close, id=id)
    child = await begun(client, f"{id}-child")

    async def parent_knows() -> bool:
        return "ChildStarted" in await kinds_of(handle)

    await until(client, parent_knows)
    if how in ("complete", "fail"):
        await handle.raise_event("end", how)
    elif how == "replace":
        await client.start(doubles, 1, id=id, conflict="terminate")
    else:
        await (handle.cancel("ended") if how == "cancel" else handle.terminate("ended"))

    async def hears() -> bool:
        run = await child.describe()
        return not run.status.is_open or run.custom_status is not None

    if parent_close == "abandon":
        await passes(client, 0.03)
        assert not await hears()
    else:
        await until(client, hears)
    run = await child.describe()
    terminated = parent_close == "terminate"
    assert run.status is (Status.TERMINATED if terminated else Status.RUNNING)
    if terminated:
        assert run.parent is not None and run.cancel_reason is not None
        assert run.cancel_reason == f"its parent, run {run.parent.run_id} of {id!r}, has ended"
    if not terminated:
        await child.raise_event("go", "went on")
        assert await child.result() == "went on"
    if isinstance(client, Environment):
        assert not client.dead_letters, "nobody waits for the answer, and nobody misses it"


@workflow.define(retry=SOON)
async def tries_with_children() -> list[Any]:
    """Each attempt has children of its own; those of the first one end with it."""
    attempt = workflow.info().attempt
    child = await workflow.start_child(waits, id=f"{workflow.info().workflow_id}-{attempt}")
    if attempt == 1:
        raise ApplicationError("once more")
    child.signal("go", attempt)
    return [attempt, await child]


async def test_each_attempt_of_a_parent_has_children_of_its_own(client: Client, id: str) -> None:
    assert await client.run(tries_with_children, id=id) == [2, 2]
    first = client.handle(f"{id}-1")

    async def has_ended() -> bool:
        return not (await first.describe()).status.is_open

    await until(client, has_ended)
    assert (await first.describe()).status is Status.TERMINATED


@workflow.define
async def goes_on_beside(left: int, parent_close: Any) -> str:
    if not left:
        return "done"
    child = await workflow.start_child(waits, id=below(f"{left}"), parent_close=parent_close)
    try:
        workflow.continue_as_new(left - 1, parent_close)
    except InvalidArgument:
        child.signal("go")
        await child
    return workflow.continue_as_new(left - 1, parent_close)


@pytest.mark.parametrize("parent_close", ["terminate", "cancel", "abandon"])
async def test_a_run_goes_on_once_its_children_have_ended_or_are_abandoned(
    client: Client, id: str, parent_close: str
) -> None:
    assert await client.run(goes_on_beside, 2, parent_close, id=id) == "done"
    for number in (1, 2):
        child = client.handle(f"{id}-{number}")
        open = (await child.describe()).status.is_open
        assert open is (parent_close == "abandon")
        if open:
            await child.raise_event("go")
            await child.result()


@workflow.define
async def loses() -> str:
    """The first of two children counts; the other one is cancelled as a task is."""
    slow = asyncio.create_task(workflow.call_child(waits, id=below("slow")))
    quick = asyncio.create_task(workflow.call_child(doubles, 4))
    done, pending = await asyncio.wait([slow, quick], return_when=asyncio.FIRST_COMPLETED)
    for each in pending:
        each.cancel()
    await asyncio.wait(pending)
    return f"{[each.result() for each in done]} {slow.cancelled()}"


async def test_the_slower_of_two_children_is_cancelled(client: Client, id: str) -> None:
    assert await client.run(loses, id=id) == "[8] True"
    assert (await client.handle(f"{id}-slow").describe()).status is Status.CANCELLED


async def test_a_failure_of_a_child_that_nobody_catches_fails_its_parent(
    client: Client, id: str
) -> None:
    with pytest.raises(WorkflowFailed, match="it fails shallow") as failed:
        await client.run(fails, "deep", id=id)
    cause = failed.value.__cause__
    assert isinstance(cause, ChildFailed) and cause.kind == "failed"
    assert isinstance(cause.__cause__, ApplicationError)
