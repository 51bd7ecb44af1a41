"""What becomes of a run whose handlers raise, or have not ended when it does."""

from __future__ import annotations

import pytest

from processor import (
    ApplicationError,
    Client,
    RetryPolicy,
    WorkflowCancelled,
    WorkflowFailed,
    activity,
    workflow,
)

from .passing import parked, passes


@activity.define
async def upper(text: str) -> str:
    return text.upper()


@workflow.define(retry=RetryPolicy(initial_interval=0.001))
class Frail:
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.attempt = workflow.info().attempt

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_until(lambda: "end" in self.heard)
        return [f"attempt {self.attempt}", *self.heard]

    @workflow.signal
    async def hear(self, what: str) -> None:
        self.heard.append(await upper(what) if what == "late" else what)
        if self.attempt == 1 and what in ("fail", "late"):
            raise ApplicationError(f"from the handler of {what}")


@pytest.mark.parametrize("what", ["fail", "late"])
async def test_a_handler_that_raises_fails_the_run_and_the_next_attempt_hears_the_rest(
    client: Client, id: str, what: str
) -> None:
    handle = await client.start(Frail.run, id=id)
    for each in ("one", what):
        await handle.signal(Frail.hear, each)
    with pytest.raises(WorkflowFailed, match=f"from the handler of {what}"):
        await client.handle(id, handle.run_id).result()
    await handle.signal(Frail.hear, "end")
    assert await handle.result() == ["attempt 2", "end"]


@workflow.define
class HasABug:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_for_event("end")

    @workflow.signal
    async def hear(self) -> None:
        await upper("x")
        raise ZeroDivisionError("in the handler")

    @workflow.query
    def standing(self) -> str:
        return "stands"


async def test_a_bug_of_a_handler_parks_the_run_which_still_answers(
    client: Client, id: str
) -> None:
    handle = await client.start(HasABug.run, id=id)
    await handle.signal(HasABug.hear)
    assert "in the handler" in await parked(client, handle)
    assert await handle.query(HasABug.standing) == "stands"
    await handle.signal(HasABug.hear)
    await handle.terminate()


@workflow.define
class Tidy:
    """Awaits its handlers on every way out."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self) -> None:
        try:
            await workflow.wait_for_event("end")
        finally:
            await workflow.wait_until(workflow.all_handlers_finished)
            workflow.set_status(self.heard)

    @workflow.signal
    async def hear(self, what: str) -> None:
        await workflow.sleep(0.02)
        self.heard.append(await upper(what))


@pytest.mark.parametrize("ends", ["end", "cancel"])
async def test_a_run_may_wait_for_its_handlers_on_every_way_out(
    client: Client, id: str, ends: str
) -> None:
    handle = await client.start(Tidy.run, id=id)
    for what in ("a", "b"):
        await handle.signal(Tidy.hear, what)
    if ends == "end":
        await handle.raise_event("end")
        await handle.result()
    else:
        await handle.cancel()
        await passes(client, 0)
        with pytest.raises(WorkflowCancelled):
            await handle.result()
    assert sorted((await handle.describe()).custom_status) == ["A", "B"]
