"""Temporal: samples-python, hello/hello_search_attributes."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from processor import workflow
from processor.testing import Environment

# --- hello/search_attributes


@workflow.define
async def changes_its_attribute() -> None:
    await workflow.sleep(timedelta(seconds=2))
    workflow.upsert_attributes({"CustomKeywordField": "new-value"})


def test_search_attributes() -> None:
    """hello/search_attributes: 16 lines. A start gives an attribute, the code changes it."""

    async def main() -> None:
        async with Environment([changes_its_attribute]) as env:
            old = {"CustomKeywordField": "old-value"}
            handle = await env.start(changes_its_attribute, id="order-1", attributes=old)
            assert (await handle.describe()).attributes == old
            await handle.result()
            assert (await handle.describe()).attributes == {"CustomKeywordField": "new-value"}
            found = [run.workflow_id async for run in env.list("CustomKeywordField = 'new-value'")]
            assert found == ["order-1"]
            assert (await env.count("CustomKeywordField = 'old-value'")).count == 0

    asyncio.run(main())
