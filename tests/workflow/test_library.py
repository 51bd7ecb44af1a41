"""What payload classes make up while a run decodes them: the same at each replay.

The driver's runs replay what they were fed, and the clock of the host has gone on by then. The
runs of the environment replay at every step, and a payload that is made otherwise parks them.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import random
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar

import msgspec
import pydantic
import pytest

from processor import Status, activity, workflow
from processor.config import Settings
from processor.core.runner import CodeError
from processor.testing import Environment
from processor.workflow import Workflow
from processor.workflow._guard import guard as _guard
from tests.workflow.driver import PAYLOADS, SEED, START_MS, World

_guard.install()

T = TypeVar("T")
Factory = Callable[[], Any]

BEGUN = START_MS / 1000
"""The time of each turn of these runs: the driver's clock stands still if nobody moves it."""

RANDOM: dict[str, Factory] = {
    "uuid4": uuid.uuid4,
    "uuid4, imported before the guard": inspect.unwrap(uuid.uuid4),
    "uuid1": uuid.uuid1,
    "urandom": lambda: os.urandom(16).hex(),
    "token_hex": secrets.token_hex,
    "token_hex, imported before the guard": inspect.unwrap(secrets.token_hex),
    "randbelow": lambda: secrets.randbelow(10**18),
    "random": random.random,
    "random, imported before the guard": inspect.unwrap(random.random),
    "randint": lambda: random.randint(0, 10**18),
    "sample": lambda: random.sample(range(1000), 20),
    "Random": lambda: random.Random().random(),
    "SystemRandom": lambda: random.SystemRandom().getrandbits(64),
}
CLOCKS: dict[str, tuple[Factory, Any]] = {
    "time": (time.time, BEGUN),
    "time, imported before the guard": (inspect.unwrap(time.time), BEGUN),
    "time_ns": (time.time_ns, START_MS * 1_000_000),
    "monotonic, imported before the guard": (inspect.unwrap(time.monotonic), 60.0),
    "perf_counter in a lambda": (lambda: time.perf_counter(), 60.0),
    "ctime, imported before the guard": (inspect.unwrap(time.ctime), time.ctime(BEGUN)),
    "gmtime in a lambda": (lambda: list(time.gmtime()), list(time.gmtime(BEGUN))),
    "datetime.now": (datetime.now, datetime.fromtimestamp(BEGUN)),
    "date.today": (date.today, date.fromtimestamp(BEGUN)),
    "now in a lambda": (lambda: datetime.now(UTC), datetime.fromtimestamp(BEGUN, UTC)),
    "now in a partial": (partial(datetime.now, UTC), datetime.fromtimestamp(BEGUN, UTC)),
    "a later time": (
        lambda: datetime.now(UTC) + timedelta(days=30),
        datetime.fromtimestamp(BEGUN, UTC) + timedelta(days=30),
    ),
    "a time as text": (
        lambda: datetime.now(UTC).isoformat(),
        datetime.fromtimestamp(BEGUN, UTC).isoformat(),
    ),
}
"""Factory -> what it has to answer in a turn at ``BEGUN``."""


def a_dataclass(factory: Factory) -> type[Any]:
    return make_dataclass("Made", [("value", Any, field(default_factory=factory))])


def a_model(factory: Factory) -> type[Any]:
    return pydantic.create_model("Made", value=(Any, pydantic.Field(default_factory=factory)))


def a_struct(factory: Factory) -> type[Any]:
    fields = [("value", Any, msgspec.field(default_factory=factory))]
    return msgspec.defstruct("Made", fields)


def waits_for(annotation: Any, count: int = 1) -> Workflow[[], list[Any]]:
    """Return a workflow that gives back what it made of its events."""

    @workflow.define
    async def waits() -> list[Any]:
        return [await workflow.wait_for_event("made", annotation) for _ in range(count)]

    return waits


