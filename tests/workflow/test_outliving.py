"""What workflow code leaves behind in the process: generators of numbers, and times in caches."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import random
import tempfile
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from processor import workflow
from processor.config import Settings
from processor.core.runner import CodeError
from processor.workflow._guard import guard as _guard
from tests.workflow.driver import World

_guard.install()

Random = random.Random


class OfALibrary(random.Random):
    """As some libraries have it."""

    def letter(self) -> str:
        return chr(97 + self.randrange(26))


DRAWS: dict[str, Callable[[random.Random], Any]] = {
    "random": lambda made: made.random(),
    "getrandbits": lambda made: made.getrandbits(64),
    "randbytes": lambda made: made.randbytes(8),
    "randrange": lambda made: made.randrange(1 << 60),
    "gauss": lambda made: made.gauss(),
    "sample": lambda made: made.sample(range(10**6), 5),
}
KINDS: list[type[random.Random]] = [random.Random, OfALibrary]


def kept_by(kind: type[random.Random], draw: Callable[[random.Random], Any]) -> Any:
    """Return a workflow that makes a generator where there is none, and the place it is kept at."""
    kept: list[random.Random] = []

    @workflow.define
    async def draws() -> list[Any]:
        if not kept:
            kept.append(kind())
        found = [draw(kept[0]), draw(kept[0]), str(uuid.uuid4())]
        await asyncio.sleep(1)
        return [*found, draw(kept[0])]

    return draws, kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_generator_that_outlives_its_run_repeats_nothing_outside(
    kind: type[random.Random], draw: Callable[[random.Random], Any]
) -> None:
    outside = []
    for _ in range(2):  # as in two processes that replay the run
        code, kept = kept_by(kind, draw)
        World(code).run()
        outside += [draw(kept[0]) for _ in range(3)]
    assert len({str(each) for each in outside}) == 6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("draw", [*DRAWS.values(), lambda made: copy.copy(made).random()])
def test_it_answers_from_the_run_whose_code_uses_it(
    kind: type[random.Random], draw: Callable[[random.Random], Any]
) -> None:
    """Whoever made it, and whatever was drawn from it meanwhile: replay finds it as it is then."""
    code, kept = kept_by(kind, draw)
    world = World(code)
    found = world.run()
    draw(kept[0])
    world.replay()
    draw(kept[0])
    assert World(code).run() == found, "made by another run, it draws the same"
    another = World(code, seed=bytes(16)).run()
    assert all(one != other for one, other in zip(found, another, strict=True))
    fresh, _ = kept_by(kind, draw)
    assert World(fresh).run() == found, "and made by this one as well"


def test_a_generator_that_is_given_a_seed_or_a_state_goes_on_from_there() -> None:
    kept: list[random.Random] = []

    @workflow.define
    async def draws() -> list[float]:
        kept[:] = [random.Random(), random.Random()]
        state = kept[1].getstate()
        kept[0].seed(5)
        kept[1].setstate(state)
        found = [each.random() for each in kept]
        kept[1].setstate(state)
        return [*found, kept[1].random()]

    world = World(draws)
    first, second, third = world.run()
    world.replay()
    expected = Random(5)
    assert first == expected.random() and kept[0].random() == expected.random()
    assert second == third and type(kept[0]) is random.Random
    assert World(draws).run() == [first, second, third]


def test_a_generator_can_be_copied_and_pickled_outside() -> None:
    kept: list[random.Random] = []

    @workflow.define
    async def draws() -> None:
        kept.append(OfALibrary())

    World(draws).run()
    other, third = pickle.loads(pickle.dumps(kept[0])), copy.deepcopy(kept[0])
    assert isinstance(kept[0], OfALibrary) and len(kept[0].letter()) == 1
    assert type(other) is type(third) is OfALibrary
    assert other.random() == third.random()


def test_the_names_of_temporary_files_do_not_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for _ in range(2):
        monkeypatch.setattr(tempfile, "_name_sequence", None)

        @workflow.define
        async def names_a_file() -> str:
            return next(tempfile._get_candidate_names())  # type: ignore[attr-defined,no-any-return]

        World(names_a_file).run()
        names.append(next(tempfile._get_candidate_names()))  # type: ignore[attr-defined]
    assert names[0] != names[1]


def test_a_kept_generator_is_refused_where_the_run_refuses() -> None:
    code, _ = kept_by(random.Random, lambda made: made.random())
    World(code).run()
    with pytest.raises(CodeError, match=r"random\.Random\(\)\.random\(\)"):
        World(code, settings=Settings(guard="refuse")).start()


# --- clocks -----------------------------------------------------------------------------------


class Tokens:
    """A token with a second to live, as clients of services keep theirs."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock, self.until, self.made = clock, 0.0, 0

    def get(self) -> int:
        if self.clock() > self.until:
            self.made, self.until = self.made + 1, self.clock() + 1
        return self.made


