"""Requests over HTTP for each second of the server's core: `processor serve`, embedded.

python -m benchmarks.http                # a JSON line for each kind of request and width
python -m benchmarks.http --seconds 2    # shorter
python -m benchmarks.http --restate      # each line beside that of Restate's ingress

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
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil

from benchmarks import http_restate
from processor import workflow

BASE: Final = "/api/v1/namespaces/default"
STARTS: Final = f"{BASE}/workflows/nothing/runs"
REQUESTS: Final[dict[str, tuple[str, str, str, bytes]]] = {
    "start": ("POST", STARTS, "", b"{}"),
    "start and wait": ("POST", STARTS, "prefer: wait=30\r\n", b"{}"),
    "query": ("POST", f"{BASE}/instances/waits/queries/state", "", b"{}"),
    "list": ("GET", f"{BASE}/instances?limit=20", "", b""),
}
"""Method, address, headers and body."""

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


@dataclass(frozen=True)
class Served:
    """The port for each kind of request, and the processes that serve."""

    ports: Mapping[str, int]
    processes: Sequence[psutil.Process]

    @property
    def cpu_s(self) -> float:
        return sum(sum(each.cpu_times()[:2]) for each in self.processes)


@asynccontextmanager
async def ours() -> AsyncIterator[Served]:
    """Yield a server of ours, with a run that waits."""
    with tempfile.TemporaryDirectory() as folder:
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
            port = int(json.loads(line)["url"].rpartition(":")[2])
            connection = Connection(*await asyncio.open_connection("127.0.0.1", port))
            await connection.ask("PUT", f"{BASE}/workflows/Waits/runs/waits", "", b"{}")
            connection.close()
            yield Served(dict.fromkeys(REQUESTS, port), [psutil.Process(server.pid)])
        finally:
            server.kill()
            await server.wait()


@asynccontextmanager
async def restate() -> AsyncIterator[Served]:
    """Yield Restate's server, and a service of its SDK."""
    async with http_restate.serving() as (ports, ids):
        yield Served(ports, [psutil.Process(each) for each in ids])


class Connection:
    """One connection that stays open, and has one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, method: str, path: str, headers: str, body: bytes) -> None:
        """Send a request and read its answer. Raises ``SystemExit`` for one that failed."""
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        told = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if b"content-length: " in told:
            size = int(told.partition(b"content-length: ")[2].split(b"\r\n")[0])
            found = await self._reader.readexactly(size)
        else:
            found = await self._chunks()
        if told.split()[1] not in (b"200", b"202"):
            raise SystemExit(f"{method} {path}: {found.decode()}")

    async def _chunks(self) -> bytes:
        found = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            found += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return found

    def close(self) -> None:
        self._writer.close()


async def asked(
    port: int, request: tuple[str, str, str, bytes], width: int, seconds: float
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


async def measured(served: Served, kind: str, width: int, seconds: float) -> dict[str, Any]:
    """Return what a line says of one kind of request."""
    request = REQUESTS[kind] if len(served.processes) == 1 else http_restate.REQUESTS[kind]
    port = served.ports[kind]
    await asked(port, request, width, min(WARM_UP_S, seconds))
    before, began = served.cpu_s, time.perf_counter()
    took = await asked(port, request, width, seconds)
    passed, cpu_s = time.perf_counter() - began, served.cpu_s - before
    return {
        "request": kind,
        "c": width,
        "n": len(took),
        "per_s": round(len(took) / passed),
        "per_core_s": round(len(took) / cpu_s) if cpu_s else None,
        "p50_ms": round(median(took) * 1_000, 2),
    }


async def lines(systems: Sequence[str], seconds: float) -> AsyncIterator[dict[str, Any]]:
    """Yield a line for each kind of request, width and system, the systems in turn."""
    async with AsyncExitStack() as stack:
        served = {name: await stack.enter_async_context(SYSTEMS[name]()) for name in systems}
        for kind in REQUESTS:
            for width in WIDTHS:
                for name, each in served.items():
                    yield {"system": name, **await measured(each, kind, width, seconds)}


SYSTEMS: Final = {"processor": ours, "restate": restate}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10, help="how long each line is measured")
    parser.add_argument("--restate", action="store_true", help="measure Restate's ingress beside")
    given = parser.parse_args()
    systems = list(SYSTEMS) if given.restate else ["processor"]
    async for line in lines(systems, given.seconds):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
