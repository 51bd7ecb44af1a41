"""Async completion: somebody else says how an activity ends, from any process, by its token.

python -m examples.hello.async_completion
"""

import asyncio

from processor import activity, workflow
from processor.testing import Environment

TOKENS: list[str] = []


@activity.define
async def ask(name: str) -> str:
    TOKENS.append(activity.info().task_token)  # a real one sends it to somebody
    raise activity.CompleteAsync


@workflow.define
async def hello(name: str) -> str:
    return f"{name} says {await ask(name)}"


async def main() -> None:
    async with Environment([hello], [ask]) as env:
        handle = await env.start(hello, "Ada")
        await env.sleep(1)
        await env.complete(TOKENS.pop(), "hello")
        print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
