"""A query: the code of a run answers a question, while it runs and after its end.

python -m examples.hello.query
"""

import asyncio

from processor import workflow
from processor.testing import Environment


@workflow.define
class Hello:
    def __init__(self, name: str) -> None:
        self.greeting = f"Hello, {name}!"

    @workflow.run
    async def run(self, name: str) -> None:
        await asyncio.sleep(60)
        self.greeting = f"Goodbye, {name}!"

    @workflow.query
    def says(self) -> str:
        return self.greeting


async def main() -> None:
    async with Environment([Hello]) as env:
        handle = await env.start(Hello.run, "Ada")
        print(await handle.query(Hello.says))
        await handle.result()
        print(await handle.query(Hello.says))


if __name__ == "__main__":
    asyncio.run(main())
