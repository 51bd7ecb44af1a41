"""What all requests have in common: the client behind them, who may ask, and how many wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

from processor.api.auth.callers import Auth
from processor.api.options import HttpOptions
from processor.api.problems import HttpProblem
from processor.client import Client

__all__ = ("ServedNamespace",)

T = TypeVar("T")


class ServedNamespace:
    """A namespace over a client."""

    def __init__(self, client: Client, namespace: str, options: HttpOptions) -> None:
        self.client = client
        self.namespace = namespace
        self.options = options
        self.auth = Auth(options, namespace)
        self._watches: Counter[str] = Counter()
        self._stopping = asyncio.Event()
        self._waits: set[asyncio.Timeout] = set()

    def stop(self) -> None:
        """Let what waits and what streams come to its end."""
        self._stopping.set()
        for wait in self._waits:
            wait.reschedule(0)

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    async def pause(self, seconds: float) -> None:
        """Let time pass, or less where the server is to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def waited(self, work: Awaitable[T]) -> T:
        """Return what work returns that may take long.

        Raises ``TimeoutError`` where the server is to stop before, as where the time is up.
        """
        wait = asyncio.timeout(0 if self.is_stopping else None)
        try:
            async with wait:
                self._waits.add(wait)
                return await work
        except TimeoutError as error:
            if wait.expired():
                raise TimeoutError("this server stops and waits no longer: ask again") from error
            raise
        finally:
            self._waits.discard(wait)

    @contextmanager
    def watching(self, what: Literal["requests", "streams"] = "requests") -> Iterator[None]:
        """Count a request that waits, or a stream. Raises ``HttpProblem`` for one too many.

        Streams last long, and leave room for requests that wait.
        """
        if self._watches[what] >= self.options.watches_max:
            raise HttpProblem(
                503, f"{self._watches[what]} {what} wait for changes, which is all there may be"
            )
        self._watches[what] += 1
        try:
            yield
        finally:
            self._watches[what] -= 1
