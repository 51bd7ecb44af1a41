"""A child workflow: one workflow runs another, and gets its result.

python -m examples.hello.child
"""

import asyncio

from processor import workflow
from processor.testing import Environment


@workflow.define
async def compose(greeting: str, name: str) -> str:
    return f"{greeting}, {name}!"


@workflow.define
async def hello(*names: str) -> list[str]:
    called = [workflow.call_child(compose, "Hello", name) for name in names]
    return list(await asyncio.gather(*called))


async def main() -> None:
    async with Environment([hello, compose]) as env:
        print(await env.run(hello, "Ada", "Grace"))


if __name__ == "__main__":
    asyncio.run(main())
