"""Activities that are methods: registered with their instance, called through it or its class."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from processor import Client, Worker, activity, workflow


class Shop:
    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    @activity.define
    async def greet(self, name: str, mark: str = "!") -> str:
        return f"{self.greeting}, {name}{mark}"

    @activity.define(name="shop.count")
    def count(self, names: list[str]) -> int:
        return len(names) + len(self.greeting)


@workflow.define
async def shopping() -> list[Any]:
    return [
        await Shop.greet("Ann"),
        await Shop.greet("Ann", mark="?"),
        await Shop("unused").greet("Bob"),
        await Shop.count.options(start_to_close=5)(["a", "b"]),
        await workflow.call_activity(Shop.greet, "Cid"),
    ]


def test_a_workflow_calls_methods_through_their_class(tmp_path: Path) -> None:
    async def main() -> list[Any]:
        server, shop = f"embedded:{tmp_path}", Shop("Hi")
        worker = Worker(server, workflows=[shopping], activities=[shop.greet, shop.count])
        async with worker, Client(server) as client, asyncio.timeout(20):
            return await client.run(shopping)

    assert asyncio.run(main()) == ["Hi, Ann!", "Hi, Ann?", "Hi, Bob!", 4, "Hi, Cid!"]


def test_a_method_without_its_instance_is_not_registered(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"a worker needs it with its instance.*\[instance.greet\]"):
        Worker(f"embedded:{tmp_path}", activities=[Shop.greet])


def test_outside_of_workflows_a_method_is_one() -> None:
    assert asyncio.run(Shop("Hi").greet("Ann")) == "Hi, Ann!"
    assert Shop("Hi").count.function(["a"]) == 3
