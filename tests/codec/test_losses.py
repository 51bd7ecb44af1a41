"""Types that nothing reads stop the worker; values that would be other ones are refused."""

from __future__ import annotations

import math
import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import InitVar, dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

import attrs
import pydantic
import pytest
from pydantic.dataclasses import dataclass as pydantic_dataclass

from processor import SchemaMismatch, activity, workflow
from processor.injection.interceptors import Injected
from processor.registry import Registry
from tests.codec.test_round_trips import PAYLOADS, Box, Cat, Dog, Secret, back

# --- types that stop the worker -----------------------------------------------------------------


class OwnTuple(tuple[int, ...]):
    __slots__ = ()


class OwnId(UUID):
    pass


class Own:
    pass


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Own, "Own; use a dataclass"),
        (list[Own], "Own; use a dataclass"),
        (defaultdict[str, int], "use dict"),
        (Iterable[int], "use list"),
        (complex, r"use tuple\[float, float\]"),
        (OwnTuple, "use tuple, or a NamedTuple"),
        (OwnId, "use UUID"),
        (re.Pattern, "the text of the pattern"),
        (Callable, "the name of a function"),
        (Exception, "use its text"),
        (range, r"use list\[int\]"),
        (timezone, "the name of the zone"),
        (type[int], "the name of the class"),
        (pydantic.BaseModel, "name the model"),
        (dict[bool, int], "this key cannot be one: bool; use keys"),
        (dict[tuple[int, int], str], "this key cannot be one"),
        (dict[int | str, int], r"which of int \| str a key was"),
        (int | bool | Own, "use a dataclass"),
        (str | datetime, "use one of them, or a dataclass for each"),
    ],
    ids=str,
)
def test_a_type_that_nothing_reads_stops_the_worker(annotation: Any, message: str) -> None:
    async def takes(x): ...  # type: ignore[no-untyped-def]

    for place in ("x", "return"):
        takes.__annotations__ = {place: annotation}
        for given in (([workflow.define(takes)], []), ([], [activity.define(takes)])):
            with pytest.raises(SchemaMismatch, match=message):
                Registry(*given, Injected(PAYLOADS))


@dataclass
class Nested:
    queue: deque[Decimal]
    counts: Counter[str]
    where: PurePosixPath


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (deque[UUID], deque([UUID(int=1)])),
        (OrderedDict[int, Decimal], OrderedDict({1: Decimal("1.0")})),
        (Counter[int], Counter([1, 1])),
        (Path, Path("a/b")),
        (Fraction, Fraction(1, 3)),
        (IPv4Address, IPv4Address("10.0.0.1")),
        (Nested, Nested(deque([Decimal("1.10")]), Counter("aab"), PurePosixPath("/a"))),
        (deque[Cat | Dog], deque([Dog("Rex")])),
    ],
    ids=str,
)
def test_classes_of_the_standard_library_come_back(annotation: Any, value: Any) -> None:
    found = back(value, annotation)
    assert found == value
    assert type(found) is type(value)


def test_a_queue_with_a_bound_is_refused() -> None:
    with pytest.raises(SchemaMismatch, match="maxlen"):
        PAYLOADS.encode(deque([1], maxlen=3))


# --- values that would be other ones ------------------------------------------------------------


