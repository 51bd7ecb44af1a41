"""A class in ``non_retryable`` covers what is derived from it, wherever the activity runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processor import ApplicationError, RetryPolicy, activity, workflow
from processor.errors import ProcessorError
from processor.testing import Environment


class Refused(ApplicationError):
    pass


class RefusedForGood(Refused):
    pass


class Odd(ValueError):
    pass


RAISED: dict[str, BaseException] = {
    "file": FileNotFoundError("x"),
    "reset": ConnectionResetError("x"),
    "refused": RefusedForGood("x", type="Named"),
    "odd": Odd("x"),
    "key": KeyError("x"),
}
attempts: list[str] = []


@activity.define
async def tries(what: str) -> None:
    attempts.append(what)
    raise RAISED[what]


@workflow.define
async def calls(what: str, types: list[str], eager: bool) -> None:
    classes: dict[str, Any] = {each.__name__: each for each in (OSError, Refused, Exception)}
    policy = RetryPolicy(
        maximum_attempts=3, non_retryable=tuple(classes.get(each, each) for each in types)
    )
    try:
        await tries.options(retry=policy, eager=eager)(what)
    except ProcessorError:
        return


async def _run(what: str, types: list[str], eager: bool) -> int:
    attempts.clear()
    async with Environment(workflows=[calls], activities=[tries]) as environment:
        await environment.run(calls, what, types, eager, timeout=30)
    return len(attempts)


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize(
    ("what", "types", "count"),
    [
        ("file", ["OSError"], 1),
        ("reset", ["OSError"], 1),
        ("reset", ["ConnectionError"], 1),
        ("refused", ["Refused"], 1),
        ("refused", ["Named"], 1),
        ("odd", ["Exception"], 1),
        ("odd", ["ValueError"], 1),
        ("key", ["OSError", "Refused"], 3),
        ("key", ["Error"], 3),
    ],
)
def test_a_class_covers_its_subclasses(
    what: str, types: list[str], count: int, eager: bool
) -> None:
    assert asyncio.run(_run(what, types, eager)) == count
