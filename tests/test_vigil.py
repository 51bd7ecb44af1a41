"""Who waits for a result looks now and then: at least every two minutes, and says what it hears."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from processor.client.descriptions import RunDescription
from processor.client.vigil import Vigil, Vigils, overdue
from processor.errors import ShardUnavailable, WorkflowNotFound


def pauses_of(
    monkeypatch: pytest.MonkeyPatch,
    describe: Callable[[str | None], Awaitable[RunDescription]],
    looks: int,
) -> list[float]:
    """Wait until somebody has looked so often; return the pauses between, which pass at once."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def main() -> None:
        enough = asyncio.Event()

        async def passes(delay: float) -> None:
            pauses.append(delay)
            if len(pauses) >= looks:
                enough.set()
                await sleep(60)
            await sleep(0)

        monkeypatch.setattr(asyncio, "sleep", passes)
        vigil = Vigil(Vigils(), "order-1", describe, raises=False)
        async with asyncio.timeout(10), vigil:
            vigil.begin()
            await enough.wait()

    asyncio.run(main())
    return pauses


async def nobody_answers(child: str | None) -> RunDescription:
    raise ShardUnavailable("shard 3 did not answer within 10.0 s")


async def not_there(child: str | None) -> RunDescription:
    raise WorkflowNotFound("no run of 'order-1'")


def test_it_looks_less_and_less_often_and_at_least_every_two_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert pauses_of(monkeypatch, not_there, 8) == [4, 16, 64, *([120] * 5)]


def test_a_shard_that_does_not_answer_is_told_at_each_look(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pauses_of(monkeypatch, nobody_answers, 3)
    told = [each.getMessage() for each in caplog.records if each.name == "processor.client"]
    assert len(told) == 3
    for part in ("still waiting for the result of 'order-1'", "shard 3 did not answer"):
        assert part in told[0]


def test_a_run_that_is_not_there_yet_is_no_reason_to_warn(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pauses_of(monkeypatch, not_there, 3)
    assert not caplog.records


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("", "no result of 'a' within 1 s; client.handle('a').describe() says how it stands"),
        (
            "no answer",
            "no result of 'a' within 1 s: no answer; it may have begun all the same; "
            "client.handle('a').describe() says how it stands",
        ),
    ],
)
def test_a_time_out_before_the_first_look_says_who_knows_more(why: str, said: str) -> None:
    assert str(overdue("a", 1.0, None, why)) == said
