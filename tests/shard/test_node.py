"""What a node does with its shards when they cannot be opened, or are given up meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from processor.config import Settings
from processor.errors import (
    LogTruncated,
    ReleaseTooOld,
    ShardUnavailable,
    StateDirectoryInUse,
    StoreCorrupt,
)
from processor.node import Node
from processor.node.life import Life
from processor.shard.ports import LogRecord, ShardPorts
from processor.store.keyvalue import Memory
from processor.store.tables import StateTables
from tests.core.broken import CountsErrors, ReadsNothing

PATIENCE_S = 60.0


class Part:
    """An inbox, outbox or tables that notes when it is closed."""

    def __init__(self, closed: list[str], name: str) -> None:
        self._closed, self._name = closed, name

    def close(self) -> None:
        self._closed.append(self._name)


class Factory:
    """Opens a shard when ``gates`` lets it, with what ``outcome`` says."""

    def __init__(self, outcome: Callable[[int], ShardPorts]) -> None:
        self.gates = {0: threading.Event(), 1: threading.Event()}
        self.opening = threading.Event()
        self._outcome = outcome

    def open(self, partition: int, wake: Callable[[], None]) -> ShardPorts:
        self.opening.set()
        assert self.gates[partition].wait(PATIENCE_S)
        return self._outcome(partition)

    def wipe(self, partition: int) -> None: ...

    def may_own(self, partition: int) -> bool:
        return True


class FixedClock:
    def now_ms(self) -> int:
        return 0


def node_of(factory: Factory) -> Node:
    runners: Any = None
    return Node(factory, runners, Settings(), "test", FixedClock())


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


def test_a_shard_given_up_while_it_is_opened_is_closed() -> None:
    """Else its state directory would be held until the process ends."""
    closed: list[str] = []

    def opened(partition: int) -> ShardPorts:
        inbox, outbox, tables = (Part(closed, name) for name in ("inbox", "outbox", "tables"))
        none: Any = None
        parts: Any = (inbox, outbox, tables)
        return ShardPorts(none, *parts, none, none, none, none)

    async def main() -> None:
        factory = Factory(opened)
        node = node_of(factory)
        node.assign(0)
        await eventually(factory.opening.is_set)
        await node.revoke(0)
        assert node.shards == {}
        factory.gates[0].set()
        await eventually(lambda: closed == ["inbox", "outbox", "tables"])
        await node.close()

    asyncio.run(main())


def test_a_stopped_shard_leaves_the_others_alone() -> None:
    def truncated(partition: int) -> ShardPorts:
        raise LogTruncated(f"shard {partition} lost records")

    async def main() -> None:
        factory = Factory(truncated)
        node = node_of(factory)
        stopped = asyncio.ensure_future(node.wait_stopped())
        for partition in (0, 1):
            node.assign(partition)
        factory.gates[0].set()
        await eventually(lambda: 0 in node.shards and node.shards[0].state == "stopped")
        await asyncio.sleep(0.05)
        assert not stopped.done(), "the other one is still to be taken over"
        factory.gates[1].set()
        with pytest.raises(LogTruncated, match="shard 1 lost records"):
            await asyncio.wait_for(stopped, PATIENCE_S)
        await node.revoke(0)
        assert list(node.shards) == [1]
        await node.close()

    asyncio.run(main())


def test_a_process_leaves_at_once_when_one_log_is_for_later_releases() -> None:
    """Else it would keep the other shards from processes that know the level of all."""

    def too_old(partition: int) -> ShardPorts:
        raise ReleaseTooOld(f"shard {partition} is at level 9")

    async def main() -> None:
        factory = Factory(too_old)
        node = node_of(factory)
        stopped = asyncio.ensure_future(node.wait_stopped())
        for partition in (0, 1):
            node.assign(partition)
        factory.gates[0].set()
        with pytest.raises(ReleaseTooOld, match="shard 0 is at level 9"):
            await asyncio.wait_for(stopped, PATIENCE_S)
        factory.gates[1].set()
        await node.close()

    asyncio.run(main())


class Broken(Factory):
    """Fails in ``open``, and in what is done about that as often as ``failures`` says."""

    def __init__(self, made: Callable[[], Exception], failures: int = 1) -> None:
        super().__init__(self._fails)
        self.gates[0].set()
        self.tries = 0
        self.ended = threading.Event()
        self._made, self._failures = made, failures

    def _fails(self, partition: int) -> ShardPorts:
        self.tries += 1
        if self.tries > 3:
            self.ended.wait(PATIENCE_S)
        raise self._made()

    def wipe(self, partition: int) -> None:
        self._fail()

    def may_own(self, partition: int) -> bool:
        self._fail()
        return True

    def _fail(self) -> None:
        self._failures -= 1
        if self._failures >= 0:
            raise OSError("the disk is full")


def try_again(factory: Broken, tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a shard that fails, until it was tried so often."""
    monkeypatch.setattr("processor.node.life._RETRY_FIRST_S", 0.01)

    async def main() -> None:
        node = node_of(factory)
        node.assign(0)
        # No error is on its way then: asyncio asks its class where a task is cancelled.
        await eventually(lambda: factory.tries >= tries)
        await node.close()
        factory.ended.set()

    asyncio.run(main())


