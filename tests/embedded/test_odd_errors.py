"""Errors that are hard to tell, raised by workflow code: the run fails, and its shard goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from processor import ApplicationError, WorkflowFailed, workflow
from processor.testing import Environment
from tests.core.broken import Data, NoSuper


class BrokenText(ApplicationError):
    def __str__(self) -> str:
        raise KeyboardInterrupt

    def __eq__(self, other: object) -> bool:
        raise SystemExit(1)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        raise ValueError


class Unwritable:
    def __reduce__(self) -> Any:
        raise TypeError


ODD: dict[str, Callable[[], BaseException]] = {
    "half a character": lambda: ApplicationError("caf\udce9", type="caf\udce9"),
    "no super": NoSuper,
    "a dataclass": Data,
    "no text": lambda: BrokenText("m"),
    "details": lambda: ApplicationError("m", details=Unwritable()),
}


@workflow.define
async def raises(how: str) -> None:
    raise ODD[how]()


@workflow.define
async def answers(number: int) -> int:
    return number


@pytest.mark.parametrize("how", ODD)
@pytest.mark.parametrize("cached", [100, 0], ids=["cached", "replayed"])
def test_a_run_fails_with_an_error_that_is_hard_to_tell(how: str, cached: int) -> None:
    async def main() -> None:
        async with Environment([raises, answers], max_cached_runs=cached) as env:
            with pytest.raises(WorkflowFailed) as failed:
                await env.run(raises, how, id="odd")
            assert str(failed.value)
            assert (await env.handle("odd").describe()).status == "failed"
            assert await env.run(answers, 5) == 5

    asyncio.run(main())
