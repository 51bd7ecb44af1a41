"""A saga: what was done is undone where a later step fails.

python -m examples.hello.saga
"""

import asyncio

from processor import ApplicationError, WorkflowFailed, activity, workflow
from processor.testing import Environment


@activity.define
async def say(text: str) -> None:
    print(text)


@activity.define
async def sing() -> None:
    raise ApplicationError("no voice today", retryable=False)


@workflow.define
async def hello() -> None:
    async with workflow.Saga() as saga:
        await say("hello")
        saga.compensate(say, "goodbye")
        await sing()


async def main() -> None:
    async with Environment([hello], [say, sing]) as env:
        try:
            await env.run(hello)
        except WorkflowFailed as failed:
            print(failed.__cause__)


if __name__ == "__main__":
    asyncio.run(main())
