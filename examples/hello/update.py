"""An update: the workflow does something, and whoever asked gets the result.

python -m examples.hello.update
"""

import asyncio

from processor import UpdateRejected, workflow
from processor.testing import Environment


@workflow.define
class Hello:
    def __init__(self) -> None:
        self.greeted: list[str] = []
        self.done = False

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_until(lambda: self.done)
        return self.greeted

    @workflow.update
    async def greet(self, name: str) -> str:
        self.greeted.append(name)
        return f"Hello, {name}!"

    @greet.validator
    def check(self, name: str) -> None:
        if name in self.greeted:
            raise ValueError(f"{name} was greeted already")

    @workflow.signal
    def finish(self) -> None:
        self.done = True


async def main() -> None:
    async with Environment([Hello]) as env:
        handle = await env.start(Hello.run, id="hello")
        print(await handle.update(Hello.greet, "Ada"))
        try:
            await handle.update(Hello.greet, "Ada")
        except UpdateRejected as refused:
            print("refused:", str(refused).rpartition(": ")[2])
        await handle.signal(Hello.finish)
        print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
