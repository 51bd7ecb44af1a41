"""A client for the time of one command; with an embedded server, the worker behind it too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from processor.client import Client

__all__ = ("connected",)


@asynccontextmanager
async def connected(
    server: str, namespace: str, modules: Sequence[str] | None
) -> AsyncIterator[Client]:
    """Yield a client that can be asked at once."""
    from processor.assembly import embedded_path
    from processor.client import Client

    if embedded_path(server) is None:
        if modules:
            raise typer.BadParameter(
                "--module is for embedded:PATH; on Kafka, run: processor worker MODULE"
            )
        async with Client(server, namespace=namespace) as client:
            yield client
        return
    if not modules:
        raise typer.BadParameter(
            f"{server} lives in one process, and this one has no worker for it: add --module"
            " MODULE with the code of its workflows, or use --server with Kafka's address"
        )
    from processor.cli.modules import load_code
    from processor.cli.worker import new_worker

    worker = new_worker(load_code(modules), server, namespace=namespace)
    async with worker, Client(server, namespace=namespace) as client:
        yield client
