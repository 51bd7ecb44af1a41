"""Settings, and arguments of workers, clients and environments: taken, or refused at once."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from processor import Client, InvalidArgument, ProcessorError, Settings, Worker, activity, workflow
from processor.kafka.clients.properties import KafkaConfigInvalid
from processor.testing import Environment

SERVER = "embedded:nowhere"
DEFAULTS = Settings()
FIELDS = [each.name for each in dataclasses.fields(Settings)]


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __hash__ = __bool__ = __len__ = __repr__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")


@workflow.define
async def returns(value: Any = None) -> Any:
    return value


@activity.define
async def adds(value: int = 0) -> int:
    return value + 1


ODD: list[Any] = [
    *(None, True, 0, 1, -1, 2**63, 0.5, math.nan, math.inf, -math.inf, 1e17, "", "a", "\udc80"),
    *("x" * 2_000, b"", timedelta(0), timedelta(days=-1), timedelta.max, datetime(2026, 1, 1)),
    *((), [], {}, [1], {"a": 1}, object(), int, ValueError("v"), Broken(), lambda: 0, returns),
    *(adds, ["\udc80"], "answer", "no", "1000", [returns], [adds]),
]


def taken_or_refused(call: Callable[[Any], Any], named: str = "") -> int:
    """Pass all odd values; return how many were refused. Bare errors come through."""
    refused = []
    for odd in ODD:
        try:
            call(odd)
        except (InvalidArgument, KafkaConfigInvalid) as error:
            refused.append(str(error))
    assert all(len(each) < 500 and named in each for each in refused)
    return len(refused)


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("field", FIELDS)
def test_odd_settings_are_refused_by_name(field: str) -> None:
    refused = taken_or_refused(lambda odd: Settings(**{field: odd}), field)
    assert refused >= len(ODD) - 8


@pytest.mark.parametrize("field", [f for f in FIELDS if isinstance(getattr(DEFAULTS, f), int)])
@pytest.mark.parametrize("wrong", [-1, 1.5, "5", None])
def test_numbers_have_a_range(field: str, wrong: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"Settings: {field}: give"):
        Settings(**{field: wrong})


NOT_ZERO = [
    *("payload_bytes_max", "turn_bytes_max", "turns_in_flight_max", "bytes_in_flight_max"),
    *("inbox_records_max", "unpublished_bytes_max", "unread_events_max", "max_activities"),
    *("activity_threads_max", "session_timeout_s", "request_timeout_s"),
]


@pytest.mark.parametrize("field", NOT_ZERO)
def test_what_nothing_could_go_on_with_is_refused(field: str) -> None:
    with pytest.raises(InvalidArgument, match=f"Settings: {field}: give"):
        Settings(**{field: 0})
    Settings(**{field: 1})


@pytest.mark.parametrize(
    ("field", "most"),
    [
        ("payload_bytes_max", 15_000_000),
        ("turn_bytes_max", 15_000_000),
        ("unread_bytes_max", 5_000_000),
    ],
)
def test_what_would_not_fit_into_a_record_is_refused(field: str, most: int) -> None:
    Settings(**{field: most})
    told = rf"Settings: {field}: give .* to {most:,}, not 50,000,000: a record of the log takes 16"
    with pytest.raises(InvalidArgument, match=told):
        Settings(**{field: 50_000_000})


@pytest.mark.parametrize("field", [each for each in FIELDS if each.endswith("_s")])
def test_times_are_seconds_or_a_timedelta(field: str) -> None:
    settings = Settings(**{field: timedelta(seconds=5)})  # type: ignore[arg-type]
    assert getattr(settings, field) == 5.0
    assert type(getattr(settings, field)) is float
    for wrong in (-1, math.nan, math.inf, timedelta(seconds=-1), "5", None):
        with pytest.raises(InvalidArgument, match=f"Settings: {field}"):
            Settings(**{field: wrong})


def test_passthrough_is_a_list_of_names() -> None:
    modules: Any = ["one", "two"]
    assert Settings(passthrough=modules).passthrough == ("one", "two")
    assert hash(Settings(passthrough=modules)) == hash(Settings(passthrough=("one", "two")))


# --- workers ----------------------------------------------------------------------------------

WORKERS = (
    *("namespace", "workflows", "activities", "queues", "shards", "share_groups"),
    *("max_activities", "max_cached_runs", "strict_replay", "guard", "passthrough"),
    *("create_topics", "partitions", "state_dir", "instance_id", "settings", "kafka"),
)


@pytest.mark.parametrize("name", WORKERS)
@pytest.mark.parametrize("server", [SERVER, "127.0.0.1:1"])
def test_odd_arguments_of_a_worker(server: str, name: str) -> None:
    assert taken_or_refused(lambda odd: Worker(server, **{name: odd})) >= len(ODD) // 2


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"passthrough": "some_library"}, r"passthrough: give a list, as \('pydantic_ai',\), not"),
        ({"workflows": returns}, "workflows: give a list"),
        ({"activities": adds}, "activities: give a list"),
        ({"settings": {"max_activities": 3}}, "settings: give Settings"),
        ({"strict_replay": "no"}, "strict_replay: give True or False, not 'no'"),
        ({"shards": "no"}, "shards: give True or False, not 'no'"),
        ({"guard": "off"}, "guard: give 'answer', 'refuse' or False"),
    ],
)
def test_what_looks_right_and_is_not(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        Worker("127.0.0.1:1", **given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kafka", {"client.id": "p"}),
        ("share_groups", True),
        ("state_dir", "/nowhere"),
        ("partitions", 7),
        ("queues", ["only"]),
    ],
)
def test_what_has_no_effect_without_a_broker_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"Worker: {name}: .* no effect with '{SERVER}'"):
        Worker(SERVER, **{name: value})
    Worker("127.0.0.1:1", **{name: value})
    if name == "kafka":
        with pytest.raises(InvalidArgument, match=f"kafka: .* no effect with '{SERVER}'"):
            Client(SERVER, kafka=value)


# --- clients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["namespace", "settings", "kafka"])
def test_odd_arguments_of_a_client(name: str) -> None:
    assert taken_or_refused(lambda odd: Client(SERVER, **{name: odd})) >= len(ODD) // 2


def test_a_misspelt_argument_names_the_call() -> None:
    async def main() -> None:
        run: Any = Client(SERVER).run
        with pytest.raises(TypeError, match=r"Client\.run\(\) got an unexpected .*timout'"):
            await run(returns, execution_timout=3)

    asyncio.run(main())


# --- environments -----------------------------------------------------------------------------

ENVIRONMENTS = (
    *("workflows", "activities", "mocks", "seed", "start", "max_cached_runs"),
    *("guard", "passthrough", "settings"),
)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_odd_arguments_of_an_environment(name: str) -> None:
    async def main() -> int:
        return taken_or_refused(lambda odd: Environment(**{name: odd}))

    assert asyncio.run(main()) >= len(ODD) // 2


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"activities": [len]}, "is no activity"),
        ({"activities": adds}, "activities: give a list"),
        ({"mocks": {adds: 5}}, "mocks: give a function for 'adds', not 5"),
        ({"mocks": {5: len}}, "mocks: 5 is no activity and no name of one"),
        ({"mocks": [adds]}, "mocks: give a dictionary"),
        ({"start": 5}, "start: give a datetime"),
        ({"start": datetime(1900, 1, 1, tzinfo=UTC)}, "start: give a time from 1970 on"),
        ({"seed": "a"}, "seed: give a whole number"),
    ],
)
def test_what_an_environment_cannot_take(given: dict[str, Any], told: str) -> None:
    async def main() -> None:
        with pytest.raises(InvalidArgument, match=told):
            Environment(**given)

    asyncio.run(main())


@pytest.mark.parametrize("delay", [None, math.nan, math.inf, "x", -1, timedelta(days=-1)])
def test_time_passes_by_what_is_a_time(delay: Any) -> None:
    async def main() -> None:
        async with Environment([returns]) as env:
            with pytest.raises(InvalidArgument, match=r"Environment\.sleep: delay"):
                await env.sleep(delay)

    asyncio.run(main())


def test_an_environment_that_was_not_entered_says_so() -> None:
    async def main() -> None:
        env = Environment([returns])
        for call in (env.run(returns, 1), env.start(returns, 1), env.sleep(1)):
            with pytest.raises(ProcessorError, match="use `async with Environment"):
                await call

    asyncio.run(main())


def test_settings_are_taken_by_the_embedded_runtime(tmp_path: Path) -> None:
    """The least that is taken serves: nothing hangs."""
    least = Settings(
        turns_in_flight_max=1,
        bytes_in_flight_max=1,
        inbox_records_max=1,
        unpublished_bytes_max=1,
        max_activities=1,
        activity_threads_max=1,
        cached_bytes_max=0,
        publish_linger_ms=0,
        heartbeat_throttle_s=0,
    )

    @workflow.define
    async def asks() -> int:
        return await adds(1)

    async def main() -> None:
        server = f"embedded:{tmp_path}"
        async with (
            asyncio.timeout(20),
            Worker(server, workflows=[asks], activities=[adds], settings=least),
            Client(server, settings=least) as client,
        ):
            assert await client.run(asks) == 2

    asyncio.run(main())
