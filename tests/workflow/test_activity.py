"""Activities: what they are called with, their options, and what a running one can ask."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from processor import RetryPolicy, activity, workflow
from processor.activity import ActivityInfo, current
from processor.core.data.options import ActivityOptions
from processor.core.nouns.activity import ActivityScheduled
from processor.errors import SchemaMismatch
from processor.injection.interceptors import Injected
from processor.registry import Registry
from processor.workflow import Workflow
from tests.workflow.driver import PAYLOADS, World


@dataclass
class Order:
    id: str
    lines: list[int] = field(default_factory=list)


@activity.define
async def charge(order: Order, amount: float = 1.0, note: str = "") -> str:
    return f"{order.id} {amount} {note}"


@activity.define(name="add-up", queue="sums", retry=RetryPolicy(maximum_attempts=2))
def add_up(*numbers: int) -> int:
    return sum(numbers)


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    @activity.define
    async def greet(self, customer: str) -> str:
        return f"{self.name} greets {customer}"

    @staticmethod
    @activity.define
    def rules(number: int) -> int:
        return number


def asked(body: Any) -> ActivityScheduled:
    """Return what a workflow asks for that awaits what ``body`` returns."""

    @workflow.define
    async def calls() -> Any:
        return await body()

    (scheduled,) = World(calls).start()
    assert isinstance(scheduled, ActivityScheduled)
    return scheduled


# --- calls -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        (lambda: charge(Order("a")), b'[{"id":"a","lines":[]}]'),
        (lambda: charge(Order("a"), 2.5), b'[{"id":"a","lines":[]},2.5]'),
        (lambda: charge(order=Order("a"), note="x"), b'[{"id":"a","lines":[]},1.0,"x"]'),
        (lambda: add_up(), b"[]"),
        (lambda: add_up(1, 2, 3), b"[1,2,3]"),
        (lambda: Shop("s").greet("Ann"), b'["Ann"]'),
        (lambda: Shop.rules(3), b"[3]"),
        (lambda: workflow.call_activity(Shop.greet, "Ann"), b'["Ann"]'),
    ],
)
def test_arguments_are_bound_to_positions(body: Any, arguments: bytes) -> None:
    assert asked(body).arguments == arguments


def test_a_call_that_cannot_be_bound_is_a_type_error_at_the_call() -> None:
    @workflow.define
    async def calls() -> list[str]:
        found = []
        call: Any
        for call in (
            lambda: charge(),  # type: ignore[call-arg]
            lambda: charge(Order("a"), 1, "x", 2),  # type: ignore[call-arg]
            lambda: charge(Order("a"), price=1),  # type: ignore[call-arg]
        ):
            try:
                call()
            except TypeError as error:
                found.append(str(error))
        return found

    missing, many, unknown = World(calls).run()
    assert missing.startswith("activity 'charge'(order: 'Order', amount: 'float' = 1.0")
    assert missing.endswith("missing a required argument: 'order'")
    assert many.endswith("too many positional arguments")
    assert unknown.endswith("got an unexpected keyword argument 'price'")


def test_outside_of_a_workflow_it_is_the_plain_function() -> None:
    assert add_up(1, 2) == 3  # type: ignore[comparison-overlap]
    assert asyncio.run(charge(Order("a"))) == "a 1.0 "
    assert asyncio.run(Shop("s").greet("Ann")) == "s greets Ann"
    assert add_up.__wrapped__ is add_up.function  # type: ignore[attr-defined]
    assert charge.name == "charge"
    assert add_up.name == "add-up"


def test_a_workflow_can_be_unit_tested_as_a_function() -> None:
    @workflow.define
    async def shops(order: Order) -> str:
        total = await add_up(1, 2)
        assert add_up.function(1, 1) == 2
        return f"{await charge(order)}{total}"

    assert asyncio.run(shops(Order("a"))) == "a 1.0 3"
    assert add_up(1, 2) == 3  # type: ignore[comparison-overlap]


def test_verbs_say_where_they_work() -> None:
    with pytest.raises(RuntimeError, match=r"workflow\.now\(\) was called outside of workflow"):
        workflow.now()
    assert not workflow.in_workflow()
    with pytest.raises(RuntimeError, match=r"activity\.info\(\) was called outside of a running"):
        activity.info()


# --- options -----------------------------------------------------------------------------------


def test_options_reach_the_decision() -> None:
    options = asked(lambda: add_up(1)).options
    assert options == ActivityOptions(queue="sums", maximum_attempts=2)
    other = add_up.options(
        retry=RetryPolicy(timedelta(seconds=2), 1.5, None, None, (KeyError, "Refused")),
        schedule_to_close=timedelta(minutes=1),
        heartbeat=0.5,
        eager=False,
    )
    assert asked(lambda: other(1)).options == ActivityOptions(
        "sums",
        False,
        2_000,
        1.5,
        200_000,
        None,
        ("KeyError", "Refused"),
        schedule_to_close_ms=60_000,
        heartbeat_ms=500,
    )
    assert asked(lambda: add_up(1)).options == options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queue": ""}, "queue: give a name of 1 to 1,000 bytes"),
        ({"queue": "a b"}, "queue: no queue can be named 'a b'"),
        ({"retry": 3}, "retry: give a RetryPolicy, not 3"),
        ({"start_to_close": 0}, "start_to_close: give a duration longer than 0"),
        ({"start_to_close": 1e17}, "start_to_close: give 0 s to 4,000 years, not 1e"),
        ({"heartbeat": "1s"}, "heartbeat: give a timedelta or seconds"),
        ({"heartbeat": True}, "heartbeat: give a timedelta or seconds"),
        ({"eager": "yes"}, "eager: give True, False or None"),
        ({"timeout": 3}, "no option 'timeout'; there are cancellation, eager, heartbeat, queue"),
        ({"name": ""}, "name: give a name of 1 to 1,000 bytes"),
    ],
)
def test_wrong_options_are_named(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        activity.define(**options)
    if "name" not in options:
        with pytest.raises(ValueError, match=message):
            charge.options(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "name"),
        ({"execution_timeout": -1}, "execution_timeout"),
        ({"failure_exception_types": (3,)}, "failure_exception_types"),
    ],
)
def test_wrong_options_of_a_workflow_are_named(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        workflow.define(**options)


def test_a_workflow_keeps_what_it_is() -> None:
    @workflow.define(name="shop", execution_timeout=timedelta(hours=1))
    async def shops(order: Order, count: int = 1) -> list[str]:
        return []

    assert isinstance(shops, Workflow)
    assert (shops.name, shops.execution_timeout_ms) == ("shop", 3_600_000)
    assert (shops.parameter_types, shops.result_type) == ((Order, int), list[str])
    assert shops.place.startswith(__file__)
    with pytest.raises(TypeError, match="is no function: put it on a function outside of any"):
        workflow.define("shops")  # type: ignore[call-overload]


def test_parameters_without_a_position_are_refused() -> None:
    async def named(*, order: Order) -> None: ...

    with pytest.raises(TypeError, match="parameter order: 'Order' has no position"):
        activity.define(named)


# --- the registry ------------------------------------------------------------------------------


def test_the_registry_finds_and_decodes() -> None:
    registry = Registry(
        [], [charge, add_up.options(queue="x"), Shop("s").greet], Injected(PAYLOADS)
    )
    definition = registry.activity_named("charge")
    assert definition is not None
    assert definition.is_async
    assert definition.parameter_types == (Order, float, str)
    assert registry.activity_named("nothing") is None
    assert registry.arguments_of(definition, b'[{"id":"a"}]') == (Order("a"),)
    assert registry.arguments_of(definition, b'[{"id":"a"},2]') == (Order("a"), 2.0)
    sums = registry.activities["add-up"]
    assert not sums.is_async
    assert registry.arguments_of(sums, b"[1,2,3]") == (1, 2, 3)
    assert registry.arguments_of(sums, b"[]") == ()
    greet = registry.activities["greet"]
    assert registry.arguments_of(greet, b'["Ann"]') == ("Ann",)
    assert asyncio.run(greet.function("Ann")) == "s greets Ann"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("charge", b"[]", "takes 1 to 3 arguments; the payload has 0"),
        ("charge", b"[1,2,3,4]", "takes 1 to 3 arguments; the payload has 4"),
        ("charge", b"[1]", "Expected `object`, got `int`"),
        ("charge", b'[{"id":"a"},"x"]', "Expected `float`, got `str`"),
        ("charge", b"{}", "the arguments have to be a list"),
        ("greet", b"[]", "takes 1 arguments; the payload has 0"),
        ("add-up", b'[1,"x"]', "Expected `int`, got `str`"),
    ],
)
def test_arguments_that_do_not_fit_say_why(name: str, arguments: bytes, message: str) -> None:
    registry = Registry([], [charge, add_up, Shop("s").greet], Injected(PAYLOADS))
    with pytest.raises(SchemaMismatch, match=message) as caught:
        registry.arguments_of(registry.activities[name], arguments)
    assert f"activity {name!r}" in str(caught.value)


def test_a_name_is_given_once() -> None:
    @activity.define(name="charge")
    def other() -> None: ...

    with pytest.raises(ValueError, match="two activity definitions have the name 'charge'") as two:
        Registry([], [charge, other], Injected(PAYLOADS))
    assert charge.definition.place in str(two.value)
    assert other.definition.place in str(two.value)
    assert Registry([], [charge, charge.options(queue="x")], Injected(PAYLOADS)).activities
    with pytest.raises(TypeError, match="is no activity: put @activity"):
        Registry([], [print], Injected(PAYLOADS))  # type: ignore[list-item]


def test_annotations_that_cannot_be_resolved_stop_the_registry() -> None:
    @activity.define
    async def typed(order: Unknown) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TypeError, match=r"activity 'typed' at .*cannot be resolved.*Unknown"):
        Registry([], [typed], Injected(PAYLOADS))


def test_types_that_are_local_to_a_function_are_found() -> None:
    @dataclass
    class Local:
        number: int

    @activity.define
    async def typed(local: Local) -> Local:
        return local

    @activity.define(queue="x")
    async def typed_too(local: Local) -> None: ...

    registry = Registry([], [typed, typed_too], Injected(PAYLOADS))
    for definition in registry.activities.values():
        assert registry.arguments_of(definition, b'[{"number":1}]') == (Local(1),)


# --- inside of a running activity --------------------------------------------------------------


class Running:
    """Stands for the executor's context."""

    def __init__(self) -> None:
        due = datetime(2030, 1, 1, tzinfo=UTC)
        self.info = ActivityInfo("w", "r", 7, 2, "charge", b'{"id":"a"}', due)
        self.beats: list[Any] = []

    def heartbeat(self, details: Any) -> None:
        self.beats.append(details)

    def is_cancelled(self) -> bool:
        return True

    def decode(self, payload: bytes, type: Any) -> Any:
        return PAYLOADS.decoder(type)(payload)


def test_a_running_activity_knows_its_attempt() -> None:
    running = Running()
    token = current.set(running)
    try:
        assert activity.info().attempt == 2
        assert activity.info().idempotency_key == "r/7"
        activity.heartbeat({"done": 5})
        activity.heartbeat()
        assert running.beats == [{"done": 5}, None]
        assert activity.is_cancelled()
        assert activity.heartbeat_details(Order) == Order("a")
        assert activity.heartbeat_details() == {"id": "a"}
    finally:
        current.reset(token)
