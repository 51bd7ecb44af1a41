"""Ids of schedules and of business keys: nobody starts a workflow of theirs in that place."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from processor import (
    Client,
    CommandRejected,
    InvalidArgument,
    Worker,
    WorkflowNotFound,
    activity,
    workflow,
)
from processor.connect import Start


@activity.define
async def nothing() -> None:
    """Nothing."""


@workflow.define
class Holds:
    """Holds a business key until it is told to go on."""

    def __init__(self) -> None:
        self.told = ""

    @workflow.run
    async def run(self) -> str:
        await workflow.correlate("shipment", "S-7")
        await workflow.wait_until(lambda: self.told != "")
        return self.told

    @workflow.signal
    def go(self, how: str) -> None:
        self.told = how


@workflow.define
async def starts_others(id: str) -> list[str]:
    said = []
    for start in (
        lambda: workflow.call_child(Holds.run, id=id),
        lambda: workflow.signal_with_start(Holds.run, id=id, signal=(Holds.go, "on")),
    ):
        try:
            await start()
        except CommandRejected as error:
            said.append(str(error))
    return said


def embedded(path: Path, test: Any) -> None:
    async def main() -> None:
        server = f"embedded:{path}"
        code: dict[str, Any] = {"workflows": [Holds, starts_others], "activities": [nothing]}
        async with Worker(server, **code), Client(server) as client:
            await test(client)

    asyncio.run(main())


@pytest.mark.parametrize("id", ["schedule:daily", "schedule:", "correlation:shipment=S-7"])
def test_who_starts_a_workflow_under_one_is_told_at_the_call(tmp_path: Path, id: str) -> None:
    async def test(client: Client) -> None:
        asked = (
            lambda: client.start(Holds.run, id=id),
            lambda: client.run("Holds", id=id),
            lambda: client.signal_with_start(Holds.run, id=id, signal=(Holds.go, "on")),
            lambda: client.start_activity(nothing, id=id),
            lambda: client.schedules.create(Holds.run, id=id, cron="@daily"),
        )
        for ask in asked:
            with pytest.raises(InvalidArgument, match=f"id: .*give another one than '{id}'"):
                await ask()
        with pytest.raises(InvalidArgument, match=f"Start: id: .*give another one than '{id}'"):
            Start(Holds.run, id=id)
        with pytest.raises(InvalidArgument, match="workflow of schedules, and their ids begin"):
            await client.start("processor.schedule", {}, {}, id="daily")
        assert len(await client.run(starts_others, id)) == 2, "so is workflow code"
        with pytest.raises(WorkflowNotFound):
            await client.handle(id).describe()

    embedded(tmp_path, test)


def test_schedules_and_business_keys_of_ours_go_on(tmp_path: Path) -> None:
    async def test(client: Client) -> None:
        schedule = await client.schedules.create(Holds.run, id="daily", cron="@daily")
        await schedule.trigger()
        assert (await client.handle("schedule:daily").describe()).workflow == "processor.schedule"
        key = client.correlated("shipment", "S-7")
        await key.signal("go", "on")
        (run,) = (await schedule.describe()).recent
        assert await client.handle(run.workflow_id).result() == "on"

    embedded(tmp_path, test)
