# pyright: strict
"""Right lines about search attributes; the types are pinned by ``assert_type``."""

from datetime import UTC, datetime
from typing import assert_type

from processor import Client, RunDescription, views, workflow
from processor.client import RunCount, RunGroup, RunHistory, ViewPosition, ViewRow


@workflow.define
async def order(number: int) -> int:
    workflow.upsert_attributes({"step": 1, "by": None, "tags": ["a"], "due": workflow.now()})
    customer = workflow.info().attributes["customer"]
    assert_type(customer, bool | int | float | str | datetime | list[str])
    await workflow.call_child(order, 1, attributes={"customer": "ada", "urgent": True})
    workflow.continue_as_new(number, attributes={"sum": 1.5})


async def search(client: Client) -> None:
    handle = await client.start(order, 5, attributes={"due": datetime.now(UTC), "tags": ["a"]})
    found = (await handle.describe()).attributes.get("customer")
    assert_type(found, bool | int | float | str | datetime | list[str] | None)
    async for run in client.list("status = 'failed' ORDER BY closed", limit=5):
        assert_type(run, RunDescription)
    counted = await client.count("GROUP BY workflow")
    assert_type((counted, counted.groups[0]), tuple[RunCount, RunGroup])
    history = await handle.history()
    assert_type((history, history.view), tuple[RunHistory, ViewPosition | None])


def by_status(event: views.RunEvent) -> str:
    return event.workflow


@views.table("sums", key=by_status, version=2, merge={"": "sum"})
def sums(row: int | None, event: views.RunEvent) -> int:
    match event:
        case views.RunEnded(status="completed"):
            return (row or 0) + event.result(int)
        case views.ValueChanged(name="half"):
            assert_type(event.value(float), float)
            return row or 0
        case _:
            return row or 0


async def read(client: Client) -> None:
    assert_type(sums, views.Table[int])
    async for row in client.view("sums", prefix="a", limit=5):
        assert_type(row, ViewRow)
