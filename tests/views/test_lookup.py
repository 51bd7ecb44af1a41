"""What the look-up keeps of each workflow id, without Kafka and without Faust's table."""

from __future__ import annotations

import asyncio
import json
import random
from functools import partial
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from aiokafka.partitioner import DefaultPartitioner
from yarl import URL

from processor.cli.lookup import address, admitted, is_local
from processor.core.nouns.run import RunParked, WorkflowCompleted
from processor.core.records.turn import Claim
from processor.errors import ProcessorError, StoreCorrupt
from processor.kafka.clients.connection import partition_of
from processor.policy import Status
from processor.views.fold import VERSION
from processor.views.place import LogEntry
from processor.views.stream import running
from processor.views.stream.lookup.app import WebAddress
from processor.views.stream.lookup.entries import (
    Change,
    LatestRun,
    Position,
    anew_because,
    changes,
    entry_of,
    forgotten,
    position_key,
    position_of,
)
from processor.views.stream.lookup.pages import add_pages
from processor.views.stream.lookup.routing import ROUTED, OwnersRouter
from processor.views.stream.lookup.table import LookupStore
from tests.views.runs import attempt, purged, started, turn

LOG = "log-1"
PARTITION = 3
DONE = WorkflowCompleted(b"1")
CLAIM = Claim("worker", "nonce", 1, 0)


class Table:
    """Holds what is written to a changelog, in the order of that."""

    def __init__(self) -> None:
        self.held: dict[bytes, bytes] = {}

    @property
    def at(self) -> Position:
        return position_of(self.held.get(position_key(PARTITION)), LOG) or Position(LOG)

    def written(self, entries: list[LogEntry]) -> list[Change]:
        """Return what a process would write that is where the table is."""
        return changes(self.at, PARTITION, entries, self.held.get)[1]

    def apply(self, written: list[Change]) -> list[bytes]:
        for key, value in written:
            if value is None:
                self.held.pop(key, None)
            else:
                self.held[key] = value
        return [key for key, _ in written]

    def __getitem__(self, id: str) -> LatestRun | None:
        return entry_of(self.held.get(id.encode()))


def log(*records: Any) -> list[LogEntry]:
    """Return records with their offsets, behind a claim at 0."""
    return [LogEntry(offset, each) for offset, each in enumerate((CLAIM, *records))]


def table_of(entries: list[LogEntry]) -> Table:
    table = Table()
    table.apply(table.written(entries))
    return table


def test_a_workflow_id_has_its_latest_run() -> None:
    table = table_of(log(turn("a/1", 0, started(customer="ada"), at=5)))
    entry = table["a"]
    assert entry is not None
    assert (entry.position, entry.row.run_id, entry.row.status) == (2, "a/1", Status.RUNNING)
    assert entry.row.attributes is None  # nothing that users gave
    first = [turn("a/1", 0, started()), turn("a/1", 1, DONE, at=7)]
    again = [*first, turn("a/2", 0, started("other"), at=9)]
    entry = table_of(log(*again))["a"]
    assert entry is not None
    assert (entry.row.run_id, entry.row.workflow) == ("a/2", "other")
    entry = table_of(log(*again, purged("a/1"), attempt("a/1", 1, 1)))["a"]
    assert entry is not None, "what is said of an earlier run changes nothing"
    assert (entry.row.run_id, entry.row.problem, entry.position) == ("a/2", None, 4)
    assert table_of(log(*first, purged("a/1")))["a"] is None


def test_what_does_not_count_is_left_out() -> None:
    ghost = turn("a/1", 1, DONE, epoch=0)
    entries = [LogEntry(0, CLAIM), LogEntry(1, turn("a/1", 0, started())), LogEntry(2, CLAIM)]
    entry = table_of([*entries, LogEntry(3, ghost)])["a"]
    assert entry is not None
    assert entry.row.status is Status.RUNNING


def test_a_batch_writes_what_it_changes_and_its_position_last() -> None:
    table = Table()
    first = log(turn("a/1", 0, started()), turn("b/1", 0, started()), turn("a/1", 1, DONE))
    assert table.apply(table.written(first)) == [b"a", b"b", position_key(PARTITION)]
    assert table.at == Position(LOG, 4, 0)
    assert table.written(first) == []
    assert table.written([*first, LogEntry(4, None)])[0][0] == position_key(PARTITION)
    late = [LogEntry(5, turn("c/1", 0, started())), LogEntry(6, turn("c/1", 1, DONE))]
    late.append(LogEntry(7, purged("c/1")))
    assert table.apply(table.written(late)) == [position_key(PARTITION)], "it was never there"


