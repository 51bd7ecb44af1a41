"""A value is decoded equal to what was encoded, or refused with an error that says what to use."""

from __future__ import annotations

import enum
import math
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NoReturn, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pytest
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass as pydantic_dataclass

from processor import SchemaMismatch, activity, workflow
from processor.codec.payloads import JsonPayloads
from processor.injection.interceptors import Injected
from processor.registry import Registry

PAYLOADS = JsonPayloads()
T = TypeVar("T")


def back(value: Any, annotation: Any = None) -> Any:
    return PAYLOADS.decoder(annotation or type(value))(PAYLOADS.encode(value))


class Aliased(pydantic.BaseModel):
    order_id: int = pydantic.Field(alias="orderId")
    made_by: str = pydantic.Field("nobody", validation_alias="madeBy", serialization_alias="author")
    deep: int = pydantic.Field(0, validation_alias=pydantic.AliasPath("a", "b"))
    any_of: int = pydantic.Field(0, validation_alias=pydantic.AliasChoices("x", "y"))


class Camel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(alias_generator=to_camel, extra="forbid")
    first_name: str
    inner: Aliased | None = None

    @pydantic.computed_field
    @property
    def greeting(self) -> str:
        return f"hello {self.first_name}"


class Both(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(alias_generator=to_camel, serialize_by_alias=True)
    made_at: datetime = pydantic.Field(default_factory=lambda: datetime.now(UTC))
    raw: pydantic.Json[list[int]] = [1]


class Root(pydantic.RootModel[list[int]]):
    pass


def aliased(number: int = 1) -> Aliased:
    return Aliased.model_validate({"orderId": number, "madeBy": "me", "a": {"b": 5}, "y": 7})


@pytest.mark.parametrize(
    "value",
    [
        aliased(),
        Camel.model_validate({"firstName": "Ada", "inner": aliased()}),
        Both(madeAt=datetime(2024, 1, 1, tzinfo=UTC), raw="[1, 2]"),
        Root([1, 2]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_models_with_aliases_and_computed_fields_come_back(value: Any) -> None:
    assert back(value) == value
    assert back([value], list[type(value)]) == [value]


def test_models_still_read_their_aliases_which_others_send() -> None:
    payload = (
        b'{"firstName": "Ada", "inner": {"orderId": 1, "madeBy": "me", "a": {"b": 5}, "x": 7}}'
    )
    assert PAYLOADS.decoder(Camel)(payload) == Camel(firstName="Ada", inner=aliased())


class Crossed(pydantic.BaseModel):
    a: int = pydantic.Field(alias="b")
    b: int = pydantic.Field(alias="a")


class Secret(pydantic.BaseModel):
    password: pydantic.SecretStr


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Crossed.model_validate({"b": 1, "a": 2}), "alias of field 'a' is 'b'.*rename one"),
        (Secret(password=pydantic.SecretStr("x")), "SecretStr is written as.*read the secret"),
    ],
)
def test_what_would_come_back_otherwise_is_refused_in_both_directions(
    value: Any, message: str
) -> None:
    with pytest.raises(SchemaMismatch, match=message):
        PAYLOADS.encode(value)
    with pytest.raises(SchemaMismatch, match=message):
        PAYLOADS.decoder(list[type(value)])


# --- unions -----------------------------------------------------------------------------------


@dataclass
class Card:
    number: str
    limit: int = 5


@dataclass
class Bank:
    iban: str


@dataclass
class Cat:
    name: str
    kind: Literal["cat"] = "cat"


@dataclass
class Dog:
    name: str
    kind: Literal["dog"] = "dog"


@dataclass
class Twin:
    iban: str


class Cash(pydantic.BaseModel):
    amount: Decimal = Decimal(1)


class Voucher(TypedDict):
    code: str


class Token(msgspec.Struct):
    token: str


@dataclass
class Payment:
    how: Card | Bank | Cash | None
    pets: list[Cat | Dog] = field(default_factory=list)
    more: dict[str, Payment] = field(default_factory=dict)


class Pair(NamedTuple):
    one: Card | Bank
    other: int


@dataclass
class Box(Generic[T]):
    inside: T


HOW = Card | Bank | Cash | Voucher | Token


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (HOW, Card("1")),
        (HOW, Bank("DE")),
        (HOW, Cash(amount=Decimal("2.50"))),
        (HOW, {"code": "A"}),
        (HOW, Token("t")),
        (HOW | None, None),
        (Cat | Dog, Dog("Rex")),
        (Annotated[Cat | Dog, "a tag"], Cat("Tom")),
        (list[Card | Bank], [Bank("DE"), Card("1")]),
        (dict[str, Card | Cash | None], {"a": Cash(), "b": None}),
        (tuple[Card | Bank, ...], (Bank("a"), Card("b"))),
        (Payment, Payment(Bank("x"), [Dog("a"), Cat("b")], {"a": Payment(None)})),
        (Payment, Payment(Cash())),
        (list[Pair], [Pair(Bank("x"), 1)]),
        (Cash | int, 5),
        (Cash | str | list[int], [1]),
        (Cash | str, Cash()),
        (Card | str, "text"),
        (Box[int], Box(3)),
    ],
    ids=str,
)
def test_unions_of_classes_come_back(annotation: Any, value: Any) -> None:
    found = back(value, annotation)
    assert found == value
    assert type(found) is type(value)


