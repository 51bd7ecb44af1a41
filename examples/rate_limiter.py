"""Rate limiter: workflows call a host at most twice a second, however many there are.

An entity for each host hands out the times, in the order in which workflows ask. What they wait for
is a durable timer of their own, so that the entity is free at once.
"""

import asyncio
import itertools

from processor import entity, workflow
from processor.testing import Environment

EVERY_S = 0.5


@entity.define
class Limiter:
    free_at: float = 0.0

    def take(self) -> float:
        """Return in how many seconds whoever asks may call the host."""
        now = workflow.now().timestamp()
        begins = max(now, self.free_at)
        self.free_at = begins + EVERY_S
        return begins - now


@workflow.define
async def call_host(host: str) -> float:
    wait_s = await workflow.call_entity(Limiter.take, host)
    await asyncio.sleep(wait_s)
    return workflow.now().timestamp()  # here it would call the host, by an activity


async def main() -> None:
    async with Environment([call_host], entities=[Limiter]) as env:
        handles = [await env.start(call_host, "example.com") for _ in range(5)]
        times = sorted([await handle.result() for handle in handles])
        pauses = [after - before for before, after in itertools.pairwise(times)]
        print("at least half a second apart:", min(pauses) > 0.99 * EVERY_S)


if __name__ == "__main__":
    asyncio.run(main())
