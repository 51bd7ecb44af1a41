"""Temporal: search attributes, and what is done to all runs that a query finds."""

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


# --- batch/terminate-by-query


@workflow.define
async def waits(customer: str) -> None:
    await workflow.wait_for_event("never", None)


def test_all_that_a_query_finds_are_terminated() -> None:
    """batch/terminate-by-query: 17 lines. A loop over a list ends all of its runs, no others."""

    async def main() -> None:
        async with Environment([waits]) as env:
            for number in range(250):
                name = "ada" if number % 5 else "bob"
                await env.start(waits, name, id=f"{name}-{number}", attributes={"customer": name})
            async for run in env.list("customer = 'ada' AND closed IS NULL"):
                await env.handle(run.workflow_id, run.run_id).terminate("she left")
            found = await env.count("GROUP BY customer, status")
            assert {each.values: each.count for each in found.groups} == {
                ("ada", "terminated"): 200,
                ("bob", "running"): 50,
            }

    asyncio.run(main())
