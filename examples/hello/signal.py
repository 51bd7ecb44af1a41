"""A signal: the workflow waits until it is told a name, and ends when it is told to.

python -m examples.hello.signal
"""

import asyncio

from processor import workflow
from processor.testing import Environment


@workflow.define
class Hello:
    def __init__(self) -> None:
        self.names: list[str] = []
        self.leaves = False

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_until(lambda: self.leaves)
        return [f"Hello, {name}!" for name in self.names]

    @workflow.signal
    def meet(self, name: str) -> None:
        self.names.append(name)

    @workflow.signal
    def leave(self) -> None:
        self.leaves = True


async def main() -> None:
    async with Environment([Hello]) as env:
        handle = await env.start(Hello.run)
        await handle.signal(Hello.meet, "Ada")
        await handle.signal(Hello.meet, "Grace")
        await handle.signal(Hello.leave)
        print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
