"""What can be called and is no function is refused where it is made an activity."""

from __future__ import annotations

import asyncio
import time
from functools import lru_cache, partial, wraps
from typing import Any

import pytest

from processor import activity, workflow
from processor.errors import InvalidArgument
from processor.injection.interceptors import Injected
from processor.registry import Registry
from processor.testing import ActivityEnvironment, Environment
from tests.workflow.driver import PAYLOADS


def add(a: int, b: int) -> int:
    return a + b


class Adds:
    def __call__(self, a: int) -> int:
        return a


@pytest.mark.parametrize("given", [partial(add, 1), Adds(), Adds, time.sleep], ids=str)
@pytest.mark.parametrize("name", [None, "adds"])
def test_it_says_what_to_do(given: Any, name: str | None) -> None:
    with pytest.raises(InvalidArgument, match=r"Write a function .* that calls it"):
        activity.define(name=name)(given)


def test_functions_that_are_wrapped_are_functions() -> None:
    @wraps(add)
    def wrapped(*args: Any) -> Any:
        return add(*args)

    for given in (wrapped, lru_cache(add), Adds().__call__):
        defined = activity.define(name="adds")(given)
        assert Registry([], [defined], Injected(PAYLOADS)).activities
        assert "test_no_function.py" in repr(defined)


def test_an_async_wrapper_of_a_plain_function_is_awaited() -> None:
    @wraps(add)
    async def wrapped(*args: Any) -> Any:
        await asyncio.sleep(0)
        return add(*args)

    adds = activity.define(name="adds")(wrapped)

    @workflow.define
    async def calls() -> int:
        return await workflow.call_activity("adds", 1, 2, result_type=int)

    async def main() -> None:
        assert await ActivityEnvironment().run(adds, 1, 2) == 3
        async with Environment([calls], [adds]) as env:
            assert await env.run(calls) == 3

    asyncio.run(main())
