"""A client for the time of one command; with an embedded server, the worker behind it too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from processor.cli.options import Target
from processor.errors import WorkflowNotFound

if TYPE_CHECKING:
    from processor.client import Client

__all__ = ("connected", "new_client")


@asynccontextmanager
async def connected(
    target: Target, modules: Sequence[str] | None, views_dir: Path | None = None
) -> AsyncIterator[Client]:
    """Yield a client that can be asked at once. ``views_dir``: as for ``Client``."""
    from processor.assembly import embedded_path

    if embedded_path(target.server) is None:
        if modules:
            raise typer.BadParameter(
                "--module is for embedded:PATH; on Kafka, run: processor worker MODULE"
            )
        with which(target):
            async with new_client(target, views_dir) as client:
                yield client
        return
    if not modules:
        raise typer.BadParameter(
            f"{target.server} lives in one process, and this one has no worker for it: add --module"
            " MODULE with the code of its workflows, or use --server with Kafka's address"
        )
    from processor.cli.commands.worker import new_worker
    from processor.cli.modules import load_code

    with which(target):
        async with new_worker(load_code(modules), target), new_client(target) as client:
            yield client


@contextmanager
def which(target: Target) -> Iterator[None]:
    """Say where a run was looked for that is not there."""
    try:
        yield
    except WorkflowNotFound as error:
        where = f"namespace {target.namespace!r} at {target.server}"
        raise WorkflowNotFound(f"{error}, in {where}") from error


def new_client(target: Target, views_dir: Path | None = None) -> Client:
    """Return a client of a target, not yet started."""
    from processor.client import Client

    return Client(target.server, **target.how, views_dir=views_dir, replies=target.replies)