def decoded(annotation: Any, value: Any, **how: Any) -> Any:
    """Return what a run makes of the payload of an event, after it was replayed."""
    world = World(waits_for(annotation), **how)
    world.start()
    (made,) = world.result(world.event("made", value))
    time.sleep(0.002)
    world.replay()
    return made


def in_json(value: Any) -> Any:
    payload = PAYLOADS.encode(value)
    assert payload is not None
    return msgspec.json.decode(payload)


# --- each way to make a value up -----------------------------------------------------------------


@pytest.mark.parametrize("kind", [a_dataclass, a_model, a_struct])
@pytest.mark.parametrize("factory", RANDOM.values(), ids=RANDOM)
def test_what_is_drawn_comes_from_the_run(kind: Callable[..., type], factory: Factory) -> None:
    made = kind(factory)
    value = decoded(made, {})
    assert value == decoded(made, {})
    assert value != decoded(made, {}, seed=SEED[::-1])


@pytest.mark.parametrize("kind", [a_dataclass, a_model, a_struct])
@pytest.mark.parametrize(("factory", "told"), CLOCKS.values(), ids=CLOCKS)
def test_a_clock_tells_the_time_of_the_turn(
    kind: Callable[..., type], factory: Factory, told: Any
) -> None:
    assert decoded(kind(factory), {}) == {"value": in_json(told)}


def test_what_is_made_after_the_fields_comes_from_the_run_too() -> None:
    @dataclass
    class Stamped:
        value: str = ""

        def __post_init__(self) -> None:
            self.value = f"{uuid.uuid4()} {time.time()} {random.random()}"

    value = decoded(Stamped, {})
    assert value == decoded(Stamped, {})
    assert f" {BEGUN} " in value["value"]


@dataclass
class Box(Generic[T]):
    held: T
    value: datetime = field(default_factory=datetime.now)


def shapes() -> dict[str, tuple[Any, Any]]:
    """Return annotations with payloads, of classes that no decoder has seen yet."""

    def item() -> Any:
        return a_dataclass(datetime.now)

    def model() -> Any:
        return a_model(datetime.now)

    return {
        "a list": (list[item()], [{}]),  # type: ignore[misc]
        "a dictionary": (dict[str, item()], {"a": {}}),  # type: ignore[misc]
        "an optional one": (item() | None, {}),
        "a list of structs": (list[a_struct(datetime.now)], [{}]),  # type: ignore[misc]
        "a struct in a dataclass": (
            make_dataclass("Order", [("item", a_struct(datetime.now))]),
            {"item": {}},
        ),
        "an annotated one": (Annotated[item(), "x"], {}),
        "a field": (make_dataclass("Order", [("items", list[item()])]), {"items": [{}]}),
        "a named tuple": (NamedTuple("Pair", [("item", item())]), [{}]),  # type: ignore[misc]
        "a typed dictionary": (TypedDict("Sheet", {"item": item()}), {"item": {}}),  # type: ignore
        "a generic class": (Box[int], {"held": 1}),
        "a list of models": (list[model()], [{}]),  # type: ignore[misc]
        "a model in a dataclass": (make_dataclass("Order", [("item", model())]), {"item": {}}),
        "a model in a model": (pydantic.create_model("M", item=(model(), ...)), {"item": {}}),
        "models in a model": (pydantic.create_model("M", its=(list[model()], ...)), {"its": [{}]}),
    }


@pytest.mark.parametrize("name", shapes())
def test_a_class_with_a_clock_is_found_wherever_it_stands(name: str) -> None:
    assert datetime.fromtimestamp(BEGUN).isoformat() in str(decoded(*shapes()[name]))


def test_a_dataclass_in_a_model_is_made_the_same() -> None:
    """Pydantic makes such a dataclass without asking anybody."""
    model = pydantic.create_model("M", item=(a_dataclass(datetime.now), ...))
    assert datetime.fromtimestamp(BEGUN).isoformat() in str(decoded(model, {"item": {}}))


