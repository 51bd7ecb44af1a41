"""One timer bounds all that has the same time."""

from __future__ import annotations

import asyncio

import pytest

from processor.api.limits import OverTime, TimeLimit


def test_what_takes_too_long_is_cancelled_and_all_else_goes_on() -> None:
    async def main() -> None:
        limit = TimeLimit(0.2)
        released = asyncio.Event()

        async def short() -> str:
            await released.wait()
            return "done"

        never = [asyncio.create_task(limit.keep(asyncio.Event().wait())) for _ in range(3)]
        ends = asyncio.create_task(limit.keep(short()))
        released.set()
        assert await ends == "done"
        for each in never:
            with pytest.raises(OverTime, match=r"longer than 0\.2 s"):
                await each
            assert not each.cancelling()
        later = asyncio.create_task(limit.keep(asyncio.Event().wait()))
        with pytest.raises(OverTime):
            await later  # the timer waits for what begins after the others, as well

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_cancellation_from_outside_is_none_of_its_own() -> None:
    async def main() -> None:
        limit = TimeLimit(3_600)
        task = asyncio.create_task(limit.keep(asyncio.Event().wait()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(main(), 60))


def test_what_is_raised_is_raised() -> None:
    async def main() -> None:
        async def fails() -> None:
            raise TimeoutError("of its own")

        with pytest.raises(TimeoutError, match="of its own") as raised:
            await TimeLimit(3_600).keep(fails())
        assert not isinstance(raised.value, OverTime)

    asyncio.run(asyncio.wait_for(main(), 60))
