"""Children that are cancelled, and children whose parents end."""

from __future__ import annotations

import asyncio

import pytest

from processor import Status, WorkflowCancelled

from .family import (
    CACHED,
    calls,
    cancels,
    cancels_a_start,
    grandparent,
    parent,
    passes_on,
    simulated,
    slow,
    times_out,
    types_of,
)

# --- cancellation -------------------------------------------------------------------------------


@CACHED
@pytest.mark.parametrize(
    ("how", "told", "status"),
    [
        ("wait", "cancelled after 5 s", Status.CANCELLED),
        ("try", "cancelled after 0 s", Status.TERMINATED),
        ("abandon", "cancelled after 0 s", Status.TERMINATED),
    ],
)
def test_what_awaits_a_child_is_cancelled(
    how: str, told: str, status: Status, cached: int | None
) -> None:
    async def main() -> None:
        async with simulated(cached) as env:
            assert await env.run(cancels, how) == told
            await env.sleep(0)
            child = await env.handle("child").describe()
            assert child.status is status
            assert child.custom_status == {"wait": "clean", "try": "cleaning"}.get(how)

    asyncio.run(main())


@CACHED
def test_a_child_that_goes_on_has_a_result_as_a_task_has(cached: int | None) -> None:
    async def main() -> None:
        async with simulated(cached) as env:
            assert await env.run(cancels, "wait", "stubborn") == "went on after 0 s"
            assert await env.run(times_out) == "timed out"

    asyncio.run(main())


@CACHED
def test_a_cancelled_parent_waits_for_the_clean_up_of_its_child(cached: int | None) -> None:
    async def main() -> None:
        async with simulated(cached) as env:
            handle = await env.start(passes_on)
            await env.sleep(1)
            await handle.cancel("enough")
            began = env.now()
            with pytest.raises(WorkflowCancelled, match="enough"):
                await handle.result()
            assert (env.now() - began).total_seconds() == pytest.approx(5, abs=0.5)
            child = await env.handle("child").describe()
            assert (child.status, child.cancel_reason) == (Status.CANCELLED, "enough")

    asyncio.run(main())


def test_a_start_that_is_waited_for_is_cancelled() -> None:
    async def main() -> None:
        async with simulated(None) as env:
            assert await env.run(cancels_a_start) in ("CancelledError", "Child")

    asyncio.run(main())


# --- the end of the parent ----------------------------------------------------------------------


@CACHED
def test_terminate_is_recursive_unless_it_is_told_not_to_be(cached: int | None) -> None:
    async def main() -> None:
        for recursive in (True, False):
            async with simulated(cached) as env:
                top = await env.start(grandparent, "terminate", id="top")
                await env.sleep(1)
                await top.terminate("enough", recursive=recursive)
                await env.sleep(1)
                found = [await env.handle(id).describe() for id in ("top", "parent", "child")]
                left = Status.TERMINATED if recursive else Status.RUNNING
                assert [each.status for each in found] == [Status.TERMINATED, left, left]
                types = await types_of(env, "top")
                assert ("ChildrenSpared" in types) is not recursive

    asyncio.run(main())


def test_a_stranger_of_the_same_id_is_never_touched() -> None:
    async def main() -> None:
        async with simulated(None) as env:
            handle = await env.start(parent, "slow", "terminate", "wait", id="parent")
            await env.sleep(1)
            await env.start(slow, id="child", conflict="terminate")
            stranger = (await env.handle("child").describe()).run_id
            await handle.terminate()
            await env.sleep(1)
            found = await env.handle("child").describe()
            assert (found.run_id, found.status) == (stranger, Status.RUNNING)

    asyncio.run(main())


def test_a_child_that_another_start_replaces_was_terminated() -> None:
    async def main() -> None:
        async with simulated(None) as env:
            handle = await env.start(calls, "slow", "child")
            await env.sleep(1)
            await env.start(slow, id="child", conflict="terminate")
            assert "was terminated: replaced by run" in await handle.result()

    asyncio.run(main())