def test_a_struct_that_is_given_its_value_needs_no_clock() -> None:
    assert decoded(a_struct(datetime.now), {"value": "now"}) == {"value": "now"}


# --- streams -------------------------------------------------------------------------------------


@dataclass
class Ticket:
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    secret: str = field(default_factory=secrets.token_hex)


@workflow.define
async def sells() -> list[str]:
    """Return what the run draws, and the tickets of two events, of any number of them each."""
    found = [str(workflow.random().random())]
    for _ in range(2):
        tickets = await workflow.wait_for_event("sold", list[Ticket])
        found += [str(workflow.random().random()), str(workflow.uuid4()), *map(repr, tickets[:1])]
    return found


def sold(first: int, second: int, **how: Any) -> list[str]:
    world = World(sells, **how)
    world.start()
    world.event("sold", [{}] * first, after_ms=1_000)
    found: list[str] = world.result(world.event("sold", [{}] * second, after_ms=1_000))
    world.replay()
    return found


def test_what_is_drawn_while_decoding_shifts_nothing_else() -> None:
    """Not what the code draws itself, and not what is drawn in later turns."""
    assert sold(1, 1) == sold(7, 3)
    without = [each for each in sold(1, 1) if not each.startswith("Ticket")]
    assert sold(0, 0) == without and len(without) == 5


def test_the_seed_decides_and_ids_do_not() -> None:
    found = sold(1, 1)
    assert sold(1, 1, workflow_id="another", run_id="another") == found
    other = sold(1, 1, seed=bytes(16))
    assert not {*found} & {*other}


def test_no_value_is_made_twice_within_a_run() -> None:
    world = World(waits_for(list[Ticket], 3))
    world.start()
    for _ in range(2):
        world.event("made", [{}, {}])
    tickets = [*itertools.chain(*world.result(world.event("made", [{}, {}])))]
    assert len({each["id"] for each in tickets} | {each["secret"] for each in tickets}) == 12
    world.replay()


def test_workflow_random_is_no_stream_of_its_libraries() -> None:
    drawn_too: Any = list[a_dataclass(random.random)]  # type: ignore[misc]

    @workflow.define
    async def draws() -> list[Any]:
        made = await workflow.wait_for_event("made", drawn_too)
        return [[each.value for each in made], [workflow.random().random() for _ in range(50)]]

    world = World(draws)
    world.start()
    made, drawn = world.result(world.event("made", [{}] * 50))
    assert len({*made, *drawn}) == 100


# --- before and after ----------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [{}, "does not fit"], ids=["fits", "does not fit"])
@pytest.mark.parametrize("names", [("made", "then"), ("then", "made")], ids=" before ".join)
def test_after_decoding_the_guard_holds_again(names: tuple[str, str], payload: Any) -> None:
    """Whether the event wakes its waiter, or is there before the code waits for it."""

    @workflow.define
    async def calls() -> str:
        if names[0] == "made":
            asyncio.create_task(workflow.wait_for_event("made", Ticket))  # noqa: RUF006
            await workflow.wait_for_event("then")
        else:
            await workflow.wait_for_event("then")
            asyncio.create_task(workflow.wait_for_event("made", Ticket))  # noqa: RUF006
            await asyncio.sleep(0)
        return f"{time.time()}"

    world = World(calls, settings=Settings(guard="refuse"))
    world.start()
    world.event("made", payload)
    with pytest.raises(CodeError, match=r"workflow code called time\.time\(\)"):
        world.event("then", 1)


def test_side_effects_see_the_real_world_also_after_decoding() -> None:
    @workflow.define
    async def looks() -> list[Any]:
        first = await workflow.wait_for_event("made", Ticket)
        seen = workflow.side_effect(lambda: [time.time(), str(uuid.uuid4())], list[Any])
        return [str(first.id), *seen]

    before, found = time.time(), []
    for _ in range(2):
        world = World(looks)
        world.start()
        *_, end = world.event("made", {})
        found.append(world.result([end]))
        world.replay()
    assert found[0][0] == found[1][0]
    assert before <= found[0][1] <= found[1][1] <= time.time()
    assert found[0][2] != found[1][2]


