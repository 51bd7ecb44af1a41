"""Unions of classes: the member is decided before it is decoded, each level of a value once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest

from processor import SchemaMismatch
from tests.codec.test_round_trips import PAYLOADS, Bank, Card, Cat, Dog, back

# --- deep and wide values -----------------------------------------------------------------------


class Made:
    """Counts the values that are made of it."""

    count = 0

    def __post_init__(self) -> None:
        Made.count += 1


@dataclass
class Not(Made):
    of: Not | Maybe | Leaf
    kind: Literal["not"] = "not"


@dataclass
class Maybe(Made):
    of: Not | Maybe | Leaf
    kind: Literal["maybe"] = "maybe"


@dataclass
class Leaf(Made):
    name: str


@dataclass
class Whole(Made):
    of: Whole | Named | Leaf
    by: int = 0


@dataclass
class Named(Made):
    of: Whole | Named | Leaf
    by: str = ""


@dataclass
class Wide(Made):
    all: list[Wide | Maybe | Leaf]
    kind: Literal["wide"] = "wide"


def nested(depth: int, *makers: Any) -> Any:
    value: Any = Leaf("x")
    for level in range(depth):
        value = makers[level % len(makers)](value)
    return value


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Not | Maybe | Leaf, nested(200, Not, Maybe)),
        (Whole | Named | Leaf, nested(80, Whole, lambda of: Named(of, "me"))),
        (Wide | Maybe | Leaf, Wide([nested(20, Maybe) for _ in range(200)])),
        (Wide | Maybe | Leaf, nested(5, lambda of: Wide([of] * 4))),
    ],
    ids=["tags", "tried", "wide", "bushy"],
)
def test_each_level_of_a_deep_value_is_decoded_once(annotation: Any, value: Any) -> None:
    """At two members a level, 80 levels would never end."""
    payload = PAYLOADS.encode(value)
    assert payload is not None
    before = Made.count
    found = PAYLOADS.decoder(annotation)(payload)
    assert Made.count - before <= 2 * payload.count(b"{"), "each object is made once, or tried"
    assert found == value


def test_a_deep_value_that_does_not_fit_is_refused_as_fast_and_says_where() -> None:
    payload = PAYLOADS.encode(nested(100, Not, Maybe))
    assert payload is not None
    with pytest.raises(
        SchemaMismatch, match=r"Expected `str`, got `int`.*at `\$(\.of){100}\.name`"
    ):
        PAYLOADS.decoder(Not | Maybe | Leaf)(payload.replace(b'"x"', b"1"))
    with pytest.raises(SchemaMismatch, match="it is nested too deep"):
        PAYLOADS.decoder(Not | Maybe | Leaf)(b'{"kind":"not","of":' * 2000 + b"1" + b"}" * 2000)
    payload = PAYLOADS.encode(nested(80, Named))
    assert payload is not None
    with pytest.raises(SchemaMismatch, match="the nearest is ") as caught:
        PAYLOADS.decoder(Whole | Named | Leaf)(payload.replace(b'"x"', b"1"))
    assert len(str(caught.value)) < 700


@dataclass
class Bool:
    kind: Literal[True]


@dataclass
class One:
    kind: Literal[1]


def test_a_tag_decides_before_anything_else() -> None:
    for value in (Bool(True), One(1)):
        assert back(value, Bool | One) == value
    with pytest.raises(SchemaMismatch, match=r"'kind' is 'bird', which none.*Cat \('kind'"):
        PAYLOADS.decoder(Cat | Dog)(b'{"kind": "bird", "name": "x"}')
    with pytest.raises(SchemaMismatch, match=r"Expected `str`, got `int` - at `\$\.name`"):
        PAYLOADS.decoder(Cat | Dog)(b'{"kind": "cat", "name": 1}')


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str | Annotated[Cat | Dog, pydantic.Discriminator("kind")], Dog("Rex")),
        (str | Annotated[Cat, "a note"] | Dog, Cat("Tom")),
        (list[str | Annotated[Card | Bank, "a note"]], ["a", Bank("x")]),
        (Annotated[Cat | Dog, "a note"] | None, None),
        (str | Annotated[int, msgspec.Meta(gt=0)], 3),
    ],
    ids=str,
)
def test_notes_on_members_of_a_union_do_not_matter(annotation: Any, value: Any) -> None:
    assert back(value, annotation) == value


@dataclass
class Written:
    """A plain dataclass of which pydantic alone can read a field."""

    when: Annotated[datetime | str, pydantic.Field(union_mode="left_to_right")]


def test_what_pydantic_alone_can_read_is_read_by_it() -> None:
    value = Written(datetime(2024, 1, 1, tzinfo=UTC))
    assert back(value) == value
    assert back(([value], 3), tuple[list[Written], int]) == ([value], 3)
