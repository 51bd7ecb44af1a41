"""A client's way into a simulated world, for the real ``Client`` and ``Handle``."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from processor.codec.records import encode
from processor.core.inputs import ClientCommand
from processor.core.nouns.start import StartRun, StartWith
from processor.core.nouns.update import AwaitUpdate, UpdateRun
from processor.core.nouns.value import AwaitValue
from processor.core.operation import Request
from processor.core.questions import AwaitResult
from processor.core.records.answers import ReplyBody
from processor.errors import ShardUnavailable
from processor.simulation.driver import Driver
from processor.simulation.world import World
from processor.views.answers import Found, RunCount
from processor.views.rows import Rows, open_rows
from processor.views.search import RunSearch, feed
from processor.views.tables.pages import TablePage, TableSearch
from processor.views.tables.stored import TableRows, UserTables

__all__ = ("SimulatedGateway",)

_FOR_EVER_MS: Final = 1 << 50


class SimulatedGateway:
    """Time-outs of requests are real ones: a test that hangs is to end in real time."""

    def __init__(self, world: World, driver: Driver, tables: UserTables) -> None:
        self._driver = driver
        self._client = world.client("client", ask_again_ms=None)
        self.partitions = world.broker.partitions
        self._log = world.broker.logs[0]
        self._rows: Rows | None = None
        self._tables = tables
        self._opened: dict[str, TableRows] = {}

    async def start(self) -> None:
        """Nothing to connect."""

    async def request(
        self, command: ClientCommand, *, timeout_s: float, partition: int | None = None
    ) -> ReplyBody:
        """Return the answer of the command's shard; who waits for a result lets time skip."""
        answered: asyncio.Future[ReplyBody] = asyncio.get_running_loop().create_future()
        encode(command)  # what cannot be encoded is its sender's to know, as with Kafka
        body = command.body
        with ExitStack() as stack:
            if isinstance(body, AwaitResult | AwaitUpdate | AwaitValue):
                command = replace(command, body=replace(body, timeout_ms=_FOR_EVER_MS))
                stack.enter_context(self._driver.skipping())
            else:
                command = replace(command, body=_at_once(body))
            failed = stack.enter_context(self._driver.watched())
            request_id = self._client.request(command, answered.set_result, partition)
            stack.callback(self._client.forget, request_id)
            self._driver.wake()
            await asyncio.wait(
                (answered, failed), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if failed.done():
                failed.result()
            if answered.done():
                return answered.result()
        raise ShardUnavailable(f"the simulated shard did not answer within {timeout_s:.1f} s")

    async def search(self, search: RunSearch, *, timeout_s: float) -> Found | RunCount:
        """Return what the rows say, brought to where the log is now."""
        log = self._log
        if self._rows is None:
            self._rows = open_rows(None, 0, "simulated")
        feed(self._rows, log.read, log.end)
        return search.of(self._rows)

    async def view(self, search: TableSearch, *, timeout_s: float) -> TablePage:
        """Return what a table says, brought to where the log is now."""
        name = search.name
        if name not in self._opened:
            how = None, 0, "simulated", search.what
            self._opened[name] = self._tables.open(name, *how)
        feed(self._opened[name], self._log.read, self._log.end)
        return search.of(self._opened[name])

    async def close(self) -> None:
        """Nothing to disconnect."""


def _at_once(body: Request) -> Request:
    """Return what is answered at once: who waits for what comes of it asks for that next."""
    match body:
        case StartWith(first=UpdateRun() as first):
            return replace(body, first=replace(first, outcome_within_ms=None))
        case StartRun():
            return replace(body, result_within_ms=None)
        case UpdateRun():
            return replace(body, outcome_within_ms=None)
        case _:
            return body
