"""The examples that newcomers try first, and the order as a class."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path

import pytest

from examples import hello, order_class
from processor import UpdateRejected, WorkflowFailed
from processor.testing import Environment

SAYS = {
    "activity": "Hello, Ada!\n",
    "async_completion": "Ada says hello\n",
    "cancellation": "hello\ngoodbye\nit is late\n",
    "child": "['Hello, Ada!', 'Hello, Grace!']\n",
    "continue_as_new": "lift-off\n",
    "cron": '"day 1, 06:00"\n"day 2, 06:00"\n"day 3, 06:00"\n',
    "query": "Hello, Ada!\nGoodbye, Ada!\n",
    "retry": "Hello, Ada, at attempt 3!\n",
    "saga": "hello\ngoodbye\nno voice today\n",
    "signal": "['Hello, Ada!', 'Hello, Grace!']\n",
    "update": "Hello, Ada!\nrefused: Ada was greeted already\n['Ada']\n",
}


def test_each_is_known() -> None:
    folder = Path(hello.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == SAYS.keys()


@pytest.mark.parametrize("name", SAYS)
def test_it_says_what_it_is_for(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(importlib.import_module(f"examples.hello.{name}").main())
    assert capsys.readouterr().out == SAYS[name]


def test_the_order_as_a_class() -> None:
    module = order_class
    activities = [module.charge, module.refund, module.check_address, module.ship]
    order = module.Order("A-1", 1_200.0, "Rome")

    async def main() -> None:
        async with Environment([module.OrderOf], activities, max_cached_runs=0) as env:
            handle = await env.start(module.OrderOf.run, order, id="a")
            assert await handle.query(module.OrderOf.status) == "paid, to Rome"
            assert await handle.update(module.OrderOf.ship_to, "oslo") == "Oslo"
            with pytest.raises(UpdateRejected, match="an address has letters"):
                await handle.update(module.OrderOf.ship_to, " ")
            await handle.signal(module.OrderOf.approve)
            assert await handle.result() == "A-1 to Oslo"
            handle = await env.start(module.OrderOf.run, order, id="b")
            with pytest.raises(WorkflowFailed, match="nobody approved it"):
                await handle.result()
            done = [e.fields["name"] for e in await handle.history() if "Scheduled" in e.type]
            assert done == ["charge", "refund"]

    asyncio.run(main())
