"""Wrong arguments of the verbs: refused at the call, with an error that says what to give."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any
from uuid import UUID

import anyio
import pytest

from processor import (
    ApplicationError,
    InvalidArgument,
    ProcessorError,
    RetryPolicy,
    activity,
    workflow,
)
from processor.core.nouns.run import WorkflowCancelled, WorkflowCompleted, WorkflowFailed
from processor.core.runner import CodeError
from processor.workflow._guard import guard as _guard
from tests.workflow.driver import World

_guard.install()


@activity.define
async def add(a: int, b: int = 0) -> int:
    return a + b


async def async_function() -> bool:
    return True


def told(call: Callable[[], Any]) -> str:
    """Return what workflow code is told when it makes a call, and require that it can go on."""

    @workflow.define
    async def calls() -> str:
        try:
            found = call()
            if hasattr(found, "__await__"):
                await found
        except ProcessorError as error:
            return f"{type(error).__name__}: {error}"
        return "nothing"

    asked = World(calls).start()
    assert isinstance(asked[-1], WorkflowCompleted)
    return str(World.result(asked))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: workflow.signal(UUID(int=1), "n"), "workflow.signal: workflow_id: give an id as"),
        (
            lambda: workflow.signal("", "n"),
            "workflow.signal: workflow_id: give an id of 1 to 1,000",
        ),
        (lambda: workflow.signal("i" * 1_000_000, "n"), "1 to 1,000 bytes, not 1,000,000"),
        (lambda: workflow.signal("i", ""), "workflow.signal: name: give a name of"),
        (lambda: workflow.signal("\udc80", "n"), "half of a surrogate pair"),
        (lambda: workflow.cancel("i", None), "workflow.cancel: reason: give text"),
        (lambda: workflow.cancel(5), "workflow.cancel: workflow_id: give an id"),
        (lambda: workflow.publish("a/b", None, 1), "no Kafka topic can be named 'a/b'"),
        (lambda: workflow.publish("a", 5, 1), "workflow.publish: key: give text, bytes or None"),
        (lambda: workflow.publish("a", "\udc80", 1), "half of a surrogate pair"),
        (lambda: workflow.publish("a", b"k" * 2_000_000, 1), "PayloadTooLarge: a record for topic"),
        (lambda: workflow.wait_for_event(""), "workflow.wait_for_event: name: give a name"),
        (lambda: workflow.wait_for_event("n", int, "5"), "timeout: give a timedelta or seconds"),
        (lambda: workflow.wait_for_event("n", "nothing"), "cannot be decoded"),
        (lambda: workflow.wait_until(async_function), "give a plain function"),
        (lambda: workflow.wait_until(lambda: async_function()), "returned a coroutine"),
        (lambda: workflow.wait_until(True), "predicate: give a plain function"),
        (lambda: workflow.wait_until(lambda: True, math.nan), "timeout: give 0 s to 4,000 years"),
        (lambda: workflow.sleep("1"), "workflow.sleep: delay: give a timedelta or seconds"),
        (lambda: workflow.sleep(1e17), "give math.inf to wait for ever"),
        (lambda: asyncio.sleep(1e17), "asyncio: a delay: 1e+17 s is longer than 4,000 years"),
        (lambda: _loop().call_later(math.nan, print), "asyncio: a delay: give 0 s to 4,000 years"),
        (lambda: _loop().call_at(1e300, print), "asyncio: a time: 1e+300 s is longer than"),
        (lambda: workflow.timer(datetime(2024, 1, 1)), "has no time zone"),
        (lambda: workflow.timer(date(2024, 1, 1)), "workflow.timer: when: give a timedelta or"),
        (lambda: workflow.call_activity(print), "give an activity (@activity.define) or its name"),
        (lambda: workflow.call_activity(""), "workflow.call_activity: activity: give a name"),
        (lambda: workflow.call_activity("a", queue=5), "queue: give a name as text"),
        (lambda: add(), "missing a required argument: 'a'"),
        (lambda: add(1, c=2), "unexpected keyword argument 'c'"),
        (lambda: add.options(start_to_close=1e17)(1), "start_to_close: give 0 s to 4,000 years"),
        (lambda: add.options(retry="never")(1), "retry: give a RetryPolicy"),
        (lambda: _raise(ApplicationError("m", type=KeyError)), "ApplicationError: type: give"),
        (lambda: _raise(ApplicationError(next_delay=math.nan)), "next_delay: give a timedelta or"),
    ],
)
def test_workflow_code_is_told_what_to_give(call: Callable[[], Any], message: str) -> None:
    assert message in told(call)


def _raise(error: Exception) -> None:
    raise error


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_a_wrong_argument_is_a_bug_and_parks_the_run() -> None:
    @workflow.define
    async def calls() -> None:
        workflow.cancel("i", None)

    with pytest.raises(CodeError, match=r"workflow\.cancel: reason: give text") as caught:
        World(calls).start()
    assert caught.value.kind == "bug"
    assert caught.value.where.startswith(f"{__file__}:")

    @workflow.define(failure_exception_types=(ValueError,))
    async def fails() -> None:
        workflow.cancel("i", None)

    assert isinstance(World(fails).start()[-1], WorkflowFailed)


def test_a_side_effect_takes_a_plain_function() -> None:
    assert "give a plain function" in told(lambda: workflow.side_effect(async_function))

    @workflow.define
    async def calls() -> None:
        workflow.side_effect(lambda: async_function())

    with pytest.raises(CodeError, match="returned a coroutine"):
        World(calls).start()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"maximum_attempts": 2.5}, "maximum_attempts: give a whole number from 1 to"),
        ({"maximum_attempts": True}, "not True"),
        ({"maximum_attempts": 0}, "not 0"),
        ({"maximum_attempts": 2**31}, "not 2147483648"),
        ({"coefficient": math.nan}, "coefficient: give a number from 1 to 1,000,000, not nan"),
        ({"coefficient": math.inf}, "not inf"),
        ({"coefficient": 0.5}, "not 0.5"),
        ({"coefficient": "2"}, "not '2'"),
        ({"non_retryable": "ValueError"}, r"write a comma: \('ValueError',\)"),
        ({"non_retryable": ValueError}, "give a tuple or list of error classes"),
        ({"non_retryable": (int,)}, "give error classes or their names, not <class 'int'>"),
        ({"non_retryable": ("",)}, "non_retryable: give a name"),
        ({"initial_interval": 0}, "initial_interval: give a duration longer than 0"),
        ({"initial_interval": "1"}, "initial_interval: give a timedelta or seconds"),
        ({"maximum_interval": 0.5}, "must not be below initial_interval"),
    ],
)
def test_retry_policies_are_checked(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        RetryPolicy(**given)


def test_retry_policies_take_seconds_and_lists() -> None:
    policy = RetryPolicy(initial_interval=2, maximum_interval=5.5, non_retryable=[OSError, "Down"])
    assert policy.non_retryable == (OSError, "Down")
    options = add.options(retry=policy).wire_options
    assert (options.initial_interval_ms, options.maximum_interval_ms) == (2_000, 5_500)


@pytest.mark.parametrize(
    "options",
    [
        {"name": ""},
        {"name": 5},
        {"execution_timeout": 0},
        {"execution_timeout": math.nan},
        {"failure_exception_types": ValueError},
        {"failure_exception_types": ("ValueError",)},
    ],
    ids=str,
)
def test_options_of_a_workflow_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=f"@workflow.define: {next(iter(options))}: "):
        workflow.define(**options)
    with pytest.raises(InvalidArgument, match="a name is given as name="):
        workflow.define("order")
    with pytest.raises(InvalidArgument, match="a name is given as name="):
        activity.define("order")


# --- for ever ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "forever",
    [
        lambda: asyncio.sleep(math.inf),
        lambda: workflow.sleep(math.inf),
        lambda: workflow.wait_until(lambda: False, math.inf),
        lambda: workflow.wait_for_event("never", int, math.inf),
        lambda: anyio.sleep_forever(),
        lambda: anyio.sleep(math.inf),
    ],
)
def test_waiting_for_ever_asks_for_nothing_and_can_be_cancelled(
    forever: Callable[[], Any],
) -> None:
    @workflow.define
    async def waits() -> None:
        async with asyncio.timeout(math.inf):
            await forever()

    world = World(waits)
    assert world.start() == []
    assert world.runner.waiting()
    assert isinstance(world.cancel()[-1], WorkflowCancelled)
    world.replay()


# --- any value, in any place ------------------------------------------------------------------


class Broken:
    """Whatever asks it anything gets an error that is none of ours."""

    def __repr__(self) -> str:
        raise RuntimeError("repr")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __hash__(self) -> int:
        raise RuntimeError("hash")

    def __bool__(self) -> bool:
        raise RuntimeError("bool")


@dataclass
class Plain:
    value: Any = None


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another"


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)
DEEP: Any = 1
for _ in range(2_000):
    DEEP = [DEEP]

ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 2.5, 2**63, -(2**63), 10**400, 1e17, 1e300, -1e300),
    *(math.nan, math.inf, -math.inf, "", "a", Text("a"), "\udc80", "a\0b", "a" * 2_000_000),
    *(b"", b"a", b"\xff", b"a" * 2_000_000, bytearray(b"a"), memoryview(b"a")),
    *((), [], {}, set(), (1,), [1], {"a": 1}, {1: 2}, {(1, 2): 3}, {None: 1}, frozenset("a")),
    *(ENDLESS, DEEP, object(), Broken(), [Broken()], {"a": Broken()}, Plain(), Plain(Broken())),
    *(int, str, Plain, list[int], int | str, Any, len, print, async_function),
    *(lambda: None, lambda: 1 / 0, lambda x: x, lambda: Broken(), lambda: async_function()),
    *(timedelta.max, timedelta.min, timedelta(0), datetime.max, datetime.min, datetime.now(UTC)),
    *(date.max, Decimal("NaN"), Decimal(1), Fraction(1, 3), UUID(int=1), 1j, ..., NotImplemented),
    *(ValueError("x"), ValueError, RetryPolicy(), add, asyncio, Random(1), range(3), iter([])),
]
VERBS: list[Callable[..., Any]] = [
    *(workflow.wait_for_event, workflow.wait_until, workflow.sleep, workflow.timer),
    *(workflow.call_activity, workflow.publish, workflow.signal, workflow.cancel),
    *(workflow.set_status, workflow.side_effect, workflow.define, workflow.info, workflow.now),
    *(workflow.random, workflow.uuid4, workflow.in_workflow, workflow.logger.info),
    *(activity.define, add, ApplicationError, RetryPolicy, add.options),
]
NAMES = [
    *("name", "type", "timeout", "predicate", "delay", "when", "activity", "result_type", "topic"),
    *("key", "value", "workflow_id", "payload", "reason", "function", "queue", "retry", "eager"),
    *("start_to_close", "heartbeat", "execution_timeout", "failure_exception_types"),
    *("message", "details", "retryable", "next_delay", "coefficient", "maximum_attempts", "other"),
    *("initial_interval", "maximum_interval", "non_retryable", "a", "b"),
]


def _call(random: Random) -> tuple[Callable[..., Any], list[Any], dict[str, Any]]:
    arguments = random.choices(ODD, k=random.randrange(4))
    named = {name: random.choice(ODD) for name in random.sample(NAMES, k=random.randrange(3))}
    return random.choice(VERBS), arguments, named


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("seed", range(8))
def test_any_value_in_any_place_is_taken_or_refused(seed: int) -> None:
    """Nothing but our errors, Python's own for a wrong call, and what the code parks with."""
    random = Random(seed)
    for _ in range(400):
        verb, arguments, named = _call(random)

        @workflow.define
        async def calls(verb: Any = verb, arguments: Any = arguments, named: Any = named) -> None:
            try:
                found = verb(*arguments, **named)
                if asyncio.iscoroutine(found):
                    await found
            except ProcessorError:
                return
            except TypeError as error:
                _is_pythons_own(error)
            except (RuntimeError, TimeoutError, ZeroDivisionError):
                return  # what the odd values do when they are called

        world = World(calls)
        try:
            world.start()
        except CodeError as error:
            if verb is not workflow.side_effect:  # one that raises parks the run, and says so
                pytest.fail(f"{verb} of {arguments} and {named}: {error.traceback}")
        world.runner.close()


def _is_pythons_own(error: TypeError) -> None:
    """Require that Python refused the call itself: for arguments too many, too few, unknown."""
    words = ("argument", "multiple values", "keyword", "Any cannot be instantiated")
    assert any(word in str(error) for word in words), error