@pytest.mark.parametrize(
    "made",
    [partial(StoreCorrupt, "wipe it"), ReadsNothing, partial(CountsErrors, None), OSError],
    ids=["wipes", "cannot be shown", "has no length", "asks whether it is ours"],
)
def test_a_shard_is_tried_again_whatever_fails_meanwhile(
    made: Callable[[], Exception],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    try_again(Broken(made, failures=2), 4, monkeypatch)
    assert "Logging error" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("made", "is_traced"),
    [
        (partial(OSError, "the disk is full"), False),
        (partial(StateDirectoryInUse, "it is held"), False),
        (partial(LookupError, "a bug"), True),
    ],
)
def test_a_traceback_is_for_what_does_not_say_itself_what_to_do(
    made: Callable[[], Exception],
    is_traced: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    try_again(Broken(made), 2, monkeypatch)
    assert f"shard 0 failed ({made()})" in caplog.text
    assert ("Traceback" in caplog.text) is is_traced


@pytest.mark.parametrize("end", [asyncio.CancelledError(), LookupError("nobody expects this")])
def test_a_shard_that_is_not_kept_any_more_is_heard_of(
    end: BaseException, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def ends(node: Node, life: Life) -> None:
        raise end

    monkeypatch.setattr(Node, "_keep", ends)

    async def main() -> None:
        node = node_of(Broken(OSError))
        node.assign(0)
        with pytest.raises(ShardUnavailable, match="shard 0 is not kept any more"):
            await asyncio.wait_for(node.wait_stopped(), PATIENCE_S)
        await node.close()

    asyncio.run(main())
    assert ("nobody expects this" in caplog.text) is isinstance(end, LookupError)


def test_a_shard_that_is_given_up_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        factory = Factory(lambda partition: ShardPorts(*[None] * 8))  # type: ignore[arg-type]
        node = node_of(factory)
        stopped = asyncio.ensure_future(node.wait_stopped())
        node.assign(0)
        await eventually(factory.opening.is_set)
        await node.revoke(0)
        await asyncio.sleep(0)
        assert not stopped.done()
        stopped.cancel()
        factory.gates[0].set()
        await node.close()

    asyncio.run(main())


class ParkedLog:
    """A log that takes acknowledgements in when a pass asks for them, and wakes nobody."""

    def __init__(self) -> None:
        self._appended = 0
        self._arrived: list[int] = []

    def append(self, key: bytes, value: bytes | None) -> None:
        self._appended += 1

    def poll(self) -> None:
        self._arrived, self._appended = [7] * self._appended, 0

    def acknowledged(self) -> list[int]:
        arrived, self._arrived = self._arrived, []
        return arrived

    def bounds(self) -> tuple[int, int]:
        return 0, 0

    def read_along(self, first: int, end: int) -> Iterator[LogRecord | None]:
        return self.read(first, end)

    def read(self, first: int, end: int) -> Iterator[LogRecord]:
        yield from ()


class OnePass(Factory):
    """Ports over a ``ParkedLog``; the takeover ends where it asks what was published."""

    def __init__(self) -> None:
        self.log = ParkedLog()
        self.claimed = threading.Event()
        super().__init__(self._ports)
        self.gates[0].set()

    def _ports(self, partition: int) -> ShardPorts:
        inbox, tables = Part([], "inbox"), StateTables(Memory(), "events-0")
        outbox = SimpleNamespace(published=self._published, close=lambda: None)
        clock = FixedClock()
        parts: Any = (self.log, inbox, outbox, tables, None, clock, None, bool)
        return ShardPorts(*parts)

    def _published(self) -> int:
        self.claimed.set()
        raise LogTruncated("far enough")

    def begin_pass(self) -> None:
        self.log.poll()

    def end_pass(self) -> bool:
        return False

    def wait(self, timeout_s: float) -> bool:
        return False

    def watch(self) -> None: ...


def test_a_claim_is_looked_for_though_nobody_wakes_the_node() -> None:
    async def main() -> None:
        factory = OnePass()
        node = node_of(factory)
        node.assign(0)
        await eventually(factory.claimed.is_set)
        await node.close()

    asyncio.run(main())
