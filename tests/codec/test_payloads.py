"""Payloads: what comes back is what went in, and what does not fit says where."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.codec.payloads import JsonPayloads
from processor.core.data.payloads import Payloads
from processor.errors import SchemaMismatch

PAYLOADS: Payloads = JsonPayloads()


class Color(Enum):
    RED = "red"


@dataclass
class Item:
    name: str
    count: int = 1


@dataclass(frozen=True)
class Order:
    id: UUID
    items: list[Item]
    total: Decimal


class Point(NamedTuple):
    x: int
    y: int


class Address(TypedDict):
    city: str


class Struct(msgspec.Struct):
    value: int


class Model(pydantic.BaseModel):
    when: datetime
    inner: Struct | None = None
    amounts: list[int] = []

    model_config = {"arbitrary_types_allowed": True}


class Strict(pydantic.BaseModel):
    model_config = {"strict": True}
    day: date
    id: UUID


class Plain:
    pass


ORDER = Order(UUID(int=7), [Item("a"), Item("b", 2)], Decimal("12.50"))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 2**70),
        (float, 1.5),
        (str, "ü\u2028"),
        (bool, True),
        (bytes, b"\x00\xff"),
        (datetime, datetime(2024, 2, 29, 12, 30, tzinfo=UTC)),
        (date, date(2024, 2, 29)),
        (timedelta, timedelta(days=3, milliseconds=5)),
        (UUID, UUID(int=1)),
        (Decimal, Decimal("0.10")),
        (Color, Color.RED),
        (Order, ORDER),
        (list[Order], [ORDER]),
        (dict[str, Item], {"a": Item("x")}),
        (dict[int, str], {1: "a"}),
        (dict[UUID, set[int]], {UUID(int=1): {2, 1}}),
        (dict[Color, list[Strict]], {Color.RED: [Strict(day=date(2024, 1, 1), id=UUID(int=3))]}),
        (set[int], {3, 1, 2}),
        (frozenset[str], frozenset("ab")),
        (tuple[int, str], (1, "a")),
        (tuple[int, ...], (1, 2, 3)),
        (Point, Point(1, 2)),
        (Address, {"city": "Ulm"}),
        (Struct, Struct(3)),
        (Model, Model(when=datetime(2024, 1, 1), amounts=[1, 2])),
        (Model | None, Model(when=datetime(2024, 1, 1))),
        (list[Model], [Model(when=datetime(2024, 1, 1))]),
        (Strict, Strict(day=date(2024, 1, 1), id=UUID(int=3))),
        (tuple[Strict, int], (Strict(day=date(2024, 1, 1), id=UUID(int=3)), 4)),
        (int | str | None, "a"),
        (Literal["a", "b"], "b"),
        (Sequence[int], [1, 2]),
        (Any, {"a": [1, None, "x", 1.5]}),
        (object, [1, "a"]),
        (inspect.Signature.empty, {"a": 1}),
    ],
    ids=str,
)
def test_values_come_back(annotation: Any, value: Any) -> None:
    payload = PAYLOADS.encode(value)
    assert payload is not None
    json.loads(payload)
    back = PAYLOADS.decoder(annotation)(payload)
    assert back == value
    assert type(back) is type(value)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=20,
)


@given(JSON)
def test_plain_values_come_back(value: Any) -> None:
    assert PAYLOADS.decoder(Any)(PAYLOADS.encode(value)) == value


@pytest.mark.parametrize("annotation", [None, Any, int | None, Model | None], ids=str)
@pytest.mark.parametrize("payload", [None, b"null"])
def test_nothing_and_null_are_none(annotation: Any, payload: bytes | None) -> None:
    assert PAYLOADS.encode(None) is None
    assert PAYLOADS.decoder(annotation)(payload) is None


@pytest.mark.parametrize("value", ["", [], {}, 0, False, b""], ids=str)
def test_what_is_empty_is_not_nothing(value: object) -> None:
    payload = PAYLOADS.encode(value)
    assert payload and payload != b"null"
    assert PAYLOADS.decoder(type(value))(payload) == value


def test_dictionaries_keep_their_order() -> None:
    assert JsonPayloads().encode({"b": 1, "a": 2}) == b'{"b":1,"a":2}'


@pytest.mark.parametrize(
    ("annotation", "payload", "message"),
    [
        (int, b'"a"', "does not fit int: Expected `int`, got `str`"),
        (Order, b'{"id": 1}', r"test_payloads\.Order: Expected `uuid`.* - at `\$\.id`"),
        (list[Item], b'[{"name": "a"}, {}]', r"missing required field `name` - at `\$\[1\]`"),
        (Color, b'"blue"', "Invalid enum value 'blue'"),
        (Model, b'{"when": "x"}', "does not fit .*Model: 1 validation error for Model\nwhen"),
        (list[Model], b'[{"when": "x"}]', r"at `\$\[0\]`"),
        (Plain, b"{}", "no decoding to .*Plain; use a dataclass"),
        (int, b"", "does not fit int: it is not valid JSON"),
        (int, None, "does not fit int: Expected `int`, got `null`"),
        (Any, b"{", "not valid JSON"),
        (Any, b'"\xff"', "not valid JSON: (?i:.*utf-8)"),
        (None, b"1", "Expected `null`, got `int`"),
    ],
)
def test_what_does_not_fit_names_type_and_path(
    annotation: Any, payload: bytes | None, message: str
) -> None:
    with pytest.raises(SchemaMismatch, match=message):
        PAYLOADS.decoder(annotation)(payload)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Plain(), "type Plain cannot become JSON: no encoding for .*Plain; use a dataclass"),
        ([Plain()], "type list cannot become JSON: no encoding for .*Plain"),
        ("\ud800", "type str cannot become JSON: .*surrogates"),
        ({(1, 2): 3}, "type dict cannot become JSON"),
    ],
    ids=["class", "nested", "surrogate", "key"],
)
def test_what_has_no_json_is_refused(value: object, message: str) -> None:
    with pytest.raises(SchemaMismatch, match=message):
        PAYLOADS.encode(value)


def test_endless_values_are_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(SchemaMismatch, match=r"recursion|Stack overflow"):
        PAYLOADS.encode(endless)


@pytest.mark.parametrize("annotation", ["Item", Model | Plain], ids=str)
def test_types_that_cannot_be_decoded_are_refused_before_any_value(annotation: Any) -> None:
    with pytest.raises(SchemaMismatch, match="JSON cannot be decoded to"):
        PAYLOADS.decoder(annotation)


def test_decoders_are_cached_where_the_annotation_can_be_hashed() -> None:
    assert PAYLOADS.decoder(list[Item]) is PAYLOADS.decoder(list[Item])
    assert PAYLOADS.decoder(Any) is PAYLOADS.decoder(inspect.Signature.empty)
    assert PAYLOADS.decoder(Annotated[int, ["unhashable"]])(b"1") == 1


# --- differences ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        (b"1", b"1", ""),
        (b'{"a":1,"b":2}', b'{ "b": 2, "a": 1 }', ""),
        (b'[{"a":[1,2]}]', b'[{"a": [1, 2]}]', ""),
        (None, None, ""),
        (None, b"null", ""),
        (b"not json", b"not json", ""),
        (b"1", b"2", "$ was 1 and is 2"),
        (b"1", b'"1"', "$ was 1 and is '1'"),
        (b"1", b"true", "$ was 1 and is True"),
        (b"1", b"1.0", "$ was 1 and is 1.0"),
        (b"0", None, "$ was 0 and is None"),
        (b'{"a":1}', b'{"a":1,"b":2}', "$.b is new"),
        (b'{"a":1,"b":2}', b'{"a":1}', "$.b is gone"),
        (b'{"a":null}', b"{}", "$.a is gone"),
        (b'{"a":[0,{"b":"x"}]}', b'{"a":[0,{"b":"y"}]}', "$.a[1].b was 'x' and is 'y'"),
        (b"[1]", b"[1,2]", "$ was [1] and is [1, 2]"),
        (
            b"[2,1]",
            b"[1,2]",
            "$[0] was 2 and is 1 (the order of $ is another one: for a set, pass sorted(...))",
        ),
        (b"{", b"1", "b'{' became b'1'"),
        (b"1", b"", "b'1' became b''"),
        (None, b"", "None became b''"),
    ],
)
def test_where_two_payloads_differ_as_values(
    one: bytes | None, other: bytes | None, difference: str
) -> None:
    assert PAYLOADS.difference(one, other) == difference


def test_a_large_difference_is_shown_in_part() -> None:
    one, other = PAYLOADS.encode("a" * 10_000), PAYLOADS.encode("b" * 10_000)
    assert len(PAYLOADS.difference(one, other)) < 1_000
    assert len(PAYLOADS.difference(b"x" * 10_000, other)) < 1_000


@given(JSON)
def test_a_value_is_no_difference_from_itself(value: Any) -> None:
    one = PAYLOADS.encode(value)
    other = None if one is None else json.dumps(json.loads(one), indent=1).encode()
    assert PAYLOADS.difference(one, other) == ""


def test_values_nested_too_deep_are_compared_somehow() -> None:
    """Whatever a stranger sent: replay goes on."""
    for depth in range(900, 1_100, 5):
        one, other = (b"[" * depth + end + b"]" * depth for end in (b"1", b"2"))
        assert PAYLOADS.difference(one, other)
