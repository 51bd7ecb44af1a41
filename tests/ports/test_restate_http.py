"""Restate: its ingress, as a client without an SDK asks it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from processor import workflow
from tests.api.serving import BASE, asked

# --- ingress/idempotency_and_attach


@workflow.define
async def prepares(dataset: str) -> str:
    await workflow.wait_for_event("copied")
    return f"{dataset} is ready"


def test_idempotency_and_attach(tmp_path: Path) -> None:
    """ingress/idempotency_and_attach: 23 lines. Send, send again, look, and attach to what runs."""

    async def main() -> None:
        async with asyncio.timeout(60), asked(tmp_path, workflows=[prepares]) as (http, _):
            url, body = f"{BASE}/workflows/prepares/runs", {"arguments": ["customers"]}
            key, wait = {"idempotency-key": "request-7"}, {"prefer": "wait=50"}
            sent = [(await http.post(url, json=body, headers=key)).json() for _ in range(2)]
            assert [each["created"] for each in sent] == [True, False]
            assert sent[0]["run_id"] == sent[1]["run_id"]
            output = sent[0]["urls"]["result"]
            assert (await http.get(output)).status_code == 202
            attached = [
                asyncio.create_task(http.get(output, headers=wait)),
                asyncio.create_task(http.post(url, json=body, headers=key | wait)),
            ]
            await http.post(sent[1]["urls"]["events"].replace("{name}", "copied"))
            for each in attached:
                assert (await each).json()["result"] == "customers is ready"
            assert (await http.get(output)).json() == {"result": "customers is ready"}

    asyncio.run(main())
