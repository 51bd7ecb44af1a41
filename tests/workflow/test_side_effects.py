"""Side effects, the logger, and errors that nobody receives."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

import pytest

from processor import ProcessorError, activity, workflow
from processor.config import Settings
from processor.core.nouns.value import SideEffectRecorded
from processor.core.runner import CodeError
from tests.workflow.driver import START_MS, World


@activity.define
async def step(value: Any = None) -> int:
    raise NotImplementedError


def test_a_side_effect_happens_once() -> None:
    calls: list[int] = []

    def effect() -> tuple[int, ...]:
        calls.append(1)
        return (1, 2)

    @workflow.define
    async def effects() -> str:
        await step()
        return repr(workflow.side_effect(effect, tuple[int, ...]))

    world = World(effects)
    world.start()
    recorded, end = world.complete(1, 1)
    assert isinstance(recorded, SideEffectRecorded)
    assert (recorded.id, recorded.value) == (2, b"[1,2]")
    assert world.result([end]) == "(1, 2)"
    world.replay()
    assert calls == [1]


def test_a_side_effect_that_the_history_does_not_have_is_a_mismatch() -> None:
    @workflow.define
    async def effects() -> int:
        return workflow.side_effect(lambda: 1, int)

    world = World(effects)
    with pytest.raises(CodeError, match="no side effect at position 1") as caught:
        world.runner.activate(START_MS, 0, [world.started], [])
    assert caught.value.kind == "nondeterminism"
    assert "workflow.side_effect(lambda: 1, int)" in caught.value.where


def test_a_side_effect_that_raises_parks_the_run_even_if_the_code_catches_it() -> None:
    @workflow.define
    async def effects() -> int:
        try:
            return workflow.side_effect(lambda: 1 // 0, int)
        except ZeroDivisionError:
            return 0

    with pytest.raises(CodeError, match="ZeroDivisionError") as caught:
        World(effects).start()
    assert "A side effect must not raise" in caught.value.traceback


@pytest.mark.parametrize("settings", [Settings(), Settings(payload_bytes_max=10)])
@pytest.mark.parametrize("value", [object(), "x" * 100], ids=["no JSON", "too large"])
def test_a_side_effect_that_cannot_be_recorded_parks_the_run_even_if_the_code_catches_it(
    value: object, settings: Settings
) -> None:
    """Live it would go on, and no replay could repeat that."""
    if isinstance(value, str) and settings.payload_bytes_max > 100:
        settings = Settings(turn_bytes_max=150)

    @workflow.define
    async def effects() -> None:
        with suppress(ProcessorError):
            workflow.side_effect(lambda: value)
        await workflow.wait_for_event("go")

    with pytest.raises(CodeError, match=r"a side effect.*(JSON|limit is)") as caught:
        World(effects, settings=settings).start()
    assert caught.value.kind == "bug"
    assert "its value must fit into its record" in caught.value.error


def test_a_side_effect_whose_error_has_no_truth_parks_the_run() -> None:
    class Counts(Exception):
        def __len__(self) -> int:
            raise KeyError("nothing to count")

        @property
        def __notes__(self) -> list[str]:
            raise KeyError("no notes")

    def effect() -> int:
        raise Counts("what it says")

    @workflow.define
    async def effects() -> None:
        for _ in range(2):
            with suppress(Counts):
                workflow.side_effect(effect)
        await workflow.wait_for_event("go")

    with pytest.raises(CodeError, match="Counts: what it says"):
        World(effects).start()


def test_the_logger_is_silent_at_replay(caplog: pytest.LogCaptureFixture) -> None:
    @workflow.define
    async def logs() -> None:
        workflow.logger.warning("hello %s", "you")
        await step()

    caplog.set_level(logging.INFO)
    world = World(logs)
    world.start()
    (record,) = caplog.records
    assert record.getMessage() == "hello you"
    assert (record.workflow_id, record.run_id) == ("order-1", "run-1")  # type: ignore[attr-defined]
    assert record.funcName == "logs"
    world.replay()
    assert len(caplog.records) == 1
    workflow.logger.warning("outside")
    assert len(caplog.records) == 2


def test_an_error_that_nobody_receives_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    @workflow.define
    async def loses() -> None:
        async def fails() -> None:
            raise KeyError("lost")

        asyncio.create_task(fails())  # noqa: RUF006
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)

    world = World(loses)
    world.start()
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 2
    assert all(text.startswith("workflow order-1, run run-1: ") for text in texts)
    assert "KeyError" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    world.replay()
    assert len(caplog.records) == 2