def test_code_that_makes_a_value_itself_is_still_stopped() -> None:
    @workflow.define
    async def makes() -> str:
        return str(Ticket())

    with pytest.raises(CodeError, match=r"workflow code called uuid\.uuid4\(\)"):
        World(makes, settings=Settings(guard="refuse")).start()


def test_elsewhere_clocks_and_draws_are_the_real_ones() -> None:
    """Also once runs have decoded values of a class."""
    assert sold(1, 1)
    before = datetime.now(UTC)
    first, second = (PAYLOADS.decoder(Ticket)(b"{}") for _ in range(2))
    assert before <= first.at <= second.at <= datetime.now(UTC)
    assert first.id != second.id and first.secret != second.secret
    assert before <= Ticket().at <= datetime.now(UTC)


# --- arguments, results, events, side effects ----------------------------------------------------


@activity.define
async def sell(ticket: Ticket) -> dict[str, str]:
    """Return an empty ticket, and as text the one that the activity has made up."""
    return {} if ticket.secret else {"secret": "none"}


@workflow.define
async def makes_up(argument: Ticket) -> list[Ticket]:
    found = [argument]
    for name in ("first", "second"):
        result = await workflow.call_activity("sell", {}, result_type=Ticket)
        workflow.publish("made", name, [result, found[-1]])
        found += [result, await workflow.wait_for_event(name, Ticket)]
    found.append(workflow.side_effect(dict, Ticket))
    await asyncio.sleep(3600)
    return found


async def played(run: Workflow[..., Any], *arguments: Any, **how: Any) -> tuple[Any, ...]:
    """Return the result of a run that two events reach, what was published, and its description."""
    async with Environment([run], [sell], max_cached_runs=0, **how) as env:
        handle = await env.start(run.name, *arguments, id="w")
        for name in ("first", "second"):
            await env.sleep(60)
            await handle.raise_event(name, {})
        await env.sleep(7200)
        found = await handle.describe()
        result = await handle.result() if found.status is Status.COMPLETED else None
        return result, env.published, found


def test_a_run_that_is_replayed_at_every_step_keeps_what_it_made_up() -> None:
    tickets, published, found = asyncio.run(played(makes_up, {}))
    assert found.status is Status.COMPLETED, found.parked
    assert len({each["id"] for each in tickets}) == len(tickets) == 6
    first, second = (msgspec.json.decode(record.value) for record in published)
    assert first == [tickets[1], tickets[0]] and second == [tickets[3], tickets[2]]
    times = [datetime.fromisoformat(each["at"]) for each in tickets]
    assert times == sorted(times) and times[0] == found.started
    assert timedelta(seconds=120) <= times[-1] - times[0] < timedelta(seconds=130)


def test_two_runs_make_up_other_values_and_a_seed_of_the_environment_the_same() -> None:
    results = [asyncio.run(played(makes_up, {}, seed=seed))[0] for seed in (1, 1, 2)]
    assert results[0] == results[1]
    ids = [{each["id"] for each in result} for result in results]
    assert not ids[0] & ids[2]


def test_a_value_that_no_run_can_repeat_parks_a_strict_run() -> None:
    """The control: without the library's answers, the run above would park."""
    numbers = itertools.count()

    @dataclass
    class Numbered:
        number: int = field(default_factory=lambda: next(numbers))

    @workflow.define
    async def numbers_up(argument: Numbered) -> None:
        workflow.publish("made", None, argument)
        await workflow.wait_for_event("first")

    _, _, found = asyncio.run(played(numbers_up, {}))
    assert found.status is Status.PARKED
    assert found.parked["kind"] == "nondeterminism"
    assert "$.number was 0 and is 1" in found.parked["error"]
