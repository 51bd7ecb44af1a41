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
    """http-api/phone_verification: 41 lines. 202 with URLs, polls, events, and an end by hand."""

    async def ended(http: httpx.AsyncClient, url: str) -> dict[str, Any]:
        while (answer := await http.get(url)).status_code == 202:
            assert int(answer.headers["retry-after"]) > 0
            url = answer.headers["location"]
            await asyncio.sleep(0.02)
        return dict(answer.json())

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
