"""Values that payload classes make up: from the run while one decodes, from the clock elsewhere.

What each kind of class and of factory does within a workflow: see ``tests/workflow``.
"""

from __future__ import annotations

import random
from asyncio import _set_running_loop
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, make_dataclass
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any

import msgspec
import pydantic
import pytest

from processor.codec.payloads import JsonPayloads
from processor.workflow._guard.library import Library

RUN_MS = 86_400_000
OF_THE_RUN = datetime.fromtimestamp(RUN_MS / 1000)


@dataclass
class Item:
    made: datetime = field(default_factory=datetime.now)


@dataclass
class Order:
    items: list[Item]
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Model(pydantic.BaseModel):
    made: datetime = pydantic.Field(default_factory=datetime.now)


class Struct(msgspec.Struct):
    made: datetime = msgspec.field(default_factory=datetime.now)


@contextmanager
def run_that_decodes() -> Iterator[None]:
    """Stand in for a workflow's loop just while it decodes a value."""
    library = Library(b"16 random bytes.")
    library.now_ms = RUN_MS
    _set_running_loop(SimpleNamespace(library=library))  # type: ignore[arg-type]
    try:
        yield
    finally:
        _set_running_loop(None)


def test_the_run_answers_while_it_decodes_and_nobody_else_ever() -> None:
    decode = JsonPayloads().decoder(Order)
    for _ in range(2):
        with run_that_decodes():
            order = decode(b'{"items": [{}]}')
        assert order.items[0].made == OF_THE_RUN
        assert order.at == OF_THE_RUN.astimezone(UTC)
        before = datetime.now()
        outside = decode(b'{"items": [{}]}')
        assert before <= outside.items[0].made <= datetime.now()
        assert before.astimezone(UTC) <= outside.at


def test_what_was_sent_is_what_is_read() -> None:
    sent = datetime(2024, 2, 29, 12, 30)
    for kind in (Item, Model):
        decode = JsonPayloads().decoder(kind)
        with run_that_decodes():
            assert decode(b'{"made": "2024-02-29T12:30:00"}').made == sent
            assert decode(b"{}").made == OF_THE_RUN


def test_the_users_class_stays_as_it_is() -> None:
    """Though msgspec had looked at it before, and looks at it again."""

    @dataclass
    class Fresh:
        made: datetime = field(default_factory=datetime.now)

    assert msgspec.json.decode(b"{}", type=Fresh).made > OF_THE_RUN
    decode = JsonPayloads().decoder(Fresh)
    with run_that_decodes():
        assert decode(b"{}").made == OF_THE_RUN
        assert Fresh().made > OF_THE_RUN, "the code itself is the guard's affair"
    assert [each.default_factory for each in fields(Fresh)] == [datetime.now]
    assert msgspec.json.decode(b"{}", type=Fresh).made > OF_THE_RUN


@dataclass
class Outer:
    item: Item = field(default_factory=Item)
    model: Model = field(default_factory=Model)
    struct: Struct = field(default_factory=Struct)


class Plain(Item):
    """A class that is a dataclass by what it inherits."""


def test_what_is_made_up_within_what_is_made_up_comes_from_the_run() -> None:
    decode = JsonPayloads().decoder(Outer)
    with run_that_decodes():
        made = decode(b"{}")
    assert made == Outer(Item(OF_THE_RUN), Model(made=OF_THE_RUN), Struct(OF_THE_RUN))
    assert decode(b"{}").item.made > OF_THE_RUN


def test_a_plain_subclass_of_a_dataclass_is_one() -> None:
    decode = JsonPayloads().decoder(Plain)
    with run_that_decodes():
        assert decode(b"{}") == Plain(OF_THE_RUN)
    assert decode(b"{}").made > OF_THE_RUN


class Clock:
    step = 1

    @classmethod
    def told(cls) -> datetime:
        return datetime.now(UTC)

    def __call__(self) -> datetime:
        return datetime.now(UTC)


def told_by_a_default(clock: Any = datetime, *, zone: Any = UTC) -> datetime:
    now: datetime = clock.now(zone)
    return now


@pytest.mark.parametrize(
    "factory",
    [Clock.told, Clock(), Clock().told, told_by_a_default, partial(told_by_a_default, zone=UTC)],
    ids=["classmethod", "callable", "method", "default", "partial"],
)
def test_whatever_asks_for_the_time_is_told_by_the_run(factory: Any) -> None:
    decode = decoder_of(datetime, factory)
    with run_that_decodes():
        assert decode(b"{}").made == OF_THE_RUN.astimezone(UTC)
    assert decode(b"{}").made > OF_THE_RUN.astimezone(UTC)


@pytest.mark.parametrize(
    "factory",
    [partial(random.randint, 1, 1 << 50), random.random],
    ids=["partial", "method"],
)
def test_whatever_draws_is_drawn_from_the_run(factory: Any) -> None:
    decode = decoder_of(float, factory)
    with run_that_decodes():
        first = decode(b"{}")
    with run_that_decodes():
        assert decode(b"{}") == first
    assert decode(b"{}") != first


def decoder_of(kind: type, factory: Any) -> Any:
    made = make_dataclass("Made", [("made", kind, field(default_factory=factory))])
    return JsonPayloads().decoder(made)


class Positional(msgspec.Struct, array_like=True, frozen=True):
    name: str
    made: datetime = msgspec.field(default_factory=datetime.now)


class Renamed(msgspec.Struct, rename="camel"):
    made_at: datetime = msgspec.field(default_factory=datetime.now)


@pytest.mark.parametrize(
    ("annotation", "empty", "given"),
    [
        (Struct, "{}", '{"made": "2024-02-29T12:30:00"}'),
        (list[Struct], "[{}]", '[{"made": "2024-02-29T12:30:00"}]'),
        (dict[str, Struct | None], '{"a": {}}', '{"a": {"made": "2024-02-29T12:30:00"}}'),
        (tuple[int, Struct], "[1, {}]", '[1, {"made": "2024-02-29T12:30:00"}]'),
        (Positional, '["x"]', '["x", "2024-02-29T12:30:00"]'),
        (Renamed, "{}", '{"madeAt": "2024-02-29T12:30:00"}'),
    ],
    ids=str,
)
def test_what_a_struct_lacks_is_filled_in_within_a_run_only(
    annotation: Any, empty: str, given: str
) -> None:
    decode = JsonPayloads().decoder(annotation)
    assert repr(OF_THE_RUN) not in repr(decode(empty.encode()))
    with run_that_decodes():
        assert repr(OF_THE_RUN) in repr(decode(empty.encode()))
        assert repr(datetime(2024, 2, 29, 12, 30)) in repr(decode(given.encode()))
