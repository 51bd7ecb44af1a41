"""Interceptors have what workflow code asks of other instances, and may change it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processor import ApplicationError, Interceptor, WorkflowFailed, workflow
from processor.injection.interceptors import InstanceCall
from processor.testing import Environment


@workflow.define
class Cart:
    def __init__(self) -> None:
        self.items: list[str] = []
        workflow.set_value("opened", "today")

    @workflow.run
    async def run(self, end: str = "go") -> str:
        await workflow.wait_for_event(end)
        return ",".join(self.items)

    @workflow.signal
    def add(self, item: str) -> None:
        self.items.append(item)

    @workflow.update
    def put(self, item: str) -> int:
        self.items.append(item)
        return len(self.items)

    @workflow.query
    def has(self, item: str) -> bool:
        return item in self.items


@workflow.define
async def asks() -> list[Any]:
    begun = await workflow.signal_with_start(Cart.run, "end", id="cart", signal=(Cart.add, "apple"))
    told: list[Any] = [await begun.update(Cart.put, "pear"), await begun.query(Cart.has, "PEAR")]
    told.append(await begun.value("opened"))
    await begun.signal("end")
    told.append(await begun.result())
    return told


class Loud(Interceptor):
    """Notes what is asked once, shouts what may be changed, and carries a header."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.began = 0

    async def call_instance(self, call: InstanceCall, next: Any) -> Any:
        self.began += 1
        if not call.replaying:
            self.asked.append((call.operation, call.workflow_id, call.name))
        call.headers["who"] = b"Ada"
        if call.signal is not None:
            call.signal.payload = call.signal.payload.upper()
            call.signal.headers["who"] = b"Grace"
        elif call.operation == "update":
            call.arguments = tuple(each.upper() for each in call.arguments)
        told = await next(call)
        return f"{told}!" if call.operation == "value" else told


class Refuses(Interceptor):
    async def call_instance(self, call: InstanceCall, next: Any) -> Any:
        if call.operation == "query":
            raise ApplicationError("nobody looks into the cart")
        return await next(call)


@pytest.mark.parametrize("cached", [0, 100])
def test_what_is_asked_of_an_instance_passes_the_interceptors(cached: int) -> None:
    async def main() -> None:
        loud = Loud()
        async with Environment([Cart, asks], interceptors=[loud], max_cached_runs=cached) as env:
            told = await env.run(asks, id="asks")
            assert told == [2, True, "today!", "APPLE,PEAR"]
            assert loud.asked == [
                ("signal_with_start", "cart", "Cart"),
                ("update", "cart", "put"),
                ("query", "cart", "has"),
                ("value", "cart", "opened"),
                ("result", "cart", ""),
            ]
            assert (loud.began > 5) is (cached == 0), "a replay passes them again"
            events = await env.handle("cart").history()
            started = events[0].fields
            assert started["headers"] == {"who": "Ada"}
            assert started["lineage"]["carried"]["events"][0]["headers"] == {"who": "Grace"}
            (update,) = (each for each in events if each.type == "UpdateAccepted")
            assert update.fields["headers"] == {"who": "Ada"}

    asyncio.run(main())


def test_an_interceptor_may_refuse_a_question_and_the_others_are_as_they_were() -> None:
    async def main() -> None:
        async with Environment([Cart, asks], interceptors=[Refuses()]) as env:
            with pytest.raises(WorkflowFailed, match="nobody looks into the cart"):
                await env.run(asks, id="asks")
            types = [each.type for each in await env.handle("asks").history()]
            assert types.count("CallSent") == 2

    asyncio.run(main())


def test_the_signal_of_a_clients_start_has_the_headers_of_the_request() -> None:
    class Names(Interceptor):
        async def request(self, call: Any, next: Any) -> None:
            call.headers["who"] = b"Ada"
            await next(call)

    async def main() -> None:
        async with Environment([Cart], interceptors=[Names()]) as env:
            for item in ("apple", "pear"):
                handle = await env.signal_with_start(
                    Cart.run, "end", id="cart", signal=(Cart.add, item)
                )
            events = await handle.history()
            found = [each.fields["headers"] for each in events if each.type == "EventReceived"]
            assert found[-1] == {"who": "Ada"}

    asyncio.run(main())
