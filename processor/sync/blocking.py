"""A loop in a thread of its own, for callers that are not async."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

from processor.errors import InvalidArgument
from processor.gateway import only_outside

__all__ = ("Blocking",)

T = TypeVar("T")

_DONE = object()


class _Shared:
    """The loop of all that is open in this process: it runs while anything is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def opened(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            self._users += 1
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                run, name = self._loop.run_forever, "processor.sync"
                self._thread = threading.Thread(target=run, name=name, daemon=True)
                self._thread.start()
            return self._loop

    def closed(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
            loop, thread, self._loop = self._loop, self._thread, None
        assert loop is not None and thread is not None, "it was opened"
        asyncio.run_coroutine_threadsafe(_end(loop), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(loop: asyncio.AbstractEventLoop) -> None:
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


_SHARED = _Shared()


class Blocking:
    """Runs coroutines in another thread, and blocks the caller until each is done.

    Any number of threads may call at once.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        only_outside()
        if self._loop is not None:
            raise InvalidArgument("processor.sync: it is open already")
        self._loop = _SHARED.opened()

    def call(self, asked: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine comes to. Whoever interrupts the wait cancels the coroutine."""
        loop = self._loop
        try:
            only_outside()
            if loop is None:
                raise InvalidArgument(
                    "processor.sync: it is not open: use `with Client(...) as client`, and what it "
                    "returns, inside of that block"
                )
        except BaseException:
            asked.close()
            raise
        future = asyncio.run_coroutine_threadsafe(asked, loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def each(self, asked: AsyncIterator[T]) -> Iterator[T]:
        """Yield what an iterator yields, one by one."""

        async def following() -> Any:
            return await anext(asked, _DONE)

        while (found := self.call(following())) is not _DONE:
            yield found

    def close(self) -> None:
        if self._loop is not None:
            self._loop = None
            _SHARED.closed()
