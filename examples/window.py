"""Window: what comes within ten minutes of the first amount of a shop becomes one sum.

The first amount of a window asks for its end: a delayed signal of the entity to itself. It is
durable, and no process waits for it.
"""

import asyncio
from datetime import timedelta

from processor import entity, workflow
from processor.testing import Environment

WINDOW = timedelta(minutes=10)


@entity.define
class Sales:
    amounts: list[int]
    sums: list[int]

    def __init__(self) -> None:
        self.amounts = []
        self.sums = []

    def add(self, amount: int) -> None:
        if not self.amounts:
            workflow.signal_entity(Sales.close, entity.info().key, delay=WINDOW)
        self.amounts.append(amount)

    def close(self) -> None:
        self.sums.append(sum(self.amounts))
        self.amounts.clear()

    @entity.read
    def windows(self) -> list[int]:
        return self.sums


async def main() -> None:
    async with Environment(entities=[Sales]) as env:
        shop = env.entity(Sales, "Berlin")
        for amount, pause in ((5, 60), (7, 600), (11, 601)):
            await shop.signal(Sales.add, amount)
            await env.sleep(pause)
        print(await shop.call(Sales.windows))


if __name__ == "__main__":
    asyncio.run(main())
