"""Payloads that code makes otherwise at replay: found as values, named by their path.

The environment replays at every step. What differs between two processes in real life (the order
of a set of texts, code that was deployed since) is turned over between two steps here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from processor import RunDescription, Settings, Status, activity, workflow
from processor.testing import Environment
from processor.workflow import Workflow


@activity.define
async def step(value: Any = None) -> None: ...


class Text(str):
    """A text whose hash is another one in another process, as that of every text is."""

    process = 0
    __slots__ = ()

    def __hash__(self) -> int:
        return ord(self[0]) * (1 if Text.process == 0 else -1)


class Deployed:
    """Code as it was deployed first, and later."""

    later = False


@pytest.fixture(autouse=True)
def _first_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Text, "process", 0)
    monkeypatch.setattr(Deployed, "later", False)


def turned_over() -> None:
    """Go on in another process, with other code."""
    Text.process, Deployed.later = 1, True


def as_deployed(first: Any, later: Any) -> Any:
    return later if Deployed.later else first


def played(run: Workflow[[], Any], **how: Any) -> tuple[RunDescription, Any]:
    """Turn everything over while a run waits; return what became of it, and its result."""

    async def main() -> tuple[RunDescription, Any]:
        async with Environment([run], [step], **{"max_cached_runs": 0, **how}) as env:
            handle = await env.start(run, id="w")
            await env.sleep(1)
            assert (await handle.describe()).status is Status.RUNNING
            turned_over()
            await handle.raise_event("go", "on")
            await env.sleep(10)
            found = await handle.describe()
            return found, await handle.result() if found.status is Status.COMPLETED else None

    return asyncio.run(main())


def calls(ask: Callable[[], Any]) -> Workflow[[], Any]:
    """Return a workflow that asks for something, and then waits."""

    @workflow.define
    async def asks() -> Any:
        asked = ask()
        if asyncio.iscoroutine(asked):
            await asked
        return await workflow.wait_for_event("go", str)

    return asks


def names() -> list[str]:
    return [str(name) for name in {Text("a"), Text("b"), Text("c")}]


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (
            lambda: workflow.publish("t", None, names()),
            "RecordPublished(topic='t') has other value",
        ),
        (lambda: step({"names": names()}), "ActivityScheduled(id=1, name='step') has other argum"),
        (lambda: workflow.set_status(names()), "StatusSet() has other value"),
        (lambda: workflow.signal("w2", "hello", names()), "name='hello', kind='event', to=Address"),
        (lambda: workflow.publish("t", names()[0], 1), "RecordPublished(topic='t') has other key"),
    ],
    ids=["publish", "activity", "status", "signal", "key"],
)
def test_a_set_of_texts_in_another_order_parks_the_run(ask: Any, told: str) -> None:
    found, _ = played(calls(ask))
    assert found.status is Status.PARKED
    error = found.parked["error"]
    assert found.parked["kind"] == "nondeterminism"
    assert told in error
    assert f"run {found.run_id} of w: " in error
    line = ask.__code__.co_firstlineno
    assert f" at replay at {__file__}:{line}: " in error
    assert found.parked["where"] == f"{__file__}:{line}"


@pytest.mark.parametrize(
    ("first", "later", "path"),
    [
        ([1, 2], [1, 3], "$[1] was 2 and is 3"),
        ({"a": {"b": [1]}}, {"a": {"b": ["1"]}}, "$.a.b[0] was 1 and is '1'"),
        ({"a": 1}, {"a": 1, "b": 2}, "$.b is new"),
        ({"a": 1, "b": 2}, {"b": 2}, "$.a is gone"),
        ([1], [1, 2], "$ was [1] and is [1, 2]"),
        (1, 1.0, "$ was 1 and is 1.0"),
        (None, "x", "$ was None and is 'x'"),
        (0, None, "$ was 0 and is None"),
        (b"\xff", b"\xfe", "b'\\xff' became b'\\xfe'"),
    ],
    ids=str,
)
def test_the_first_difference_is_named_by_its_path(first: Any, later: Any, path: str) -> None:
    run = calls(lambda: workflow.publish("t", None, as_deployed(first, later)))
    found, _ = played(run)
    assert found.status is Status.PARKED
    assert found.parked["error"].endswith(f": {path}")


@pytest.mark.parametrize(
    "ask",
    [
        lambda: workflow.cancel("w2", as_deployed("enough", "This is no longer wanted.")),
        lambda: workflow.set_status(as_deployed({"a": 1, "b": 2}, {"b": 2, "a": 1})),
        lambda: step(as_deployed({"x": [{"a": 1, "b": 2}]}, {"x": [{"b": 2, "a": 1}]})),
        lambda: workflow.publish("t", None, as_deployed(b'{"a": 1, "b":2}', {"b": 2, "a": 1})),
        lambda: workflow.sleep(as_deployed(3, 4)),
        lambda: step.options(queue=as_deployed("default", "other"))(),
        lambda: workflow.side_effect(lambda: as_deployed(1, 2)),
    ],
    ids=[
        *("the reason of a cancel", "keys in another order", "keys further down", "bytes as JSON"),
        *("a delay", "options", "a side effect"),
    ],
)
def test_what_means_the_same_or_is_no_value_parks_nothing(ask: Any) -> None:
    found, result = played(calls(ask))
    assert found.status is Status.COMPLETED, found.parked
    assert result == "on"


def test_another_reason_for_a_rejected_event_parks_nothing() -> None:
    @workflow.define
    async def rejects() -> str:
        await workflow.wait_for_event("go", as_deployed(int, float))
        return "on"

    async def main() -> None:
        async with Environment([rejects], max_cached_runs=0) as env:
            handle = await env.start(rejects, id="w")
            await handle.raise_event("go", "no number")
            await env.sleep(1)
            turned_over()
            await handle.raise_event("go", 5)
            assert await handle.result() == "on"
            (letter,) = env.dead_letters
            assert "Expected `int`" in letter.reason

    asyncio.run(main())


def test_a_cached_run_is_not_compared() -> None:
    """Its code has made the payload once, and goes on from there."""
    run = calls(lambda: workflow.publish("t", None, names()))
    found, _ = played(run, max_cached_runs=None)
    assert found.status is Status.COMPLETED


def test_the_environment_is_strict_whatever_the_settings_say() -> None:
    run = calls(lambda: workflow.publish("t", None, names()))
    found, _ = played(run, settings=Settings(strict_replay=False))
    assert found.status is Status.PARKED


def test_a_decision_that_is_another_one_is_told_before_any_payload() -> None:
    @workflow.define
    async def changes() -> str:
        workflow.publish("t", None, names())
        workflow.publish(as_deployed("t", "elsewhere"), None, 1)
        return await workflow.wait_for_event("go", str)

    found, _ = played(changes)
    assert found.status is Status.PARKED
    assert "at event 2 the history has RecordPublished(topic='t')" in found.parked["error"]
