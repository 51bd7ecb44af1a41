"""What all requests have in common: the client behind them, who may ask, and how many wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

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
        self._watches = 0
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
    def watching(self) -> Iterator[None]:
        """Count a request that waits. Raises ``HttpProblem`` for one too many."""
        if self._watches >= self.options.watches_max:
            raise HttpProblem(
                503, f"{self._watches} requests wait for changes, which is all there may be"
            )
        self._watches += 1
        try:
            yield
        finally:
            self._watches -= 1
