"""Who waits for a result looks now and then: at least every two minutes, and says what it hears."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import chain, pairwise

import pytest

from processor.client.descriptions import RunDescription
from processor.client.vigil import Vigil, Vigils, overdue
from processor.errors import ShardUnavailable, WorkflowNotFound


class Skipping(asyncio.SelectorEventLoop):
    """A loop whose clock goes on to the next timer when nothing else is to do."""

    def __init__(self) -> None:
        super().__init__()
        self._skipped_s = 0.0

    def time(self) -> float:
        return super().time() + self._skipped_s

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            first = self._scheduled[0].when()  # type: ignore[attr-defined]
            self._skipped_s += max(first - self.time(), 0.0)
        super()._run_once()  # type: ignore[misc]


Look = Callable[[str | None], Awaitable[RunDescription]]


def looked(
    describe: Look, for_s: float, waits: int = 1, begin_apart_s: float = 0.0
) -> list[list[float]]:
    """Wait so often and so long, in a moment; return when each was looked at, in seconds."""
    found: list[list[float]] = [[] for _ in range(waits)]

    async def main() -> None:
        loop, vigils = asyncio.get_running_loop(), Vigils()
        begun = loop.time()

        async def wait(number: int) -> None:
            async def look(child: str | None) -> RunDescription:
                found[number].append(loop.time() - begun)
                return await describe(child)

            await asyncio.sleep(number * begin_apart_s)
            async with Vigil(vigils, f"order-{number}", look, raises=False):
                await asyncio.sleep(for_s)

        await asyncio.gather(*map(wait, range(waits)))
        await asyncio.sleep(300)  # who waits no more is not looked at

    with asyncio.Runner(loop_factory=Skipping) as runner:
        runner.run(main())
    return found


async def nobody_answers(child: str | None) -> RunDescription:
    raise ShardUnavailable("shard 3 did not answer within 10.0 s")


async def not_there(child: str | None) -> RunDescription:
    raise WorkflowNotFound("no run of 'order-1'")


def test_it_looks_less_and_less_often_and_at_least_every_two_minutes() -> None:
    [times] = looked(not_there, 600)
    pauses = [after - before for before, after in pairwise([0.0, *times])]
    assert pauses == pytest.approx([1, 4, 16, 64, *([120] * 4)], abs=0.5)


@pytest.mark.parametrize("begin_apart_s", [0.0, 0.001])
def test_thousands_who_wait_are_looked_at_a_few_at_a_time(begin_apart_s: float) -> None:
    """All at once would be a flood of questions, a second after a flood of starts."""
    found = looked(not_there, 30, 1_000, begin_apart_s)
    first = sorted(times[0] for times in found)
    assert 1 <= first[0] < 1.5, "whoever waits alone hears soon"
    assert first[-1] == pytest.approx(1 + 1_000 / 20 * 0.5, abs=2), "each is looked at"
    for second in range(1, 30):  # first, second and third looks, of 20 each half second
        assert sum(second <= each < second + 1 for each in chain(*found)) <= 3 * 3 * 20


def test_who_waits_for_less_than_a_second_is_not_looked_at() -> None:
    assert looked(not_there, 0.9, waits=10) == [[]] * 10


def test_a_shard_that_does_not_answer_is_told_at_each_look(
    caplog: pytest.LogCaptureFixture,
) -> None:
    looked(nobody_answers, 30)
    told = [each.getMessage() for each in caplog.records if each.name == "processor.client"]
    assert len(told) == 3
    for part in ("still waiting for the result of 'order-0'", "shard 3 did not answer"):
        assert part in told[0]


def test_a_run_that_is_not_there_yet_is_no_reason_to_warn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    looked(not_there, 30)
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
