"""A loop in a thread of its own, for callers that are not async."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any, Final, TypeVar

from processor.errors import InvalidArgument
from processor.gateway import only_outside
from processor.workflow._asyncio import running_loop

__all__ = ("Blocking",)

T = TypeVar("T")

_DONE = object()

_END_S: Final = 5.0
"""How long what is still under way may take to end, once nothing is open any more."""


class _Shared:
    """The loop of all that is open in this process: it runs while anything is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._thread: threading.Thread | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def opened(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            self._users += 1
            if self.loop is None:
                self.loop = asyncio.new_event_loop()
                run, name = self.loop.run_forever, "processor.sync"
                self._thread = threading.Thread(target=run, name=name, daemon=True)
                self._thread.start()
            return self.loop

    def closed(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
            loop, thread, self.loop = self.loop, self._thread, None
        assert loop is not None and thread is not None, "it was opened"
        asyncio.run_coroutine_threadsafe(_end(loop), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def forget(self) -> None:
        """Begin anew in a process that was forked: the thread is not there."""
        _Shared.__init__(self)


async def _end(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_END_S)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


_SHARED = _Shared()
os.register_at_fork(after_in_child=_SHARED.forget)


class Blocking:
    """Runs coroutines in another thread, and blocks the caller until each is done.

    Any number of threads may call at once.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._waiting: set[Future[Any]] = set()

    def start(self) -> None:
        only_outside()
        if self._loop is not None:
            raise InvalidArgument("processor.sync: it is open already")
        self._loop = _SHARED.opened()

    def call(self, asked: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine comes to. Whoever interrupts the wait cancels the coroutine."""
        try:
            only_outside()
            future = self._begun(asked)
        except BaseException:
            asked.close()
            raise
        try:
            return future.result()
        except CancelledError:
            if self._loop is not None:
                raise
            raise InvalidArgument(
                "processor.sync: it was closed while this call waited, which may have been carried "
                "out all the same: let the `with` block end after the threads that use it"
            ) from None
        except BaseException:
            future.cancel()
            raise
        finally:
            self._waiting.discard(future)

    def _begun(self, asked: Coroutine[Any, Any, T]) -> Future[T]:
        _check_elsewhere(self._loop)
        with self._lock:
            if self._loop is None:
                raise InvalidArgument(
                    "processor.sync: it is not open: use `with Client(...) as client`, and what it "
                    "returns, inside of that block"
                )
            future = asyncio.run_coroutine_threadsafe(asked, self._loop)
            self._waiting.add(future)
            return future

    def each(self, asked: AsyncIterator[T]) -> Iterator[T]:
        """Yield what an iterator yields, one by one."""

        async def following() -> Any:
            return await anext(asked, _DONE)

        while (found := self.call(following())) is not _DONE:
            yield found

    def leave(self, ending: Coroutine[Any, Any, object]) -> None:
        """Run the end of what is open; calls that other threads still wait for end before it.

        In a process that was forked nothing is open: it is not its own.
        """
        loop = self._loop
        if loop is None or loop is not _SHARED.loop:
            ending.close()
            self._loop = None
            return
        try:
            _check_elsewhere(loop)
        except BaseException:
            ending.close()
            raise
        with self._lock:
            self._loop, waiting = None, tuple(self._waiting)
        for each in waiting:
            each.cancel()
        try:
            asyncio.run_coroutine_threadsafe(ending, loop).result()
        finally:
            _SHARED.closed()

    def close(self) -> None:
        """Give up what could not be opened."""
        if self._loop is not None:
            self._loop = None
            _SHARED.closed()


def _check_elsewhere(loop: asyncio.AbstractEventLoop | None) -> None:
    """Refuse who would wait for ever: for the thread that it runs in, or for one that is gone."""
    if loop is None:
        return
    if loop is not _SHARED.loop:
        raise InvalidArgument(
            "processor.sync: it was opened in the process that this one was forked from. Open one "
            "after the fork, in each process that needs one"
        )
    if running_loop() is loop:
        raise InvalidArgument(
            "processor.sync: async code of this process's Worker would wait for itself. Make the "
            "activity a plain function (def), which runs in a thread, or await a processor.Client"
        )
