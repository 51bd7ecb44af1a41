"""What all requests have in common: the client behind them, who may ask, and how many wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from processor.api.auth.callers import Auth
from processor.api.options import HttpOptions
from processor.api.problems import HttpProblem
from processor.client import Client

__all__ = ("ServedNamespace",)


class ServedNamespace:
    """A namespace over a client."""

    def __init__(self, client: Client, namespace: str, options: HttpOptions) -> None:
        self.client = client
        self.namespace = namespace
        self.options = options
        self.auth = Auth(options, namespace)
        self._watches: Counter[str] = Counter()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let what waits and what streams come to its end."""
        self._stopping.set()

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
