"""Functions stand in for activities: by the activity, or by its name."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from processor import ApplicationError, InvalidArgument, RetryPolicy, activity, workflow
from processor.testing import ActivityNotRegistered, Environment


@dataclass
class Order:
    id: str


@activity.define(retry=RetryPolicy(maximum_attempts=2))
async def charge(order: Order) -> str:
    raise AssertionError("the real one")


class Shop:
    @activity.define
    def count(self, name: str) -> int:
        raise AssertionError("the real one")


@workflow.define
async def charges(order: Order) -> str:
    return await charge(order)


@workflow.define
async def counts() -> int:
    return await Shop.count("Ada")


@workflow.define
async def asks_far() -> int:
    return await workflow.call_activity("far", Order("a"), result_type=int)


def run(code: Any, *args: Any, mocks: Any, activities: Any = ()) -> Any:
    async def main() -> Any:
        async with Environment([charges, counts, asks_far], activities, mocks=mocks) as env:
            return await env.run(code, *args)

    return asyncio.run(main())


async def charged(order: Order) -> str:
    return f"async {order.id}"


@pytest.mark.parametrize("registered", [True, False])
@pytest.mark.parametrize("key", [charge, "charge"], ids=["activity", "name"])
def test_plain_and_async_functions_get_the_typed_arguments(key: Any, registered: bool) -> None:
    activities = [charge] if registered else []
    assert run(charges, Order("7"), mocks={key: charged}, activities=activities) == "async 7"
    if registered or key is charge:  # by a name alone, the function's annotations are all there is

        def untyped(order: Any) -> str:
            return f"plain {order.id}"

        mocks = {key: untyped}
        assert run(charges, Order("7"), mocks=mocks, activities=activities) == "plain 7"


def test_a_method_needs_no_instance() -> None:
    assert run(counts, mocks={Shop.count: len}) == 3
    assert run(counts, mocks={Shop().count: len}) == 3
    assert run(counts, mocks={Shop.count: len}, activities=[Shop().count]) == 3


def test_what_is_known_by_name_only() -> None:
    def far(order: Order) -> int:
        return len(order.id)

    assert run(asks_far, mocks={"far": far}) == 1
    with pytest.raises(ActivityNotRegistered, match=r"mocks=\{'far': function\}"):
        run(asks_far, mocks={charge: charged})


def test_the_options_of_the_activity_hold() -> None:
    tried: list[int] = []

    def fails(order: Order) -> str:
        tried.append(activity.info().attempt)
        if len(tried) == 1:
            raise ApplicationError("not yet")
        return "done"

    assert run(charges, Order("7"), mocks={charge: fails}) == "done"
    assert tried == [1, 2]


@pytest.mark.parametrize(
    ("mocks", "said"),
    [
        ({charge: "no function"}, "mocks: give a function for"),
        ({3: charged}, "mocks: 3 is no activity and no name of one"),
        ({"": charged}, "mocks"),
        ({charge: charged, "charge": charged}, "activity 'charge' has two functions"),
    ],
)
def test_what_cannot_stand_in_is_refused(mocks: Any, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        Environment(mocks=mocks)


def test_an_activity_that_is_none_is_still_refused() -> None:
    with pytest.raises(InvalidArgument, match="is no activity"):
        Environment(activities=[len], mocks={charge: charged})  # type: ignore[list-item]
