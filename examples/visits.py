"""Counter: an object under a key that lives for ever, and whose history does not grow.

processor entity call Counter home add 3 --server embedded:./state --module examples.visits
processor entity call Counter home total --server embedded:./state --module examples.visits
processor entity history Counter home --server embedded:./state --module examples.visits

``counter.py`` is the same as a workflow, which goes on as a new run.
"""

import asyncio

from processor import entity, workflow
from processor.testing import Environment


@entity.define(history=3)
class Counter:
    count: int = 0

    def add(self, number: int = 1) -> int:
        self.count += number
        return self.count

    def reset(self) -> None:
        self.count = 0

    @entity.read
    def total(self) -> int:
        return self.count


@workflow.define
async def visit(page: str, times: int) -> int:
    added = [workflow.call_entity(Counter.add, page, 1) for _ in range(times)]
    return max(await asyncio.gather(*added))


async def main() -> None:
    async with Environment([visit], entities=[Counter]) as env:
        home = env.entity(Counter, "home")
        visits = [await env.start(visit, "home", 10) for _ in range(5)]
        for each in visits:
            await each.result()
        print("counted:", await home.call(Counter.total))
        await home.signal(Counter.reset)
        print("after the reset:", await home.call(Counter.add))
        print("ended last:", *(each.operation for each in await home.history()))


if __name__ == "__main__":
    asyncio.run(main())
