"""Business keys on a broker, while processes are killed: each event is given once, and in order.

``KILLED_S=60`` sends events to 10 keys for a minute: ``make kills``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from processor import Client, Handle, RequestExpired, ShardUnavailable
from tests.kafka.evidence import record
from tests.kafka.processes import StartWorker
from tests.kafka.talking import ask, first_answer
from tests.kafka.test_families import AFTER_S, KILLED_S, PROCESSES, Killer
from tests.kafka.wallets import holds_parcel

KEYS = 10
CHUNK = 5
ITEMS = CHUNK * max(round(KILLED_S / 2), 2)
"""Of each key: as many as so many runs take, one after the other."""


async def until_done(act: Callable[[], Awaitable[Any]]) -> Any:
    """Ask again where no shard answers: another process takes it over."""
    while True:
        try:
            return await act()
        except (ShardUnavailable, TimeoutError):
            await asyncio.sleep(0.2)


class Sender:
    """Sends the items of one key, each until it is taken. ``again``: how often it had to ask."""

    def __init__(self, client: Client, key: str) -> None:
        self._correlated = client.correlated("parcel", key)
        self.again = 0

    async def run(self) -> None:
        for number in range(ITEMS):
            await asyncio.sleep(KILLED_S / ITEMS)
            await until_done(partial(self._send, number))

    async def _send(self, number: int) -> None:
        try:
            await self._correlated.signal("item", number, key=f"item-{number}")
        except RequestExpired:  # it counted
            self.again += 1


async def take(client: Client, key: str) -> list[int]:
    """Let one run after the other hold a key; the next one asks while the last one still has it."""
    handles: list[Handle[list[int]]] = []
    for number in range(ITEMS // CHUNK):
        id = f"holds_parcel-{key}-{number}"
        handles.append(
            await until_done(partial(client.start, holds_parcel, key, CHUNK, id=id, key=id))
        )
    found: list[int] = []
    for handle in handles:
        found += await until_done(partial(handle.result, 30))
    return found


@pytest.mark.timeout(120 + KILLED_S + AFTER_S)
def test_events_are_given_once_and_in_order_while_processes_are_killed(
    kafka_servers: str, made: str, start_worker: StartWorker
) -> None:
    workers = [start_worker(kafka_servers, slot) for slot in range(PROCESSES)]
    killer = Killer(workers)
    begun = time.monotonic()
    keys = [f"P-{number}" for number in range(KEYS)]

    async def talk(client: Client) -> None:
        await first_answer(client)
        killing = asyncio.create_task(killer.run(KILLED_S))
        senders = [Sender(client, key) for key in keys]
        async with asyncio.TaskGroup() as group:
            for sender in senders:
                group.create_task(sender.run())
            taking = [group.create_task(take(client, key)) for key in keys]
        for taken in (task.result() for task in taking):
            assert sorted(taken) == list(range(ITEMS)), "each is given once"
            chunks = [taken[at : at + CHUNK] for at in range(0, ITEMS, CHUNK)]
            assert all(chunk == sorted(chunk) for chunk in chunks), "in their order"
            in_turn = [item for chunk in sorted(chunks) for item in chunk]
            assert in_turn == list(range(ITEMS)), "a key has one holder at a time"
        await killing
        for key in keys:
            async with asyncio.timeout(AFTER_S):  # the end of the last holder is on its way
                while (await client.correlated("parcel", key).describe()).holder is not None:
                    await asyncio.sleep(0.2)

    ask(kafka_servers, made, talk, KILLED_S + AFTER_S)
    seconds = time.monotonic() - begun
    told = (
        f"{KEYS * ITEMS} events for {KEYS} business keys, each held by {ITEMS // CHUNK} runs in "
        f"turn, in {seconds:.0f} s: each given once, in order, no key is held"
    )
    record("keys", f"kill -9 of {PROCESSES} workers for {KILLED_S:g} s", killer.killed, told)
