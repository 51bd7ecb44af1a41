"""Keys of dictionaries, what generic classes hold, and what is no type at all."""

from __future__ import annotations

import gc
import math
import weakref
from collections import OrderedDict, deque
from dataclasses import dataclass, make_dataclass
from datetime import UTC, datetime, time, timedelta, timezone
from typing import Any, Generic, Literal, TypedDict, TypeVar

import msgspec
import pydantic
import pytest

from processor import SchemaMismatch
from processor.codec.defaults import TYPES_MAX
from processor.codec.payloads import JsonPayloads

from .test_round_trips import PAYLOADS, back

T = TypeVar("T")


class WholeKey(int):
    pass


class NumberKey(float):
    pass


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (WholeKey, "WholeKey"),
        (NumberKey, "NumberKey"),
        (Literal[True], r"Literal\[True\]"),
        (Literal[False, "x"], r"Literal\["),
        (Literal[1, "1"], r"Literal\["),
    ],
)
def test_keys_whose_text_is_not_read_as_the_key_are_refused_before_any_value(
    key: Any, shown: str
) -> None:
    with pytest.raises(SchemaMismatch, match=f"this key cannot be one: .*{shown}.*; use keys of"):
        PAYLOADS.decoder(dict[key, int])


def test_a_key_is_the_same_moment_or_is_refused() -> None:
    odd = timezone(timedelta(seconds=30))
    for key in (datetime(2026, 1, 1, tzinfo=odd), time(1, 2, tzinfo=odd)):
        with pytest.raises(SchemaMismatch, match=r"no offset of seconds.*use value\.astimezone"):
            PAYLOADS.encode({"a": {key: 1}})
    whole = {datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=3))): 1}
    assert back(whole, dict[datetime, int]) == whole
    with pytest.raises(SchemaMismatch, match="JSON has no inf"):
        PAYLOADS.encode({"1": {"x": math.inf}, 1: {}})


@dataclass
class Boxed(Generic[T]):
    held: T


class BoxedStruct(msgspec.Struct, Generic[T]):
    held: T


class BoxedParts(TypedDict, Generic[T]):
    held: T


@dataclass
class Plainly:
    x: int


class Modelled(pydantic.BaseModel):
    y: int


@pytest.mark.parametrize(
    ("held", "value"),
    [
        (deque[int], deque([1])),
        (OrderedDict[str, datetime], OrderedDict(a=datetime(2026, 1, 1, tzinfo=UTC))),
        (list[deque[int] | None], [deque([1]), None]),
        (Plainly | Modelled, Modelled(y=1)),
        (Plainly | Modelled | None, Plainly(1)),
        (dict[str, Plainly | Modelled], {"a": Plainly(1), "b": Modelled(y=2)}),
    ],
)
def test_generic_classes_hold_what_stands_alone(held: Any, value: Any) -> None:
    for value_of, annotation in (
        (Boxed, Boxed[held]),
        (BoxedStruct, BoxedStruct[held]),
        (lambda held: {"held": held}, BoxedParts[held]),
    ):
        assert back(value_of(value), annotation) == value_of(value)


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __hash__ = __repr__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")


@pytest.mark.parametrize("annotation", ["\ud800", "\x1b[31m\n", Hostile(), [[[[1]]]], 7])
def test_what_is_no_type_is_refused_in_plain_text(annotation: Any) -> None:
    with pytest.raises(SchemaMismatch) as refused:
        PAYLOADS.decoder(annotation)
    assert str(refused.value).isprintable()
    assert str(refused.value).isascii()


def test_types_that_nobody_uses_any_more_are_let_go() -> None:
    """A workflow may make its classes anew in each run."""
    payloads = JsonPayloads()
    made: list[weakref.ref[type]] = []
    for number in range(2 * TYPES_MAX + 100):
        kind = make_dataclass(f"Local{number}", [("a", int)])
        made.append(weakref.ref(kind))
        assert payloads.decoder(kind)(payloads.encode(kind(1))) == kind(1)
        del kind
    gc.collect()
    assert sum(each() is not None for each in made) <= TYPES_MAX