def test_a_position_is_of_one_log_and_one_fold() -> None:
    table = table_of(log(turn("a/1", 0, started())))
    value = table.held[position_key(PARTITION)]
    assert position_of(value, LOG) == Position(LOG, 2, 0)
    for told in (None, b"", b"\xc1", b"[]", forgotten()):
        assert position_of(told, LOG) is None
    assert position_of(value, "another log") is None
    assert "another log" in anew_because(value, "another log")
    assert "views rebuild --lookup" in anew_because(forgotten(), LOG)
    assert "how far" in anew_because(None, LOG)
    later = msgspec.msgpack.encode(Position(LOG, 2, 0, VERSION + 1))
    assert position_of(later, LOG) is None
    assert f"format {VERSION + 1}, and this one has {VERSION}" in anew_because(later, LOG)
    with pytest.raises(UnicodeDecodeError):
        position_key(PARTITION).decode()  # so that it is no workflow id


@pytest.mark.parametrize("seed", range(20))
def test_two_processes_that_write_leave_what_one_leaves(seed: int) -> None:
    """The one of before writes once more, behind the other: entries say how far they are."""
    chance = random.Random(seed)
    records: list[Any] = []
    runs: dict[str, int] = {}
    for _ in range(60):
        id = chance.choice("abc")
        run, events = (
            f"{id}/{runs.get(id, 0)}",
            sum(r.run_id == f"{id}/{runs.get(id, 0)}" for r in records),
        )
        if events == 0:
            records.append(turn(run, 0, started()))
        elif chance.random() < 0.3:
            records.append(turn(run, events, DONE))
            if chance.random() < 0.5:
                records.append(purged(run))
            runs[id] = runs.get(id, 0) + 1
        else:
            records.append(turn(run, events, RunParked("bug", "ValueError: 5", "", "")))
    entries = log(*records)
    whole = table_of(entries)
    begin, late, end = sorted(chance.sample(range(1, len(entries)), 3))
    table = table_of(entries[:begin])
    of_the_one_before = table.written(entries[begin:late])
    table.apply(table.written(entries[begin:end]))
    table.apply(of_the_one_before)
    assert table.at.position == entries[late - 1].offset + 1
    table.apply(table.written(entries[late:]))
    assert table.held == whole.held


@pytest.mark.parametrize("partitions", [1, 3, 8, 50])
def test_faust_and_processor_have_one_partitioner(partitions: int) -> None:
    theirs, all_of_them = DefaultPartitioner(), list(range(partitions))
    ids = ["", "a", "order-1", "größe-7", "注文/1", "🧾", "@Account@ada", "e\u0301"]
    for id in (*ids, *(f"order-{number}" for number in range(500))):
        assert theirs(id.encode(), all_of_them, all_of_them) == partition_of(id, partitions)


def test_where_it_listens() -> None:
    assert address("127.0.0.1:6066") == ("127.0.0.1", 6066)
    assert address("[::1]:7") == ("::1", 7)
    assert address("shop-1.internal:80") == ("shop-1.internal", 80)
    for wrong in ("6066", "localhost", "a:b", ":6066", "a:99999", "http://a:80", "me@a:80", ""):
        with pytest.raises(Exception, match="give HOST:PORT"):
            address(wrong)
    for everywhere in ("0.0.0.0:6066", "[::]:6066"):
        with pytest.raises(Exception, match="the one address by which the other processes"):
            address(everywhere)
    assert [is_local(each) for each in ("localhost", "127.0.0.2", "::1", "10.0.0.1", "shop")] == [
        *(True, True, True, False, False)
    ]


def test_whose_tokens_may_look_up(tmp_path: Any) -> None:
    path = tmp_path / "auth.toml"
    token = sha256(b"ada-s token").hexdigest()
    path.write_text(f'[[tokens]]\nname = "ada"\nsha256 = "{token}"\nroles = ["viewer"]\n')
    admits = admitted(path, "shop")
    assert admits("bearer ada-s token")
    assert not any(map(admits, (None, "", "Bearer", "Bearer adas token", "Basic ada-s token")))
    path.write_text('[proxy]\ntrusted = ["10.0.0.1"]\nuser_header = "x-user"\n')
    with pytest.raises(Exception, match=r"knows \[\[tokens\]\] only"):
        admitted(path, "shop")


class OneOwner(OwnersRouter):
    """All partitions are at one process."""

    def __init__(self, owner: str, session: aiohttp.ClientSession) -> None:
        at = SimpleNamespace(canonical_url=URL("http://127.0.0.1:1"))
        self.app = SimpleNamespace(partitions=4, conf=at, http_client=session)
        self.owner = URL(owner)

    def _owner(self, partition: int) -> URL:
        return self.owner


