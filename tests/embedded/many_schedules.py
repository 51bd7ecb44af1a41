"""A process with many schedules that are due at one time: ``python -m ... SERVER COUNT``.

It prints that time, in seconds since the epoch, once all are there, and then how many seconds of
CPU it has needed from that time on until all runs have begun. It works until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime

from processor import Client, Worker, workflow
from processor.tuning import tune_process

_AT_ONCE = 200
_begun: set[int] = set()


@workflow.define
async def fired(number: int) -> int:
    _begun.add(number)
    return number


async def main(server: str, count: int) -> None:
    tune_process()  # as the processes of the command line do
    async with Worker(server, workflows=[fired]), Client(server) as client:
        due_s = int(time.time()) + 5 + count // 100
        due = datetime.fromtimestamp(due_s, UTC)
        room = asyncio.Semaphore(_AT_ONCE)

        async def create(number: int) -> None:
            async with room:
                await client.schedules.create(fired, number, id=f"s{number}", times=[due])

        await asyncio.gather(*map(create, range(count)))
        print(due_s if time.time() < due_s - 1 else "late", flush=True)
        await asyncio.sleep(due_s - time.time())
        before_s = time.process_time()
        while len(_begun) < count:
            await asyncio.sleep(0.1)
        print(time.process_time() - before_s, flush=True)
        await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
