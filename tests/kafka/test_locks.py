"""Locks on a broker, while three processes are killed: the sum stays, and nothing stays locked.

``KILLED_S=60`` moves money 1,000 times between 100 accounts, for a minute: ``make kills``.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import pytest

from processor import Client, Handle, RequestExpired, ShardUnavailable
from tests.kafka.evidence import record
from tests.kafka.processes import StartWorker
from tests.kafka.talking import ask, first_answer
from tests.kafka.test_families import AFTER_S, KILLED_S, PROCESSES, Killer
from tests.kafka.wallets import Wallet, moves_alone

MOVES = round(KILLED_S * 1_000 / 60)
ACCOUNTS = min(100, MOVES // 4)
BEFORE = 100


class Bank:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._dice = random.Random(61)
        self.names = [f"account-{number}" for number in range(ACCOUNTS)]
        self.again = 0

    async def fill(self, name: str) -> None:
        """Put money in once, however often it is asked for."""
        while True:
            try:
                wallet = self._client.entity(Wallet, name)
                await wallet.call(Wallet.put, BEFORE, key="before", timeout=60)
                return
            except RequestExpired:
                return  # it ran
            except (ShardUnavailable, TimeoutError):
                await self._wait()

    async def move(self, number: int) -> tuple[str, int]:
        """Return who gave, and the number of the lock: 0 where it is more than there was."""
        source, target = self._dice.sample(self.names, 2)
        amount, id = self._dice.randint(1, 60), f"alone-{number}"
        await asyncio.sleep(number * KILLED_S / MOVES)
        handle: Handle[int] | None = None
        while True:
            try:
                handle = handle or await self._client.start(
                    moves_alone, source, target, amount, id=id, key=id
                )
                return source, await handle.result(KILLED_S + AFTER_S)
            except (ShardUnavailable, TimeoutError):
                await self._wait()

    async def _wait(self) -> None:
        self.again += 1
        await asyncio.sleep(0.2)


@pytest.mark.timeout(120 + KILLED_S + AFTER_S)
def test_transfers_under_locks_while_three_processes_are_killed(
    kafka_servers: str, made: str, start_worker: StartWorker
) -> None:
    workers = [start_worker(kafka_servers, slot) for slot in range(PROCESSES)]
    killer = Killer(workers)
    begun = time.monotonic()

    async def talk(client: Client) -> tuple[int, int]:
        await first_answer(client)
        bank = Bank(client)
        await asyncio.gather(*map(bank.fill, bank.names))
        killing = asyncio.create_task(killer.run(KILLED_S))
        moved = await asyncio.gather(*map(bank.move, range(MOVES)))
        await killing
        numbers = Counter(each for each in moved if each[1])
        assert max(numbers.values()) == 1, "each grant is another one"
        taken = len(numbers)
        wallets = [client.entity(Wallet, name) for name in bank.names]
        states = [await wallet.state() for wallet in wallets]
        assert sum(each.amount for each in states if each) == ACCOUNTS * BEFORE
        assert all(each is not None and each.amount >= 0 for each in states)
        assert sum(each.takings for each in states if each) == taken, "each takes once"
        for wallet in wallets:
            pending = (await wallet.describe()).pending
            assert pending["lock"] is None and not pending["lock_waiting"], wallet.id
        return taken, bank.again

    taken, again = ask(kafka_servers, made, talk, KILLED_S + AFTER_S)
    seconds = time.monotonic() - begun
    told = (
        f"{MOVES} transfers among {ACCOUNTS} accounts under locks, {taken} of them with enough "
        f"money ({again} asked again), in {seconds:.0f} s: the sum stayed, nothing stayed locked"
    )
    record("locks", f"kill -9 of {PROCESSES} workers for {KILLED_S:g} s", killer.killed, told)
