"""A TCP proxy for one address, whose network can be made slow, narrow, silent, or be cut.

It runs on a thread and a loop of its own, so that the test's loop is free. Kafka's clients meet it
when a listener of the broker is advertised under its port.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from threading import Thread
from time import monotonic
from types import TracebackType
from typing import Any, Self

__all__ = ("Proxy",)

_CHUNK_BYTES = 65_536
_HOST = "127.0.0.1"


class Proxy:
    """``delay_s`` and ``bytes_per_s`` may be set at any time and hold for each direction."""

    def __init__(self, port: int, target_port: int) -> None:
        self.port = port
        self.delay_s = 0.0
        self.bytes_per_s = float("inf")
        self.connections = 0
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self._answering = asyncio.Event()
        self._answering.set()

    def __enter__(self) -> Self:
        self._thread.start()
        self.mend()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._run(self._cut())
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self) -> None:
        """End every connection and refuse new ones."""
        self._run(self._cut())

    def go_silent(self) -> None:
        """Keep connections, take new ones, and let nothing through: a cable without an end."""
        self._loop.call_soon_threadsafe(self._passing.clear)

    def withhold_answers(self) -> None:
        """Let through what clients send, and nothing that comes back: they cannot know."""
        self._loop.call_soon_threadsafe(self._answering.clear)

    def mend(self) -> None:
        """Let everything through again; what was held back goes first, as TCP would have it."""
        self.delay_s, self.bytes_per_s = 0.0, float("inf")
        for gate in (self._passing, self._answering):
            self._loop.call_soon_threadsafe(gate.set)
        self._run(self._listen())

    # --- on the proxy's loop ----------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, _HOST, self.port)

    async def _cut(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            there, back = await asyncio.open_connection(_HOST, self._target_port)
        except OSError:  # the broker is down, and so is what it is reached by
            writer.transport.abort()
            return
        self._open |= {writer, back}
        ways = ((reader, back, self._passing), (there, writer, self._answering))
        for source, sink, gate in ways:
            task = asyncio.ensure_future(self._pump(source, sink, gate, {writer, back}))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        gate: asyncio.Event,
        both: set[asyncio.StreamWriter],
    ) -> None:
        """Carry one direction while its gate is open; where it ends, both end."""
        arriving: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        reading = asyncio.ensure_future(self._read(source, arriving))
        try:
            with contextlib.suppress(OSError):
                while True:
                    due, chunk = await arriving.get()
                    if not chunk:
                        return
                    await asyncio.sleep(max(due - monotonic(), len(chunk) / self.bytes_per_s))
                    await self._passing.wait()
                    await gate.wait()
                    sink.write(chunk)
                    await sink.drain()
        finally:
            reading.cancel()
            for writer in both:
                writer.transport.abort()
            self._open -= both

    async def _read(
        self, source: asyncio.StreamReader, arriving: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        """Note what arrives with the time at which it is due; nothing (b"") is the end."""
        chunk = b"..."
        while chunk:
            await self._passing.wait()
            try:
                chunk = await source.read(_CHUNK_BYTES)
            except OSError:
                chunk = b""
            arriving.put_nowait((monotonic() + self.delay_s, chunk))
