"""A retry policy: the activity fails twice, and is tried again after longer and longer pauses.

python -m examples.hello.retry
"""

import asyncio
from datetime import timedelta

from processor import RetryPolicy, activity, workflow
from processor.testing import Environment


@activity.define(retry=RetryPolicy(timedelta(seconds=10), coefficient=2, maximum_attempts=5))
async def greet(name: str) -> str:
    attempt = activity.info().attempt
    if attempt < 3:
        raise ConnectionError("nobody answers")
    return f"Hello, {name}, at attempt {attempt}!"


@workflow.define
async def hello(name: str) -> str:
    return await greet(name)


async def main() -> None:
    async with Environment([hello], [greet]) as env:  # time is skipped: nobody waits 30 seconds
        print(await env.run(hello, "Ada"))


if __name__ == "__main__":
    asyncio.run(main())
