"""From a record to what is asked of shards: values, what functions return, what is refused."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest

from processor import (
    InvalidArgument,
    PayloadTooLarge,
    SchemaMismatch,
    Worker,
    connect,
    entity,
    workflow,
)
from processor.arguments import encoded
from processor.codec.payloads import JsonPayloads
from processor.connect.actions import Wanted
from processor.connect.connection import ACTIONS_MAX, Connection
from processor.connect.values import Raw
from processor.core.correlation import delivers
from processor.core.entity_id import EntityId
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.start import StartRun, StartWith, begins
from processor.errors import ProcessorError
from processor.testing import Environment

anything: Any = connect
"""For calls that type checkers refuse."""


@dataclass
class Order:
    id: str
    amount: int = 0


@entity.define
class Account:
    balance: int = 0

    def put(self, amount: int) -> None:
        self.balance += amount

    @entity.read
    def total(self) -> int:
        return self.balance


@workflow.define
class Cart:
    def __init__(self) -> None:
        self.items: list[str] = []

    @workflow.run
    async def run(self, who: str) -> str:
        await workflow.wait_until(lambda: bool(self.items))
        return f"{who}: {', '.join(self.items)}"

    @workflow.signal
    def add(self, item: str, count: int) -> None:
        self.items += [item] * count


def raw(value: bytes | None, key: bytes | None = None) -> Raw:
    return Raw("orders", 3, 17, -1, key, value)


def asked(connection: Connection[Any], value: bytes | None, bytes_max: int = 1_000) -> list[Wanted]:
    payloads = JsonPayloads()
    return connection.taking(payloads, partial(encoded, payloads, bytes_max))(raw(value))


def returning(found: Any) -> Connection[Any]:
    @connect.define("orders")
    def says(record: connect.Record[Any]) -> Any:
        return found

    return says


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (None, []),
        ([], []),
        (
            connect.Start(Cart.run, "Ada", id="c"),
            [Wanted("c", StartRun("Cart", b'["Ada"]', "allow", "fail"))],
        ),
        (
            connect.Start("Cart", id="c", reuse="reject", conflict="terminate", memo=1),
            [Wanted("c", StartRun("Cart", b"[]", "reject", "terminate", memo=b"1"))],
        ),
        (
            connect.Start(Cart.run, "Ada", id="c", signal=(Cart.add, "apple", 2)),
            [
                Wanted(
                    "c",
                    StartWith(
                        "Cart",
                        b'["Ada"]',
                        conflict="use-existing",
                        first=RaiseEvent("add", b'["apple",2]'),
                    ),
                )
            ],
        ),
        (connect.SignalWorkflow("c", "paid"), [Wanted("c", RaiseEvent("paid", None))]),
        (
            connect.SignalWorkflow("c", Cart.add, "apple", 2),
            [Wanted("c", RaiseEvent("add", b'["apple",2]'))],
        ),
        (
            (each for each in (connect.SignalEntity(Account.put, "ada", 5),) * 2),
            [Wanted("@Account@ada", begins(EntityId("Account", "ada"), RaiseEvent("put", b"5")))]
            * 2,
        ),
        (
            connect.SignalEntity("Account.put", "ada", 5),
            [Wanted("@Account@ada", begins(EntityId("Account", "ada"), RaiseEvent("put", b"5")))],
        ),
        (
            connect.SignalCorrelated("cart", "c", Cart.add, "apple", 2, keep=5),
            [Wanted("correlation:cart=c", delivers(b'["add",["apple",2],5000]'))],
        ),
        (
            connect.SignalCorrelated("cart", "c", "paid"),
            [Wanted("correlation:cart=c", delivers(b'["paid",null,86400000]'))],
        ),
    ],
)
def test_what_is_asked_for(said: Any, wanted: list[Wanted]) -> None:
    assert asked(returning(said), b"1") == wanted


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (7, "the function returned 7"),
        ("Start", "the function returned 'Start'"),
        ([connect.SignalWorkflow("c", "n"), None], "the function returned None"),
        ([connect.SignalWorkflow("c", "n")] * (ACTIONS_MAX + 1), "more than 1,000 things"),
    ],
)
def test_what_asks_for_nothing_that_there_is(said: Any, error: str) -> None:
    with pytest.raises(InvalidArgument, match=error):
        asked(returning(said), b"1")


def test_a_value_that_is_too_large_is_said() -> None:
    with pytest.raises(PayloadTooLarge, match="signal 'n'"):
        asked(returning(connect.SignalWorkflow("c", "n", "x" * 1_000)), b"1")


@pytest.mark.parametrize(
    ("build", "error"),
    [
        (lambda: anything.Start("w", id=""), "Start: id"),
        (lambda: anything.Start("w", id="@Account@ada"), "Start: id"),
        (lambda: anything.Start(print, id="a"), "Start: workflow"),
        (lambda: anything.Start("w", id="a", reuse="maybe"), "Start: reuse"),
        (lambda: anything.SignalWorkflow("a", ""), "SignalWorkflow: name"),
        (lambda: anything.SignalWorkflow("@Account@ada", "put", 1), "ask it by SignalEntity"),
        (lambda: anything.SignalCorrelated("a=b", "c", "n"), "name: 'a=b' has an ="),
        (lambda: anything.SignalCorrelated("a", "", "n"), "SignalCorrelated: key"),
        (lambda: anything.SignalCorrelated("a", "b", "n", keep=-1), "SignalCorrelated: keep"),
        (lambda: anything.SignalEntity(Account.total, "ada"), "is a read"),
        (lambda: anything.SignalEntity("put", "ada"), "write Name.operation"),
        (lambda: anything.SignalEntity(Account.put, ""), "SignalEntity: key"),
        (lambda: anything.SignalEntity(Account.put, "ada"), "put"),
    ],
)
def test_an_action_that_cannot_be_is_refused_where_it_is_made(build: Any, error: str) -> None:
    with pytest.raises(InvalidArgument, match=error):
        build()


def seen(annotation: Any, value: bytes | None, **how: Any) -> Any:
    """Return the value that a function sees."""
    found: list[Any] = []

    def sees(record: Any) -> None:
        found.append(record.value)

    sees.__annotations__["record"] = annotation
    asked(Connection(sees, "orders", **how), value)
    return found[0]


@pytest.mark.parametrize(
    ("annotation", "value", "found"),
    [
        (connect.Record[Order], b'{"id": "a", "amount": 2}', Order("a", 2)),
        (connect.Record[Order | None], None, None),
        (connect.Record[Any], None, None),
        (connect.Record[Any], b'{"id": [1]}', {"id": [1]}),
        (connect.Record, b"1", 1),
        (Any, b"1", 1),
        (connect.Record[bytes], b"\xff", b"\xff"),
        (connect.Record[bytes], b"", b""),
    ],
)
def test_values(annotation: Any, value: bytes | None, found: Any) -> None:
    assert seen(annotation, value) == found


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (connect.Record[Order], b'{"id": 1}'),
        (connect.Record[Order], None),
        (connect.Record[Order], b"no JSON"),
        (connect.Record[Any], b""),
        (connect.Record[bytes], None),
    ],
)
def test_a_value_that_does_not_fit(annotation: Any, value: bytes | None) -> None:
    with pytest.raises(SchemaMismatch):
        seen(annotation, value)


SCHEMA = {
    "type": "record",
    "name": "Order",
    "fields": [{"name": "id", "type": "string"}, {"name": "amount", "type": "int"}],
}


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    path = tmp_path / "order.avsc"
    path.write_text(json.dumps(SCHEMA))
    return path


def avro(value: Any) -> bytes:
    body = BytesIO()
    fastavro.schemaless_writer(body, SCHEMA, value)
    return body.getvalue()


def test_avro_with_a_schema_file(schema: Path) -> None:
    plain = {"id": "a", "amount": 2}
    assert seen(connect.Record[Any], avro(plain), avro=connect.Avro(schema)) == plain
    assert seen(connect.Record[Order], avro(plain), avro=connect.Avro(schema)) == Order("a", 2)
    framed = b"\0\0\0\0\7" + avro(plain)
    confluents = connect.Avro(str(schema), header_bytes=5)
    assert seen(connect.Record[Order], framed, avro=confluents) == Order("a", 2)
    assert seen(connect.Record[Any], None, avro=confluents) is None
    for wrong in (framed, avro(plain) + b"x", b"", b"\x80"):
        with pytest.raises(SchemaMismatch, match="Avro schema"):
            seen(connect.Record[Any], wrong, avro=connect.Avro(schema))


def test_a_schema_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.avsc"
    with pytest.raises(InvalidArgument, match="no Avro schema that can be read"):
        connect.Avro(path)
    for text in ("{", '{"type": "dance"}'):
        path.write_text(text)
        with pytest.raises(InvalidArgument, match=r"^Avro: schema"):
            connect.Avro(path)
    path.write_text('"string"')
    with pytest.raises(InvalidArgument, match="header_bytes"):
        connect.Avro(path, -1)


async def waits(record: connect.Record[Any]) -> None: ...


def takes_none() -> None: ...


@pytest.mark.parametrize(
    ("build", "error"),
    [
        (lambda: anything.define("no topic")(print), "no Kafka topic"),
        (lambda: anything.define("orders", group="a b")(print), "group"),
        (lambda: anything.define("orders", begin="first")(print), "begin"),
        (lambda: anything.define("orders")(waits), "plain function"),
        (lambda: anything.define("orders")(takes_none), "one argument"),
        (lambda: anything.define("orders", avro="order.avsc")(print), "Avro"),
    ],
)
def test_a_connection_that_cannot_be_is_refused_where_it_is_defined(build: Any, error: str) -> None:
    with pytest.raises(InvalidArgument, match=error):
        build()


def test_a_worker_refuses_what_it_cannot_connect(tmp_path: Path) -> None:
    def wrong(record: int) -> None: ...

    def unreadable(record: connect.Record[Worker]) -> None: ...

    def fine(record: connect.Record[Any]) -> None: ...

    made = Connection(fine, "orders")
    for connections, error in (
        ([fine], r"put @connect.define\(topic\) on a function"),
        ([Connection(wrong, "orders")], "takes a connect.Record"),
        ([Connection(unreadable, "orders")], "Worker"),
        ([made, Connection(fine, "other", "orders")], "two have the group 'orders'"),
    ):
        with pytest.raises(ProcessorError, match=error):
            Worker("localhost:9092", connections=connections)
    with pytest.raises(InvalidArgument, match="has no topics that could be read"):
        Worker(f"embedded:{tmp_path}", connections=[made])


def test_an_environment_feeds_what_is_asked_for_in_order() -> None:
    @connect.define("orders")
    def orders(record: connect.Record[Order]) -> list[connect.Action]:
        order = record.value
        assert record.topic == "orders" and record.timestamp is not None
        if record.key == b"cart":
            item = (Cart.add, order.id, order.amount)
            return [connect.Start(Cart.run, "Ada", id="cart", signal=item)]
        return [connect.SignalEntity(Account.put, order.id, each) for each in (order.amount, 1)]

    async def main() -> None:
        async with Environment([Cart], entities=[Account]) as env:
            await env.feed(orders, Order("ada", 5), {"id": "bob", "amount": 2}, b'{"id": "ada"}')
            await env.feed(orders, connect.Record("orders", Order("apple", 2), b"cart"))
            ada, bob = [
                await env.entity(Account, name).call(Account.total) for name in ("ada", "bob")
            ]
            assert (ada, bob) == (7, 3)
            assert await env.handle("cart").result() == "Ada: apple, apple"
            with pytest.raises(SchemaMismatch, match="id"):
                await env.feed(orders, {"amount": 2})
            with pytest.raises(InvalidArgument, match="feed: "):
                await env.feed(anything, 1)

    asyncio.run(main())


@pytest.mark.parametrize("fails", [False, True])
def test_a_function_that_takes_long_is_told_of_but_not_for_each_record(
    fails: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = [0.0]
    monkeypatch.setattr("processor.connect.connection.monotonic", lambda: now_s[0])

    def asks_around(record: connect.Record[float]) -> None:
        now_s[0] += record.value
        if fails:
            raise ValueError("nobody knows")

    take = Connection(asks_around, "orders").taking(
        JsonPayloads(), partial(encoded, JsonPayloads(), 1)
    )
    for seconds in (1, 3, 4):
        with suppress(ValueError):
            take(raw(b"%d" % seconds))
    (told,) = (each.getMessage() for each in caplog.records)
    assert "asks_around took 3.0 s" in told and "orders" in told and "activity" in told