def test_unions_come_back_in_classes_whose_annotations_are_no_text() -> None:
    """Python 3.14 makes such annotations when they are asked for."""
    source = "@dataclass\nclass Parcel:\n    how: Card | Bank\n"
    names = dict(globals())
    exec(compile(source, __file__, "exec", dont_inherit=True), names)
    parcel = names["Parcel"](Bank("x"))
    assert back(parcel) == parcel


def test_classes_are_what_they_were_after_their_decoder_was_built() -> None:
    JsonPayloads().decoder(Payment)
    assert Payment.__annotations__["how"] == "Card | Bank | Cash | None"
    with pytest.raises(TypeError):
        msgspec.json.Decoder(Payment)


def test_what_others_leave_out_is_filled_in_where_one_member_fits() -> None:
    assert PAYLOADS.decoder(Card | Bank)(b'{"number": "1"}') == Card("1")


def test_a_union_that_does_not_say_which_is_refused() -> None:
    with pytest.raises(SchemaMismatch, match=r"it fits Bank and Twin.*kind: Literal"):
        back(Bank("DE"), Bank | Twin)
    with pytest.raises(
        SchemaMismatch, match=r"fits none of the union \(Card, Bank\): expected an obj"
    ):
        PAYLOADS.decoder(Card | Bank)(b"5")
    with pytest.raises(SchemaMismatch, match=r"at `\$\[0\]`"):
        PAYLOADS.decoder(list[Card | Bank])(b'[{"a": 1}]')
    with pytest.raises(SchemaMismatch, match="JSON cannot be decoded to"):
        PAYLOADS.decoder(Cash | dict[str, int])


# --- dataclasses of pydantic's ----------------------------------------------------------------


@pydantic_dataclass
class Checked:
    amount: Annotated[int, pydantic.Field(gt=0)]
    raw: bytes = b""
    how: Card | Bank | None = None
    when: timedelta = timedelta(0)
    total: int = field(init=False, default=0)
    posts: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.posts += 1


@pydantic_dataclass
class Outer:
    inner: Checked
    name: str = pydantic.Field(alias="theName", default="x")


@dataclass
class Holds:
    inner: Checked | None


@pytest.mark.parametrize("annotation", [Checked, Holds, Outer, list[Checked]], ids=str)
def test_dataclasses_of_pydantics_come_back_and_keep_their_validation(annotation: Any) -> None:
    checked = Checked(3, b"\x00\xff", Bank("x"), timedelta(seconds=5))
    checked.total = 7
    value: Any = checked
    wrong = b'{"amount": -1}'
    if annotation in (Holds, Outer):
        value, wrong = annotation(checked), b'{"inner": ' + wrong + b"}"
    elif annotation is not Checked:
        value, wrong = [checked], b"[" + wrong + b"]"
    assert back(value, annotation) == value
    with pytest.raises(SchemaMismatch, match="greater than 0"):
        PAYLOADS.decoder(annotation)(wrong)


# --- classes derived from plain ones ----------------------------------------------------------


