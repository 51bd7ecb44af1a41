"""Requests over HTTP for each second of the server's core: `processor serve`, embedded.

python -m benchmarks.http                # a JSON line for each kind of request and width
python -m benchmarks.http --seconds 2    # shorter

The client is this process, over connections that stay open; the server is another one, whose CPU
time is read. A start that nobody waits for is acknowledged once it is durable, and what its
workflow costs is in the server's time as well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil

from processor import workflow

BASE: Final = "/api/v1/namespaces/default"
STARTS: Final = f"{BASE}/workflows/nothing/runs"
REQUESTS: Final[dict[str, tuple[str, str, str]]] = {
    "start": ("POST", STARTS, ""),
    "start and wait": ("POST", STARTS, "prefer: wait=30\r\n"),
    "query": ("POST", f"{BASE}/instances/waits/queries/state", ""),
    "list": ("GET", f"{BASE}/instances?limit=20", ""),
}
"""Method, address and headers."""

WIDTHS: Final = (1, 50)
WARM_UP_S: Final = 2.0


@workflow.define
async def nothing() -> str:
    return "done"


@workflow.define
class Waits:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_for_event("go", bool)

    @workflow.query
    def state(self) -> str:
        return "waits"


@asynccontextmanager
async def serving(folder: str) -> AsyncIterator[tuple[int, psutil.Process]]:
    """Yield the port of a server, and its process."""
    code = ("--server", f"embedded:{folder}", "--module", "benchmarks.http", "--port", "0")
    command = (sys.executable, "-m", "processor", "serve", *code, "--json")
    root, null = Path(__file__).parents[1], asyncio.subprocess.DEVNULL
    server = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=null, cwd=root
    )
    try:
        assert server.stdout is not None
        while b'"url"' not in (line := await server.stdout.readline()):
            if not line:
                raise SystemExit("the server ended: run `processor serve` to see why")
        yield int(json.loads(line)["url"].rpartition(":")[2]), psutil.Process(server.pid)
    finally:
        server.kill()
        await server.wait()


class Connection:
    """One connection that stays open, and has one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, method: str, path: str, headers: str, body: bytes = b"{}") -> None:
        """Send a request and read its answer. Raises ``SystemExit`` for one that failed."""
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        told = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        size = int(told.partition(b"content-length: ")[2].split(b"\r\n")[0])
        found = await self._reader.readexactly(size)
        if told.split()[1] not in (b"200", b"202"):
            raise SystemExit(f"{method} {path}: {found.decode()}")

    def close(self) -> None:
        self._writer.close()


async def asked(
    port: int, request: tuple[str, str, str], width: int, seconds: float
) -> list[float]:
    """Ask again and again, ``width`` at a time; return how long each request took, in seconds."""
    took: list[float] = []
    until = time.perf_counter() + seconds

    async def ask() -> None:
        connection = Connection(*await asyncio.open_connection("127.0.0.1", port))
        try:
            while (began := time.perf_counter()) < until:
                await connection.ask(*request)
                took.append(time.perf_counter() - began)
        finally:
            connection.close()

    async with asyncio.timeout(seconds + 60):
        await asyncio.gather(*(ask() for _ in range(width)))
    return took


async def measured(seconds: float) -> AsyncIterator[dict[str, Any]]:
    """Yield a line for each kind of request and width."""
    with tempfile.TemporaryDirectory() as folder:
        async with serving(folder) as (port, server):
            connection = Connection(*await asyncio.open_connection("127.0.0.1", port))
            await connection.ask("PUT", f"{BASE}/workflows/Waits/runs/waits", "")
            connection.close()
            for kind, request in REQUESTS.items():
                await asked(port, request, max(WIDTHS), min(WARM_UP_S, seconds))
                for width in WIDTHS:
                    before, began = sum(server.cpu_times()[:2]), time.perf_counter()
                    took = await asked(port, request, width, seconds)
                    passed = time.perf_counter() - began
                    cpu_s = sum(server.cpu_times()[:2]) - before
                    yield {
                        "request": kind,
                        "c": width,
                        "n": len(took),
                        "per_s": round(len(took) / passed),
                        "per_core_s": round(len(took) / cpu_s) if cpu_s else None,
                        "p50_ms": round(median(took) * 1_000, 2),
                    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10, help="how long each line is measured")
    async for line in measured(parser.parse_args().seconds):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
