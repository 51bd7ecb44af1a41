"""The golden order's histories are the same on the simulated runtime as on the others."""

from __future__ import annotations

import asyncio

import pytest

from examples.orders import order_processing
from processor.testing import Environment
from tests.orders import ACTIVITIES, SCENARIOS, Scenario, golden, play


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_the_golden_order(scenario: Scenario) -> None:
    async def main() -> None:
        async with Environment(workflows=[order_processing], activities=ACTIVITIES) as env:
            history = await play(env, scenario, "order-1", env.sleep)
            assert history == golden(scenario)

    asyncio.run(main())
