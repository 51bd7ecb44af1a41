"""Durable Task and Durable Functions: the HTTP APIs, as a client of theirs asks them."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import httpx

from processor import activity, workflow
from tests.api.serving import asked

HUB = "/runtime/webhooks/durabletask"


async def ended(http: httpx.AsyncClient, url: str) -> dict[str, Any]:
    while (answer := await http.get(url)).status_code == 202:
        assert int(answer.headers["retry-after"]) > 0
        url = answer.headers["location"]
        await asyncio.sleep(0.02)
    return dict(answer.json())


# --- http-api/phone_verification

SENT: dict[str, int] = {}


@activity.define
async def send_challenge(phone: str) -> int:
    SENT[phone] = random.randrange(10_000)
    return SENT[phone]


@workflow.define
async def verifies(phone: str) -> bool:
    code = await send_challenge(phone)
    try:
        async with asyncio.timeout(90):
            for _ in range(3):
                if await workflow.wait_for_event("ChallengeResponse", int) == code:
                    return True
    except TimeoutError:
        pass
    return False


def test_phone_verification(tmp_path: Path) -> None:
    """http-api/phone_verification: 35 lines. 202 with URLs, polls, events, and an end by hand."""

    async def main() -> None:
        code: dict[str, Any] = {"workflows": [verifies], "activities": [send_challenge]}
        async with asyncio.timeout(60), asked(tmp_path, **code) as (http, _):
            urls = (await http.post(f"{HUB}/orchestrators/verifies/ada", json="555-01")).json()
            while "555-01" not in SENT:
                await asyncio.sleep(0.02)
            event = urls["sendEventPostUri"].replace("{eventName}", "ChallengeResponse")
            for guess in (-1, SENT["555-01"]):
                assert (await http.post(event, json=guess)).status_code == 202
            found = await ended(http, urls["statusQueryGetUri"])
            assert (found["runtimeStatus"], found["output"]) == ("Completed", True)
            assert (await http.post(event, json=0)).status_code == 410
            other = await http.post(f"{HUB}/orchestrators/verifies", json="555-02")
            stop = other.json()["terminatePostUri"].replace("{text}", "hung%20up")
            assert (await http.post(stop)).status_code == 202
            found = await ended(http, other.headers["location"])
            assert (found["runtimeStatus"], found["output"]) == ("Terminated", "hung up")

    asyncio.run(main())


# --- orchestration-management


@activity.define
async def process_batch(batch: dict[str, Any]) -> int:
    return int(batch["item_count"])


@workflow.define
async def processes(batch: dict[str, Any]) -> int:
    return await process_batch(batch)


def test_orchestrations_are_managed(tmp_path: Path) -> None:
    """orchestration-management: 32 lines, theirs 117. Restarts, lists by a filter; no purge yet."""

    async def main() -> None:
        code: dict[str, Any] = {"workflows": [processes], "activities": [process_batch]}
        async with asyncio.timeout(60), asked(tmp_path, **code) as (http, _):

            async def comes_to(url: str, **how: Any) -> Any:
                started = (await http.post(url, **how)).json()
                return started, (await ended(http, started["statusQueryGetUri"]))["output"]

            urls = []
            for count in (10, 20, 30):
                batch = {"batch_id": f"batch-{count}", "item_count": count}
                url, output = await comes_to(f"{HUB}/orchestrators/processes", json=batch)
                assert output == count
                urls.append(url)
            same = {"restartWithNewInstanceId": "false"}
            again, output = await comes_to(urls[0]["restartPostUri"], params=same)
            assert (again["id"], output) == (urls[0]["id"], 10)
            other, output = await comes_to(urls[1]["restartPostUri"])
            assert other["id"] != urls[1]["id"] and output == 20
            wanted = {"createdTimeFrom": "2020-01-01T00:00:00Z", "runtimeStatus": "Completed"}
            found = (await http.get(f"{HUB}/instances", params=wanted)).json()
            assert {each["instanceId"] for each in found} == {each["id"] for each in (*urls, other)}
            none = {**wanted, "createdTimeFrom": "2999-01-01T00:00:00Z"}
            assert (await http.get(f"{HUB}/instances", params=none)).json() == []
            purged = await http.delete(f"{HUB}/instances", params=wanted)
            assert purged.status_code == 501 and "purge" in purged.json()["detail"]

    asyncio.run(main())
