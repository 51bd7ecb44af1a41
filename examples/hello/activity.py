"""An activity: a step that may fail, is tried again, and is recorded once it is done.

python -m examples.hello.activity
"""

import asyncio

from processor import activity, workflow
from processor.testing import Environment


@activity.define
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@workflow.define
async def hello(name: str) -> str:
    return await greet(name)


async def main() -> None:
    async with Environment([hello], [greet]) as env:
        print(await env.run(hello, "Ada"))


if __name__ == "__main__":
    asyncio.run(main())
