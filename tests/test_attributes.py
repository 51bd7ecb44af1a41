"""Search attributes as values: what is one, what is refused, and the JSON that says them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import StrEnum
from typing import Any

import pytest

from processor.attributes import FIELDS, changed, check_encoded, decode, encode, encoded
from processor.errors import InvalidArgument, PayloadTooLarge, SchemaMismatch

NOON = datetime(2027, 1, 31, 12, tzinfo=UTC)


class Nowhere(tzinfo):
    """A time zone that does not say where it is."""

    def utcoffset(self, when: datetime | None) -> None:
        return None


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "json"),
    [
        (True, "true"),
        (1, "1"),
        (-(1 << 63), "-9223372036854775808"),
        (1.0, "1.0"),
        (1e300, "1e+300"),
        ("", '""'),
        ("ü\0'\"", '"ü\\u0000\'\\""'),
        (NOON, '{"datetime":"2027-01-31T12:00:00+00:00"}'),
        (["a", "b"], '["a","b"]'),
    ],
)
def test_a_value_comes_back_as_what_it_was(value: Any, json: str) -> None:
    made = encoded({"name": value}, "start: attributes")
    assert made == f'{{"name":{json}}}'.encode()
    found = decode(made)["name"]
    assert (type(found), found) == (type(value), value)
    check_encoded(made)


def test_other_forms_of_a_value_are_taken_as_it_is() -> None:
    noon = NOON.astimezone(timezone(timedelta(hours=5)))
    assert encoded({"a": noon}, "") == encoded({"a": NOON}, "")
    assert decode(encoded({"a": ("x", Colour.RED), "b": Colour.RED}, "")) == {
        "a": ["x", "red"],
        "b": "red",
    }
    assert encoded({"b": 1, "a": 2}, "") == b'{"a":2,"b":1}'


def test_none_and_an_empty_list_take_a_name_out() -> None:
    before = {"a": 1, "b": ["x"], "c": "y"}
    assert changed(before, {"a": None, "b": [], "c": 2, "d": True}, "") == {"c": 2, "d": True}
    assert encoded({"a": None}, "") is encode({}, "") is encoded(None, "") is None
    assert decode(None) == {}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([1], "give names and values"),
        ({1: 2}, "1 is no name"),
        ({"": 2}, "'' is no name"),
        ({"1a": 2}, "'1a' is no name"),
        ({"a b": 2}, "'a b' is no name"),
        ({"a`": 2}, "'a`' is no name"),
        ({"a" * 101: 2}, "is no name"),
        ({"status": 2}, "is what every run has by itself"),
        ({"WorkflowType": 2}, "is what every run has by itself"),
        ({"a": 1 << 63}, "has more than 64 bits"),
        ({"a": float("nan")}, "nan cannot be compared"),
        ({"a": float("inf")}, "inf cannot be compared"),
        ({"a": "\ud800"}, "is no text of Unicode"),
        ({"a": ["\ud800"]}, "is no text of Unicode"),
        ({"a": datetime(2027, 1, 1)}, "has no time zone"),
        ({"a": datetime(2027, 1, 1, tzinfo=Nowhere())}, "has no time zone"),
        ({"a": datetime.max.replace(tzinfo=timezone(-timedelta(hours=1)))}, "out of range"),
        ({"a": [1]}, "give a bool, int, float, str, datetime or list"),
        ({"a": {"x": 1}}, "give a bool, int, float, str, datetime or list"),
        ({"a": b"x"}, "give a bool, int, float, str, datetime or list"),
        ({f"a{n}": n for n in range(101)}, "there would be 101, and a run has 100"),
    ],
)
def test_what_is_no_attribute_is_refused(given: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says) as refused:
        encoded(given, "start: attributes")
    assert str(refused.value).startswith("start: attributes: ")


def test_sizes_are_bounded() -> None:
    assert encoded({"a": "x" * 1_998}, "")
    with pytest.raises(PayloadTooLarge, match="'a' has 2,001 bytes, and 2,000 are the most"):
        encoded({"a": "x" * 1_999}, "start: attributes")
    many = {f"a{number}": "x" * 1_900 for number in range(22)}
    with pytest.raises(PayloadTooLarge, match="all of them have 41,"):
        encoded(many, "start: attributes")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"1",
        b"{",
        b"\xff",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e999}',
        b'{"a":[1]}',
        b'{"a":{"datetime":"noon"}}',
        b'{"a":{"datetime":"2027-01-01T00:00:00"}}',
        b'{"status":1}',
        b'{"a":"\\ud800"}',
        b'{"a":' + b"9" * 5_000 + b"}",
        b"[" * 30_000,
        b'{"a":"' + b"x" * 2_000 + b'"}',
        b" " * 50_000,
    ],
)
def test_bytes_of_strangers_that_are_no_attributes_are_refused(payload: bytes) -> None:
    with pytest.raises(SchemaMismatch):
        check_encoded(payload)


def test_no_attribute_has_a_name_that_a_run_has() -> None:
    for name in (*FIELDS, *FIELDS.values()):
        with pytest.raises(InvalidArgument):
            encoded({name: 1}, "")
