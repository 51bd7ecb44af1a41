"""The API in a process that has a client or a worker: for as long as that runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from processor.api.app import NO_FIGURES, Api
from processor.api.options import HttpOptions
from processor.api.server import HttpServer
from processor.api.serving import ServedNamespace
from processor.client import Client

__all__ = ("served",)


@asynccontextmanager
async def served(
    client: Client,
    namespace: str,
    options: HttpOptions,
    hindered: Callable[[], str] = lambda: "",
    figures: Mapping[str, Any] = NO_FIGURES,
) -> AsyncIterator[HttpServer]:
    """Serve the API of a client, which is entered. Raises ``InvalidArgument``: nobody can listen.

    ``hindered`` says what keeps the process from serving ("": nothing), for ``/health/ready``.
    ``figures`` are told there, as they are when it is asked.
    """
    serving = ServedNamespace(client, namespace, options)
    async with HttpServer(Api(serving, hindered, figures), options, serving.stop) as server:
        yield server
