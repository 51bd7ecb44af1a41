"""What a connection does that is declared in text: fields, filters and actions, as tables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from processor import InvalidArgument
from processor.connect import Action, Record, SignalCorrelated, SignalEntity, SignalWorkflow, Start
from processor.connect.declared import (
    field,
    fields_of,
    filter_of,
    signals,
    signals_correlated,
    signals_entity,
    starts,
)

anything: Any = str
"""For values that type checkers refuse."""

VALUE = {
    "id": "A-1",
    "number": 7,
    "zero": 0,
    "paid": False,
    "free": True,
    "none": None,
    "order": {"lines": [{"sku": "lamp"}, {"sku": "desk"}], "first-name": "Ada"},
}
RECORD: Record[Any] = Record(
    "orders",
    VALUE,
    b"k-1",
    3,
    17,
    datetime(2030, 1, 2, tzinfo=UTC),
    (("kind", b"old"), ("kind", b"order"), ("empty", None), ("bytes", b"\xff"), ("a.b-c", b"dot")),
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("value", VALUE),
        ("value.id", "A-1"),
        ("value.order.lines[1].sku", "desk"),
        ("value.order.lines[-1].sku", "desk"),
        ("value.order.first-name", "Ada"),
        ("value.none", None),
        ("key", "k-1"),
        ("headers.kind", "order"),
        ("headers.empty", None),
        ("headers.a.b-c", "dot"),
        ("topic", "orders"),
        ("partition", 3),
        ("offset", 17),
        ("timestamp", "2030-01-02T00:00:00+00:00"),
    ],
)
def test_a_field_is_found(text: str, found: object) -> None:
    assert field(text, "key")(RECORD) == found


@pytest.mark.parametrize(
    "text",
    [
        *("value.ID", "value.order.lines[2]", "value.order.lines.sku", "value.id.x", "value.id[0]"),
        *("value[0]", "headers.other", "value.number.x", "value.none.x"),
    ],
)
def test_a_field_that_is_not_there_is_said(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^the record has no value|headers"):
        fields_of([text], "argument")(RECORD)


@pytest.mark.parametrize(
    "text",
    [
        *("", "id", "values.id", "value.", "value..id", "value[a]", "key.id", "value id", ".id"),
        *("headers[0]", "headers.kind[0]", "headers."),
    ],
)
def test_what_is_no_field_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^key: "):
        field(text, "key")


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ('value.id == "A-1"', True),
        ('value.id=="A-1"', True),
        ('value.id != "A-1"', False),
        ('value.id == "A"', False),
        ('value.other == "A"', False),
        ('value.other != "A"', True),
        ("value.number == 7", True),
        ("value.number == 7.0", True),
        ("value.number >= 8", False),
        ("value.number <= 7", True),
        ("value.number < 7", False),
        ("value.number > 6.5", True),
        ("value.number > true", False),
        ('value.number > "6"', False),
        ("value.other < 9", False),
        ("value.none == null", True),
        ("value.other == null", False),
        ("value.paid == false", True),
        ("value.paid == 0", False),
        ("value.paid != 0", True),
        ("value.free", True),
        ("value.paid", False),
        ("value.none", False),
        ("value.other", False),
        ("value.number", True),
        ("value.zero", True),
        ('headers.kind == "order"', True),
        ('key < "k-2"', True),
        ('value.order.lines[0] == {"sku": "lamp"}', True),
        ('value.id == "a == b"', False),
    ],
)
def test_a_filter(text: str, passes: bool) -> None:
    assert filter_of(text)(RECORD) is passes


@pytest.mark.parametrize(
    "text",
    [
        *("", "value.id = 1", "value.id == order", "id == 1", "value.id ==", "value.id != NaN"),
        *("value.id < Infinity", "value.id > -Infinity"),
    ],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^filter: "):
        filter_of(text)


@pytest.mark.parametrize(
    ("function", "action"),
    [
        (starts("ship", "value.id"), Start("ship", VALUE, id="A-1")),
        (starts("ship", "value.number"), Start("ship", VALUE, id="7")),
        (
            starts("ship", "key", ["value.id", "offset"], ["value.free"], "use-existing"),
            Start("ship", "A-1", 17, id="k-1", reuse="use-existing"),
        ),
        (starts("ship", "key", (), ["value.free", "value.paid"]), None),
        (signals("paid", "value.id", ["value.number"]), SignalWorkflow("A-1", "paid", 7)),
        (signals("paid", "value.id", (), ["value.number > 7"]), None),
        (
            signals_entity("Account.put", "key", ["value.number"]),
            SignalEntity("Account.put", "k-1", 7),
        ),
        (signals_entity("Account.put", "key", (), ["value.paid"]), None),
        (
            signals_correlated("paid", "order=value.id", ["value.number"], keep_s=5),
            SignalCorrelated("order", "A-1", "paid", 7, keep=5),
        ),
        (signals_correlated("paid", "order=value.id", (), ["value.paid"]), None),
    ],
)
def test_what_is_declared_is_done(function: Any, action: Action | None) -> None:
    assert function(RECORD) == action


@pytest.mark.parametrize(
    "text", ["value.none", "value.paid", "value.order", "value.other", "headers.empty"]
)
def test_an_id_is_a_text_or_a_whole_number(text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        starts("ship", text)(RECORD)


def test_who_has_no_key_is_told_so() -> None:
    with pytest.raises(InvalidArgument, match="key is None"):
        signals("paid", "key")(Record("orders", {}))


def test_what_is_no_text_raises() -> None:
    with pytest.raises(UnicodeDecodeError):
        signals("paid", "key")(Record("orders", {}, b"\xff"))
    with pytest.raises(UnicodeDecodeError):
        signals("paid", "headers.bytes")(RECORD)


@pytest.mark.parametrize(
    ("build", "error"),
    [
        (lambda: starts("", "key"), "Start: workflow"),
        (lambda: starts("ship", "key", (), (), anything("allowed")), "Start: reuse"),
        (lambda: starts("ship", "key", conflict=anything("no")), "Start: conflict"),
        (lambda: signals("", "key"), "SignalWorkflow: name"),
        (lambda: signals_entity("Account", "key"), "write Name.operation"),
        (lambda: signals_correlated("paid", "value.id"), "write the name of the key, ="),
        (lambda: signals_correlated("paid", "=value.id"), "write the name of the key, ="),
        (lambda: signals_correlated("paid", "order=id"), "'id' is no field"),
        (lambda: signals_correlated("", "order=key"), "SignalCorrelated: name"),
        (lambda: signals_correlated("paid", "order=key", keep_s=-1), "SignalCorrelated: keep"),
        (lambda: signals_entity("A@b.put", "key"), "write Name.operation"),
    ],
)
def test_what_no_record_could_mend_is_refused_at_once(
    build: Callable[[], object], error: str
) -> None:
    with pytest.raises(InvalidArgument, match=error):
        build()
