"""Golden histories are the same on the simulated runtime as they were recorded.

Those of the golden order are the same on the others, too.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from examples.orders import order_processing
from processor.testing import Environment
from tests.orders import ACTIVITIES, SCENARIOS, Scenario, golden, play
from tests.replay import programs_open, scripts_open
from tests.replay.record import played
from tests.replay.recording import OPEN, load, shown, values_of

WORDS = {"message", "reason", "traceback"}
"""What is told to people may be told better."""


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_the_golden_order(scenario: Scenario) -> None:
    async def main() -> None:
        async with Environment(workflows=[order_processing], activities=ACTIVITIES) as env:
            history = await play(env, scenario, "order-1", env.sleep)
            assert history == golden(scenario)

    asyncio.run(main())


@pytest.mark.parametrize("cached", [None, 0], ids=["live", "replayed-at-every-step"])
def test_what_the_open_level_can_say(cached: int | None) -> None:
    """Who changes this on purpose records it anew: ``python -m tests.replay.record --open``."""
    now: dict[str, Any] = {}
    for script in scripts_open.SCRIPTS:
        found = asyncio.run(played(script, programs_open, cached))
        now |= {name: without_words(values) for name, values in found.items()}
    recorded = {path.stem: without_words(values_of(load(path))) for path in OPEN.glob("*.json")}
    assert set(now) == set(recorded)
    for name, events in recorded.items():
        assert now[name] == events, name


def without_words(values: list[bytes]) -> list[tuple[str, Any]]:
    return [(event.type, _without_words(event.fields)) for event in shown(values)]


def _without_words(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_words(held) for key, held in value.items() if key not in WORDS}
    return value
