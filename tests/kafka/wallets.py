"""Code of the tests on a broker: wallets between which money moves, a key that runs hold."""

from __future__ import annotations

import asyncio
from typing import Final

from processor import ApplicationError, CorrelationTaken, UpdateFailed, entity, workflow

__all__ = ("WALLETS", "Ledger", "Wallet", "holds_parcel", "moves", "moves_alone")


@entity.define(history=3)
class Wallet:
    amount: int = 0
    takings: int = 0

    def put(self, amount: int) -> int:
        self.amount += amount
        return self.amount

    async def take(self, amount: int) -> int:
        if amount > self.amount:
            raise ApplicationError("too little")
        self.amount -= amount
        self.takings += 1
        await asyncio.sleep(0.02)
        return self.takings

    @entity.read
    def holds(self) -> int:
        return self.amount


@entity.define
class Ledger:
    """What came, in the order in which it came."""

    noted: list[int] = []  # noqa: RUF012  # each key has a copy

    def note(self, number: int) -> None:
        self.noted.append(number)


@workflow.define
async def moves(source: str, target: str, amount: int) -> int:
    number = await workflow.call_entity(Wallet.take, source, amount)
    await workflow.call_entity(Wallet.put, target, amount)
    return number


WALLETS: Final = (Wallet, Ledger)


@workflow.define
async def moves_alone(source: str, target: str, amount: int) -> int:
    """Move money under a lock; return the number of the lock, 0 where there was too little."""
    ends = entity.at(Wallet, source), entity.at(Wallet, target)
    async with workflow.lock(*ends) as lock:
        try:
            await workflow.call_entity(Wallet.take, source, amount)
        except UpdateFailed:
            return 0
        await workflow.call_entity(Wallet.put, target, amount)
        return lock.number(ends[0])


@workflow.define
async def holds_parcel(key: str, count: int) -> list[int]:
    """Hold a business key as soon as nobody else does, until so many items have come."""
    while True:
        try:
            await workflow.correlate("parcel", key)
            break
        except CorrelationTaken:
            await asyncio.sleep(0.5)
    return [await workflow.wait_for_event("item", int) for _ in range(count)]
