"""Cancellation: the workflow is asked to stop, cleans up, and ends as cancelled.

python -m examples.hello.cancellation
"""

import asyncio

from processor import WorkflowCancelled, activity, workflow
from processor.testing import Environment


@activity.define
async def say(text: str) -> None:
    print(text)


@workflow.define
async def hello() -> None:
    await say("hello")
    try:
        await asyncio.sleep(365 * 24 * 3600)
    finally:
        await say("goodbye")  # clean-up may take its time: a cancellation is delivered once


async def main() -> None:
    async with Environment([hello], [say]) as env:
        handle = await env.start(hello)
        await env.sleep(60)
        await handle.cancel("it is late")
        try:
            await handle.result()
        except WorkflowCancelled as cancelled:
            print(cancelled.reason)


if __name__ == "__main__":
    asyncio.run(main())
