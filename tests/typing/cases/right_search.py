# pyright: strict
"""Right lines about search attributes; the types are pinned by ``assert_type``."""

from datetime import UTC, datetime
from typing import assert_type

from processor import Client, workflow


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
