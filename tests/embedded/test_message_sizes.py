"""What one workflow sends another fits into the topic of messages, or the call says so."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from processor import Client, PayloadTooLarge, Settings, Worker, workflow

LARGE = "x" * 2_000_000


@workflow.define
async def takes(value: str) -> int:
    return len(value)


@workflow.define
async def sends(how: str) -> str:
    with pytest.raises(PayloadTooLarge, match="what one workflow sends another has 1,900,000"):
        match how:
            case "signal":
                workflow.signal("other", "go", LARGE)
            case "awaited":
                await workflow.signal("other", "go", LARGE)
            case "child":
                await workflow.call_child(takes, LARGE)
            case "start":  # each part of it fits
                part, signal = LARGE[:700_000], ("go", LARGE[:700_000])
                given: Any = {"id": "other", "signal": signal, "memo": LARGE[:700_000]}
                await workflow.signal_with_start(takes, part, **given)
            case "update":
                await workflow.handle("other").update("put", LARGE)
    return "told"


@pytest.mark.parametrize("cached", [100, 0])
def test_a_message_that_is_too_large_is_refused_at_the_call(tmp_path: Path, cached: int) -> None:
    async def work() -> None:
        server: Any = f"embedded:{tmp_path}"
        settings = Settings(payload_bytes_max=5_000_000, cached_runs_max=cached)
        worker = Worker(server, workflows=[sends, takes], settings=settings)
        async with worker, Client(server, settings=settings) as client:
            for how in ("signal", "awaited", "child", "start", "update"):
                assert await client.run(sends, how, timeout=20) == "told"

    asyncio.run(work())
