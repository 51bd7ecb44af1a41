"""Continue-as-new: the workflow goes on as a new run, without the history of the runs before.

python -m examples.hello.continue_as_new
"""

import asyncio

from processor import workflow
from processor.testing import Environment


@workflow.define
async def countdown(left: int) -> str:
    await asyncio.sleep(3600)
    if left > 1:
        workflow.continue_as_new(left - 1)
    is_first = workflow.info().run_id == workflow.info().first_run_id
    return "lift-off" if not is_first else "too early"


async def main() -> None:
    async with Environment([countdown]) as env:
        handle = await env.start(countdown, 3, id="rocket")
        print(await handle.result())  # of the last run of the chain


if __name__ == "__main__":
    asyncio.run(main())