class Free(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    data: Any = None


class Loose(pydantic.RootModel[Any]):
    pass


class Key(pydantic.SecretStr):
    pass


class Hidden(pydantic.BaseModel):
    token: str = pydantic.Field("", exclude=True)


class Odd(pydantic.BaseModel):
    even: int = pydantic.Field(0, exclude_if=lambda value: value == 3)


class Parent(pydantic.BaseModel):
    a: int


class Child(Parent):
    b: int = 2


class Keeps(pydantic.BaseModel):
    one: Parent


class Which(pydantic.RootModel[Child | Parent]):
    pass


class When(pydantic.BaseModel):
    at: datetime


def shifted(seconds: int) -> datetime:
    return datetime(2024, 1, 1, tzinfo=timezone(timedelta(seconds=seconds)))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Free(data={"a": [math.nan]}), r"JSON has no nan \(at \$\.data\.a\[0\]\)"),
        (Free.model_validate({"more": math.inf}), r"JSON has no inf \(at \$\.more\)"),
        ([Loose([math.nan])], r"JSON has no nan \(at \$\[0\]\[0\]\)"),
        (Free(data=pydantic.SecretStr("x")), r"SecretStr is written as.*at \$\.data\)"),
        ({"a": Free.model_validate({"more": [Key("x")]})}, r"Key is.*at \$\.a\.more\[0\]\)"),
        (Free(data=Secret(password=pydantic.SecretStr("x"))), "is written as"),
        (Hidden(token="x"), r"'token' is not written \(exclude\)"),
        (Odd(even=3), r"'even' is not written \(exclude\)"),
        (Keeps(one=Child(a=1)), r"'b' is not written: it is one of .*Child only"),
        (Which(Parent(a=1)), "does not say which member"),
        (Free(data={1: 1, "1": 2}), r"two keys are the same text \(at \$\.data\)"),
        (When(at=shifted(1)), r"no offset of seconds.*at \$\.at\)"),
        (When(at=shifted(1172)), r"no offset of seconds.*at \$\.at\)"),
        ([shifted(1)], r"no offset of seconds.*at \$\[0\]\)"),
        (shifted(901), "no offset of seconds"),
        (shifted(-3599), "no offset of seconds"),
        (shifted(901).timetz(), "no offset of seconds"),
        (shifted(-29).timetz(), "no offset of seconds"),
    ],
    ids=str,
)
def test_what_would_come_back_as_another_value_is_refused(value: Any, message: str) -> None:
    with pytest.raises(SchemaMismatch, match=message):
        PAYLOADS.encode(value)


@pytest.mark.parametrize(
    "value",
    [
        Free(data={"a": [1.5, None]}),
        Loose(None),
        Hidden(),
        Odd(even=2),
        Keeps(one=Parent(a=1)),
        Which(Child(a=1)),
        When(at=shifted(3600)),
        datetime(2024, 1, 1, tzinfo=UTC),
    ],
    ids=str,
)
def test_and_what_comes_back_is_not(value: Any) -> None:
    assert back(value, type(value)) == value


@attrs.define
class Underscored:
    _left: int = 0


@pydantic_dataclass
class Seeded:
    a: int
    seed: InitVar[int] = 3

    def __post_init__(self, seed: int) -> None:
        self.a += seed


def hidden_model() -> Any:
    """Return a model with a secret, one of whose names is known within this function only."""

    class Local(pydantic.BaseModel):
        a: int

    class Hides(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(defer_build=True)
        local: Local
        key: Key

    Hides.model_rebuild(_types_namespace={"Local": Local})
    return Hides


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (list[Underscored], "its field '_left' is not written"),
        (Seeded, "'seed' is an InitVar"),
        (Key, "Key is written as"),
        (hidden_model(), "Key is written as"),
    ],
    ids=str,
)
def test_classes_whose_values_do_not_come_back_stop_the_worker(
    annotation: Any, message: str
) -> None:
    with pytest.raises(SchemaMismatch, match=message):
        PAYLOADS.decoder(annotation)


def test_a_part_that_cannot_be_written_is_named_with_its_path() -> None:
    with pytest.raises(SchemaMismatch, match=r"no encoding for .*Own.*\(at \$\.a\[1\]\.inside\)"):
        PAYLOADS.encode({"a": [1, Box(Own())]})


def test_an_argument_that_does_not_fit_is_named_without_the_list_of_them() -> None:
    @workflow.define
    async def takes(name: str, order: int = 1) -> None: ...

    with pytest.raises(SchemaMismatch, match=r"Expected `int`.*argument 'order' at `\$`") as caught:
        takes.signature.decode(b'["a", "b"]', PAYLOADS)
    assert "tuple" not in str(caught.value)
