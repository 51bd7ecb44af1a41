"""The HTTP API over a broker: a worker's own, one beside the workers, and a client over HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from processor import Client, Worker
from processor.api import HttpOptions
from processor.api.running import served
from tests.api.serving import CODE, Basket
from tests.kafka.talking import PATIENT


@pytest.mark.timeout(180)
def test_runs_are_started_watched_and_waited_for_over_http(
    kafka_servers: str, made: str, tmp_path: Path
) -> None:
    at = f"/api/v1/namespaces/{made}"

    async def main() -> None:
        worker = Worker(
            kafka_servers, namespace=made, **CODE, state_dir=tmp_path, http=HttpOptions(port=0)
        )
        client = Client(kafka_servers, namespace=made, settings=PATIENT)
        async with (
            asyncio.timeout(150),
            worker,
            client,
            served(client, made, HttpOptions(port=0)) as beside,
        ):
            for url in (worker.http_url, beside.url):
                async with httpx.AsyncClient(base_url=url, timeout=100) as http:
                    while (await http.get("/health/ready")).status_code != 200:
                        await asyncio.sleep(0.1)
                    body, wait = {"arguments": ["Ada"]}, {"prefer": "wait=60"}
                    found = await http.post(f"{at}/workflows/greet/runs", json=body, headers=wait)
                    assert found.json()["result"] == "Hello, Ada!"
                async with Client(url, namespace=made, settings=PATIENT) as other:
                    handle = await other.start(Basket.run, "ada")
                    await handle.signal(Basket.add, "apple")
                    await handle.signal(Basket.pay)
                    assert await handle.result() == ["apple"]
                    assert {run.workflow async for run in other.list()} == {"greet", "Basket"}
                    watch = f"{url}{at}/instances/{handle.id}/watch"
                async with httpx.AsyncClient(timeout=100) as http:
                    assert "event: WorkflowCompleted" in (await http.get(watch)).text
            seen: list[str] = []
            async with httpx.AsyncClient(base_url=beside.url, timeout=100) as http:
                cursor: str | None = ""
                while cursor is not None:
                    params = {"limit": "1", **({"cursor": cursor} if cursor else {})}
                    page = (await http.get(f"{at}/instances", params=params)).json()
                    seen += [run["workflow_id"] for run in page["items"]]
                    cursor = page["cursor"]
            assert len(seen) == len({*seen}) == 4

    asyncio.run(main())