class Name(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another"


class Number(int):
    pass


class Weight(float):
    pass


class Items(list[int]):
    pass


class Mode(str, enum.Enum):
    ON = "on"


@dataclass
class Derived:
    name: Name
    number: Number
    weights: list[Weight]


@pytest.mark.parametrize(
    "value",
    [
        Name("Ada"),
        Number(5),
        Weight(1.5),
        Weight(2),
        Items([1]),
        Mode.ON,
        OrderedDict(a=1),
        Counter("aab"),
        deque([1, 2]),
        Derived(Name("a"), Number(2), [Weight(0.5)]),
    ],
    ids=repr,
)
def test_classes_derived_from_plain_ones_come_back(value: Any) -> None:
    found = back(value)
    assert found == value
    assert type(found) is type(value)


def test_keys_of_derived_classes_come_back() -> None:
    assert back({Name("a"): Number(1)}, dict[Name, Number]) == {Name("a"): Number(1)}


# --- what JSON has no words for ---------------------------------------------------------------

LMT = timezone(timedelta(minutes=53, seconds=28))


class Measured(pydantic.BaseModel):
    value: float


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda odd: odd, r"\$"),
        (lambda odd: ("a", [1.5, odd, 2**80]), r"\$\[1\]\[1\]"),
        (lambda odd: {"a": {"b": odd}, "c": None}, r"\$\.a\.b"),
        (lambda odd: Measured(value=odd), r"\$\.value"),
        (lambda odd: Weight(odd), r"\$"),
    ],
)
def test_what_is_no_number_is_refused_with_its_path(make: Any, path: str, odd: float) -> None:
    with pytest.raises(SchemaMismatch, match=rf"JSON has no -?(nan|inf) \(at {path}\); use None"):
        PAYLOADS.encode(make(odd))


def test_nothing_is_still_nothing_beside_numbers() -> None:
    value = [None, {"a": None, "null": 1e308, "b": -5e-324}, 2**100]
    assert back(value, Any) == value


@pytest.mark.parametrize(
    "value",
    [datetime(1890, 1, 1, tzinfo=LMT), datetime(1890, 1, 1, 0, 0, 0, 5, tzinfo=LMT)],
)
def test_an_offset_of_seconds_is_refused(value: datetime) -> None:
    with pytest.raises(SchemaMismatch, match=r"no offset of seconds.*at \$\.a\[0\].*astimezone"):
        PAYLOADS.encode({"a": [value]})
    assert back(value.astimezone(UTC)) == value


def test_other_offsets_come_back() -> None:
    for minutes in (-754, -1, 1, 15, 53, 330, 345):
        zone = timezone(timedelta(minutes=minutes))
        assert back(datetime(2024, 1, 1, tzinfo=zone)) == datetime(2024, 1, 1, tzinfo=zone)
        assert back(time(1, 2, 3, tzinfo=zone)) == time(1, 2, 3, tzinfo=zone)


# --- classes of users that raise anything -----------------------------------------------------


class Raises(pydantic.BaseModel):
    value: int

    @pydantic.field_validator("value")
    @classmethod
    def check(cls, value: int) -> int:
        return 1 // value

    @pydantic.model_serializer
    def dump(self) -> Any:
        raise KeyError("dump")


@dataclass
class Fails:
    value: int

    def __post_init__(self) -> None:
        if self.value == 0:
            raise AttributeError("zero")


def test_what_a_class_raises_is_told_when_it_is_encoded_and_is_a_bug_when_it_is_decoded() -> None:
    with pytest.raises(SchemaMismatch, match="dump"):
        PAYLOADS.encode(Raises(value=1))
    with pytest.raises(ZeroDivisionError):
        PAYLOADS.decoder(Raises)(b'{"value": 0}')
    with pytest.raises(AttributeError, match="zero"):
        PAYLOADS.decoder(Fails)(b'{"value": 0}')


def test_a_workflow_may_say_that_it_never_returns() -> None:
    assert PAYLOADS.decoder(NoReturn)(b"1") == 1


def test_types_that_cannot_be_decoded_are_found_when_the_worker_starts() -> None:
    @workflow.define
    async def takes(order: Cash | dict[str, int]) -> None: ...

    @workflow.define
    async def returns() -> list[Crossed]: ...

    @activity.define
    async def rest(*orders: UUID | datetime) -> None: ...

    for given, message in (
        (([takes], []), r"workflow 'takes'.*: parameter 'order': JSON cannot be decoded to"),
        (([returns], []), r"workflow 'returns'.*: the result: .*alias of field"),
        (([], [rest]), r"activity 'rest'.*: parameter 'orders': "),
    ):
        with pytest.raises(SchemaMismatch, match=message):
            Registry(*given, Injected(PAYLOADS))
