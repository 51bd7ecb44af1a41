"""The end of a client while others use it, in this loop, in other threads, and in forked ones."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from processor import (
    Client,
    InvalidArgument,
    ProcessorError,
    ShardUnavailable,
    Worker,
    activity,
    sync,
    workflow,
)
from processor.testing import Environment

OPEN: list[sync.Client] = []


@activity.define
async def asks_in_the_loop(number: int) -> str:
    try:
        return f"got {OPEN[-1].run(double, number, timeout=5)}"
    except InvalidArgument as error:
        return str(error)


@activity.define
def asks_in_a_thread(number: int) -> int:
    return OPEN[-1].run(double, number)


@workflow.define
async def double(number: int) -> int:
    return 2 * number


@workflow.define
async def waits() -> None:
    workflow.set_value("begun", True)
    await workflow.wait_for_event("go")


@workflow.define
async def asks_both(number: int) -> list[Any]:
    return [await asks_in_a_thread(number), await asks_in_the_loop(number)]


FLOWS = [double, waits, asks_both]
ACTIVITIES = [asks_in_the_loop, asks_in_a_thread]


def test_who_waits_for_a_client_that_is_closed_is_told_so(tmp_path: Path) -> None:
    """They waited for ever, or asked again five times a second without an end."""

    async def main() -> None:
        server = f"embedded:{tmp_path}"
        async with Worker(server, workflows=FLOWS):
            client = Client(server)
            async with client:
                handle = await client.start(waits)
                waiting = [
                    asyncio.ensure_future(handle.result()),
                    asyncio.ensure_future(handle.result(timeout=60)),
                    asyncio.ensure_future(handle.value("never")),
                    asyncio.ensure_future(anext(aiter(handle.watch("never")))),
                ]
                await asyncio.sleep(0.3)
            done = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 10)
            for each in (*done, *[await told(handle.describe()), await told(handle.result())]):
                assert isinstance(each, ProcessorError), each
                assert not isinstance(each, ShardUnavailable), "that one invites to ask again"
                assert "the client was closed" in str(each)
            async with client:
                assert await client.run(double, 3) == 6, "it may be opened again"

    asyncio.run(main())


def test_who_waits_for_an_environment_that_is_closed_is_told_so() -> None:
    async def main() -> None:
        async with Environment(FLOWS) as env:
            handle = await env.start(waits)
            waiting = [
                asyncio.ensure_future(handle.result(parked="warn")),
                asyncio.ensure_future(handle.value("never")),
            ]
            await asyncio.sleep(0.1)
        for each in await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 10):
            assert "the environment is closed" in str(each)

    asyncio.run(main())


async def told(asked: Any) -> BaseException | None:
    try:
        await asyncio.wait_for(asked, 5)
    except Exception as error:
        return error
    return None


def test_a_wait_of_no_time_looks_whether_it_is_there(tmp_path: Path) -> None:
    async def main() -> None:
        server = f"embedded:{tmp_path}"
        async with Worker(server, workflows=FLOWS), Client(server) as client:
            handle = await client.start(waits)
            assert await handle.value("begun", timeout=5) is True
            assert await handle.value("begun", timeout=0) is True
            began = time.monotonic()
            for asked in (handle.value("never", timeout=0), handle.result(timeout=0)):
                with pytest.raises(TimeoutError):
                    await asked
            assert time.monotonic() - began < 5
            await handle.raise_event("go")
            assert await handle.result() is None
            assert await handle.result(timeout=0) is None

    asyncio.run(main())


def test_threads_that_wait_end_with_the_block_of_their_client(tmp_path: Path) -> None:
    """They, and their process, waited for ever."""
    said: list[str] = []
    server = f"embedded:{tmp_path}"

    def wait(asked: Any) -> None:
        try:
            asked()
        except InvalidArgument as error:
            said.append(str(error))

    with sync.Worker(server, workflows=FLOWS):
        for _ in range(2):
            with sync.Client(server) as client:
                handle = client.start(waits)
                calls = (handle.result, lambda: list(handle.watch("never")))  # noqa: B023
                threads = []
                for each in calls:
                    threads.append(threading.Thread(target=wait, args=[each], daemon=True))
                    threads[-1].start()
                time.sleep(0.3)
            for thread in threads:
                thread.join(10)
            assert not any(thread.is_alive() for thread in threads)
    assert len(said) == 4 and all("it was closed while this call waited" in each for each in said)


def test_async_code_of_the_worker_does_not_wait_for_itself(tmp_path: Path) -> None:
    """It stopped the loop of everything that was open, and no time-out ended that."""
    server = f"embedded:{tmp_path}"
    with (
        sync.Worker(server, workflows=FLOWS, activities=ACTIVITIES),
        sync.Client(server) as client,
    ):
        OPEN.append(client)
        in_a_thread, in_the_loop = client.run(asks_both, 4, timeout=20)
        assert in_a_thread == 8
        assert "would wait for itself" in in_the_loop and "def" in in_the_loop


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_opens_its_own(tmp_path: Path) -> None:
    """As web servers fork their workers: what was open before waited for ever there."""
    server = f"embedded:{tmp_path / 'one'}"
    with sync.Worker(server, workflows=FLOWS), sync.Client(server) as client:
        child = os.fork()
        if child == 0:
            os._exit(_forked(client, f"embedded:{tmp_path / 'two'}"))
        end = time.monotonic() + 30
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < end:
            time.sleep(0.05)
        if ended[0] == 0:
            os.kill(child, 9)
            os.waitpid(child, 0)
        assert ended == (child, 0), "it ends, and with what it was to see"
        assert client.run(double, 2) == 4, "here nothing has changed"


def _forked(client: sync.Client, server: str) -> int:
    """Return 0 where a forked process is told what to do, and can do it."""
    try:
        client.run(double, 1)
        return 1
    except InvalidArgument as error:
        if "forked" not in str(error):
            return 2
    client.__exit__(None, None, None)  # as the end of its block does
    with sync.Client(server) as own:
        try:
            own.run(double, 1, timeout=0.5)
        except TimeoutError as error:
            return 0 if "no worker runs for" in str(error) else 3
    return 4