@pytest.mark.parametrize(
    ("part", "id"), [("%2E", "."), ("%2E%2E", ".."), ("a%2Fb", "a/b"), ("%C3%BC", "ü"), ("a", "a")]
)
def test_a_request_is_passed_on_with_its_id(part: str, id: str) -> None:
    async def main() -> None:
        async def told(request: web.Request) -> web.Response:
            assert ROUTED in request.headers
            return web.json_response(request.match_info["id"])

        app = web.Application()
        app.router.add_get("/instances/{id}", told)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            owner = f"http://127.0.0.1:{runner.addresses[0][1]}"
            request: Any = make_mocked_request("GET", f"/instances/{part}")
            answers: Any = SimpleNamespace(text=lambda text, **_: text)
            async with aiohttp.ClientSession() as session:
                passed = OneOwner(owner, session)
                found: Any = await passed.route_req("instances", id, answers, request)
            assert json.loads(found) == id
        finally:
            await runner.cleanup()

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("host", ["evil", "127.0.0.1@evil", "", "\x80", "localhost."])
def test_only_the_hosts_of_the_look_up_are_answered(host: str) -> None:
    pages: dict[str, Any] = {}
    kept: Any = SimpleNamespace(
        where=WebAddress("127.0.0.1", 6066),
        instances=None,
        numbers=list,
        page=lambda path, name: partial(pages.setdefault, path),
        table_route=lambda table, match_info: lambda handler: handler,
    )
    view = SimpleNamespace(json=lambda body, status=200, headers=None: status)
    add_pages(kept, None)

    async def asks(host: str) -> Any:
        return await pages["/lag"](view, make_mocked_request("GET", "/lag", {"host": host}))

    assert asyncio.run(asks("127.0.0.1:6066")) == 200
    assert asyncio.run(asks(host)) == 421


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        ("IO error: No space left on device", OSError),
        ("Corruption: block checksum mismatch", StoreCorrupt),
        ("IO error: While lock file: /a/LOCK: Resource temporarily unavailable", None),
    ],
)
def test_a_disk_that_fails_ends_the_look_up(
    said: str, ends: type[Exception] | None, tmp_path: Any
) -> None:
    async def main() -> None:
        failed = asyncio.get_running_loop().create_future()
        kept: Any = SimpleNamespace(failed=failed, conf=SimpleNamespace(tabledir=tmp_path))
        store: Any = LookupStore.__new__(LookupStore)
        store.app = kept
        store.rocksdb_options = SimpleNamespace(open=fails)
        store.url, store.table_name = URL("rocksdb://"), "instances"
        store._dbs, store.read_only = {}, False
        with pytest.raises(Exception, match=said):
            store.value(0, b"a")
        assert failed.done() == (ends is not None)
        if ends is not None:
            told = r"cannot be used \(IO error: No space .*may be del" if ends is OSError else said
            with pytest.raises(ends, match=told):
                await failed

    def fails(*_: Any, **__: Any) -> None:
        raise Exception(said)  # as RocksDB's binding does

    asyncio.run(main())


def test_a_disk_that_was_full_while_the_table_recovers_ends_the_look_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Faust's start ends when the table is recovered, which it tries again and again."""
    monkeypatch.setattr(running, "_STOP_S", 0.2)

    async def never() -> None:
        await asyncio.Event().wait()

    async def at_once() -> None:
        pass

    def made(stop: Any) -> Any:
        failed = asyncio.get_running_loop().create_future()
        rest = {"crashed": False, "close": lambda: None, "lag": dict}
        return SimpleNamespace(failed=failed, start=never, stop=stop, **rest)

    async def main() -> None:
        stopped = asyncio.Event()
        for stop, kind in ((at_once, OSError), (never, ProcessorError)):
            app = made(stop)
            app.failed.set_exception(OSError("the disk is full"))
            with pytest.raises(kind, match="the disk is full"):
                await running.run_until(app, stopped, "look-up of shop", lambda: None)
        stopped.set()
        await running.run_until(made(at_once), stopped, "look-up of shop", lambda: None)

    asyncio.run(asyncio.wait_for(main(), 60))


def test_what_has_failed_writes_no_more() -> None:
    """Faust writes once more as it stops; that would fail as well, and it would not stop."""

    async def main() -> None:
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(OSError("the disk is full"))
        store: Any = LookupStore.__new__(LookupStore)
        store.app = SimpleNamespace(failed=failed)
        store.apply_changelog_batch([object()])
        assert str(failed.exception()) == "the disk is full"

    asyncio.run(main())
