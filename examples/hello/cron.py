"""Cron: a run each morning. Each knows the result of the run before.

python -m examples.hello.cron
"""

import asyncio
from datetime import UTC, datetime

from processor import workflow
from processor.testing import Environment


@workflow.define
async def hello() -> int:
    info = workflow.info()
    days = (info.last_result(int) or 0) + 1
    workflow.publish("mornings", None, f"day {days}, {info.started:%H:%M}")
    return days


async def main() -> None:
    async with Environment([hello], start=datetime(2027, 1, 1, tzinfo=UTC)) as env:
        handle = await env.start(hello, id="mornings", cron="0 6 * * *")
        await env.sleep(3 * 24 * 3600)
        await handle.terminate("enough")
        for record in env.published:
            print((record.value or b"").decode())


if __name__ == "__main__":
    asyncio.run(main())
