"""Thousands of connections that take their time, or never read: others are answered meanwhile.

Each test has a server in a process of its own, whose memory is looked at.

    CONNECTIONS=10000 python -m pytest tests/api/test_slow.py      # nightly
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.api.serving import BASE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
CONNECTIONS = min(int(os.environ.get("CONNECTIONS", "2000")), FILES - 500)
HEAD = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n"
ASKED = 20
ANSWER_S = 60.0
"""Within so long each other client has its answer, on a machine that is busy with all of this."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[str, int, psutil.Process]]:
    """Yield the URL and the port of ``processor serve``, and its process."""
    code = ("--server", f"embedded:{folder}", "--module", "tests.api.serving")
    command = (sys.executable, "-m", "processor", "serve", *code, "--port", "0", "--json")
    out, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    server = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=null)
    try:
        assert server.stdout is not None
        while b'"url"' not in (line := await server.stdout.readline()):
            assert line, "it ended"
        url = json.loads(line)["url"]
        yield url, int(url.rpartition(":")[2]), psutil.Process(server.pid)
    finally:
        server.kill()
        await server.wait()


async def ask(url: str, times: int = ASKED) -> float:
    """Start workflows, each over a connection of its own; return the longest wait in seconds.

    A connection that is cut before its answer is tried again, as clients do.
    """
    longest = 0.0
    for number in range(times):
        began = time.monotonic()
        body, headers = (
            {"arguments": ["Ada"]},
            {"prefer": "wait=30", "idempotency-key": f"{number}"},
        )
        while True:
            try:
                async with httpx.AsyncClient(base_url=url, timeout=ANSWER_S) as http:
                    runs = f"{BASE}/workflows/greet/runs"
                    found = await http.post(runs, json=body, headers=headers)
                break
            except httpx.TransportError:
                assert time.monotonic() - began < ANSWER_S
        assert found.json().get("result") == "Hello, Ada!", found.text
        longest = max(longest, time.monotonic() - began)
    return longest


async def slowly(port: int, gone: Callable[[], None]) -> None:
    """Send a byte every two seconds, and begin again where that is cut."""
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                for byte in HEAD * 10:
                    writer.write(bytes((byte,)))
                    await writer.drain()
                    await asyncio.sleep(2)
            finally:
                writer.close()
        gone()
        await asyncio.sleep(2)


def talk(folder: Path, work: Callable[[str, int, psutil.Process], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(500), serving(folder) as (url, port, process):
            await ask(url, 3)
            await work(url, port, process)

    asyncio.run(main())


def test_slow_connections_keep_nobody_else_waiting(tmp_path: Path) -> None:
    cut = 0

    def gone() -> None:
        nonlocal cut
        cut += 1

    async def work(url: str, port: int, process: psutil.Process) -> None:
        before = process.memory_info().rss
        many = [asyncio.create_task(slowly(port, gone)) for _ in range(CONNECTIONS)]
        try:
            while cut < CONNECTIONS - 1_000:  # a server has a thousand connections
                await asyncio.sleep(0.1)
            longest = await ask(url)
            held = len(process.net_connections("tcp"))
            each = (process.memory_info().rss - before) / max(held, 1)
            print(f"{CONNECTIONS} slow: {held} held, {each:,.0f} B each, {longest:.2f} s")
            assert longest < ANSWER_S
            assert held <= 1_600
            assert each < 100_000
        finally:
            for task in many:
                task.cancel()
            await asyncio.gather(*many, return_exceptions=True)
        await ask(url)

    talk(tmp_path, work)


def test_watchers_that_never_read_keep_nobody_else_waiting(tmp_path: Path) -> None:
    async def work(url: str, port: int, process: psutil.Process) -> None:
        async with httpx.AsyncClient(base_url=url, timeout=ANSWER_S) as http:
            runs = f"{BASE}/workflows/Basket/runs/watched"
            assert (await http.put(runs, json={"arguments": ["Ada"]})).status_code == 202
            before = process.memory_info().rss
            watch = f"GET {BASE}/instances/watched/watch HTTP/1.1\r\nhost: localhost\r\n\r\n"
            deaf: list[Streams] = []
            for _ in range(990):  # and there is room for those who are asked below
                streams = await asyncio.open_connection("127.0.0.1", port, limit=1_000)
                streams[1].write(watch.encode())
                deaf.append(streams)
            heads = [await reader.readline() for reader, _ in deaf]
            assert {head.split()[1] for head in heads} == {b"200", b"503"}
            assert sum(b" 200 " in head for head in heads) >= 500
            item = {"arguments": ["x" * 20_000]}
            for _ in range(20):
                told = await http.post(f"{BASE}/instances/watched/signals/add", json=item)
                assert told.status_code == 202
            longest = await ask(url)
            grown = process.memory_info().rss - before
            print(f"{len(deaf)} deaf watchers: {grown / 1e6:.0f} MB, {longest:.2f} s")
            assert longest < ANSWER_S
            assert grown < 150_000_000
            for _, writer in deaf:
                writer.transport.abort()

    talk(tmp_path, work)


def test_huge_bodies_fill_no_memory(tmp_path: Path) -> None:
    size, chunk = 100_000_000, b"10000\r\n" + b" " * 65_536 + b"\r\n"
    begins = f"POST {BASE}/workflows/greet/runs HTTP/1.1\r\nhost: localhost\r\n"
    begins += "content-type: application/json\r\n"

    async def send(port: int, head: str, part: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{begins}{head}\r\n\r\n".encode())
        try:
            for _ in range(size // len(part)):
                writer.write(part)
                await writer.drain()
            return await reader.readline()
        except ConnectionError:
            return b""  # it is cut while it still sends
        finally:
            writer.transport.abort()

    async def work(url: str, port: int, process: psutil.Process) -> None:
        before = process.memory_info().rss
        kinds: list[Any] = [("transfer-encoding: chunked", chunk)] * 20
        kinds += [(f"content-length: {size}", b" " * 65_536)] * 20
        sending = [asyncio.create_task(send(port, *kind)) for kind in kinds]
        longest = await ask(url)
        told = await asyncio.gather(*sending)
        grown = process.memory_info().rss - before
        print(f"{len(told)} bodies of 100 MB: {grown / 1e6:.0f} MB, {longest:.2f} s")
        assert all(b" 413 " in each or not each for each in told)
        assert longest < ANSWER_S
        assert grown < 200_000_000

    talk(tmp_path, work)