@pytest.mark.parametrize("name", ["monotonic", "perf_counter"])
def test_what_a_workflow_puts_into_a_cache_has_ended_outside(name: str) -> None:
    tokens = Tokens(lambda: getattr(time, name)())

    @workflow.define
    async def gets() -> list[int]:
        found = [tokens.get(), tokens.get()]
        await asyncio.sleep(1.5)
        return [*found, tokens.get()]

    assert World(gets).run() == [1, 1, 2], "it is filled at first, kept, and renewed"
    assert tokens.get() == 3


def test_the_clock_of_a_run_goes_on_as_time_does_and_is_that_of_its_loop() -> None:
    @workflow.define
    async def tells() -> list[float]:
        found = [time.monotonic()]
        for _ in range(3):
            async with asyncio.timeout_at(time.monotonic() + 100):
                await asyncio.sleep(1_000_000.25)
                found.append(-1)
            found.append(time.monotonic())
            assert time.monotonic() == asyncio.get_running_loop().time()
        return found

    @workflow.define
    async def in_time() -> list[float]:
        found = [time.monotonic(), time.monotonic_ns() / 1e9]
        await asyncio.sleep(1_000_000.25)
        found += [time.perf_counter(), time.perf_counter_ns() / 1e9, time.thread_time()]
        assert time.monotonic() == asyncio.get_running_loop().time()
        async with asyncio.timeout_at(time.monotonic() + 100):
            await asyncio.sleep(50)
        return found

    assert World(in_time).run() == [60.0, 60.0, *3 * [1_000_060.25]]
    with pytest.raises(CodeError) as caught:
        World(tells).run()
    assert "TimeoutError" in caught.value.error, "100 s of the run's clock are over"


def test_dates_of_the_module_time_are_those_of_the_turn() -> None:
    real = {name: inspect.unwrap(getattr(time, name)) for name in ("ctime", "gmtime", "localtime")}

    @workflow.define
    async def tells() -> list[bool]:
        await asyncio.sleep(86_400)
        now, form = time.time(), "%Y-%m-%d %H:%M:%S"
        local = real["localtime"](now)
        return [
            time.ctime() == time.ctime(None) == real["ctime"](now),
            time.gmtime() == time.gmtime(None) == real["gmtime"](now),
            time.localtime() == real["localtime"](now),
            time.asctime() == real["ctime"](now),
            time.strftime(form) == time.strftime(form, local),
            time.clock_gettime(time.CLOCK_REALTIME) == now,
            time.clock_gettime_ns(time.CLOCK_REALTIME) == time.time_ns(),
            time.clock_gettime(time.CLOCK_MONOTONIC) == time.thread_time() == 86_460.0,
        ]

    world = World(tells)
    assert world.run() == 8 * [True]
    world.replay()


@pytest.mark.parametrize(
    ("name", "asks", "given"),
    [
        ("time.strftime()", lambda: time.strftime("%Y"), lambda: time.strftime("%Y", (0,) * 9)),
        ("time.gmtime()", lambda: time.gmtime(), lambda: time.gmtime(0)),
        ("time.localtime()", lambda: time.localtime(None), lambda: time.localtime(0)),
        ("time.ctime()", lambda: time.ctime(), lambda: time.ctime(0)),
        ("time.asctime()", lambda: time.asctime(), lambda: time.asctime((0,) * 9)),
    ],
)
def test_a_date_of_a_given_time_asks_no_clock(
    name: str, asks: Callable[[], Any], given: Callable[[], Any]
) -> None:
    @workflow.define
    async def calls(asking: bool) -> bool:
        return given() is not None and (not asking or asks() is not None)

    refuses = Settings(guard="refuse")
    assert World(calls, (False,), settings=refuses).run() is True
    assert given() == given() and asks()
    with pytest.raises(CodeError) as caught:
        World(calls, (True,), settings=refuses).start()
    assert f"{name} without a time" in caught.value.error
