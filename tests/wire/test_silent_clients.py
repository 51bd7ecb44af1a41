"""Connections whose client never returns from a call: each wait ends, is told, and is tried again.

The clients are stand-ins: librdkafka's own do so now and then when a broker comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest
from confluent_kafka import KafkaException, TopicPartition

from processor.config import Settings
from processor.core.records.effects import DeadLetter
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.connecting import outlet, source
from processor.kafka.connecting.letters import Buried
from processor.kafka.connecting.outlet import Command, NotSent, Outlet
from processor.kafka.connecting.source import Source

SETTINGS = KafkaSettings("127.0.0.1:1", "shop")
PLACES = [TopicPartition("numbers", 0, 101)]
LETTER = Buried(DeadLetter("numbers", 0, 100, b"a", b"no JSON", "no JSON"), [])


@pytest.fixture
def never() -> Iterator[Callable[..., None]]:
    """A call that does not return before the test is over."""
    over = Event()
    yield lambda *_, **__: over.wait()  # type: ignore[misc]
    over.set()


class Client:
    """A producer and a consumer, all of whose calls do nothing unless ``calls`` has them."""

    def __init__(self, **calls: Callable[..., Any]) -> None:
        self.done: list[tuple[str, Any]] = []
        self.calls = calls

    def __len__(self) -> int:
        return 5

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            self.done.append((name, given))
            return self.calls[name](*given, **named) if name in self.calls else 0

        return call

    def named(self) -> list[str]:
        return [name for name, _ in self.done]


def an_outlet(monkeypatch: pytest.MonkeyPatch, *clients: Client) -> Outlet:
    """Return an outlet whose clients are these, as it makes them."""
    left = iter(clients)
    monkeypatch.setattr(outlet, "made", lambda *_: next(left))
    return Outlet(SETTINGS, "numbers", lambda: False)


def a_source(monkeypatch: pytest.MonkeyPatch, client: Client) -> Source:
    monkeypatch.setattr(source, "made", lambda *_: client)
    monkeypatch.setattr(source, "_CALL_S", 0.1)
    settings = Settings(session_timeout_s=6)
    ids = {"numbers": "id", "retries": "id"}
    admin: Any = None
    it = Source(SETTINGS, settings, "numbers", "numbers", "retries", ids, "earliest", admin)
    it._committing._limit_s = 0.1
    it.done["numbers", 0] = 101
    return it


def test_a_coordinator_that_does_not_take_positions_is_asked_again_by_another_producer(
    monkeypatch: pytest.MonkeyPatch, never: Callable[..., None]
) -> None:
    """The call waited for ever, without a word, although it has a time-out."""
    monkeypatch.setattr(outlet, "_POSITIONS_S", 0.1)
    silent, next_one = Client(send_offsets_to_transaction=never), Client()
    it = an_outlet(monkeypatch, Client(), silent, next_one, Client())
    with pytest.raises(NotSent, match=r"coordinator does not answer.*sent again until it is taken"):
        it.bury([LETTER], PLACES, None)
    assert "commit_transaction" not in silent.named()
    it.renew()
    it.bury([LETTER], PLACES, None)
    wrote = [name for name in next_one.named() if name != "purge"]
    assert wrote == [
        "init_transactions",
        "begin_transaction",
        "produce",
        "send_offsets_to_transaction",
        "commit_transaction",
    ]


def test_commands_that_nobody_acknowledges_are_sent_again_by_another_producer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outlet, "_SILENT_S", 0.1)
    it = an_outlet(monkeypatch, Client(flush=lambda _: 5), Client())
    with pytest.raises(NotSent, match=r"shop\.commands has acknowledged nothing for 0\.1 s"):
        it.send([Command(b"a", b"1")])
    it.renew()
    it.send([Command(b"a", b"1")])


def test_commands_that_are_acknowledged_slowly_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outlet, "_SILENT_S", 0.2)
    pause = Event()
    left = [5]

    def flush(_: float) -> int:
        pause.wait(0.1)
        left[0] -= 1
        return left[0]

    an_outlet(monkeypatch, Client(flush=flush)).send([Command(b"a", b"1")])


def test_a_commit_that_is_never_answered_ends_the_client(
    monkeypatch: pytest.MonkeyPatch, never: Callable[..., None]
) -> None:
    it = a_source(monkeypatch, Client(commit=never))
    with pytest.raises(KafkaException, match=r"its commit was not answered for 0\.1 s"):
        it.commit()


def test_a_client_that_does_not_go_back_to_what_is_committed_is_given_up(
    monkeypatch: pytest.MonkeyPatch, never: Callable[..., None]
) -> None:
    it = a_source(monkeypatch, Client(seek=never, committed=lambda *_: PLACES))
    it._begun["numbers", 0] = 0
    with pytest.raises(KafkaException, match=r"did not go back within 0\.1 s"):
        it.rewind()


def test_a_client_that_does_not_leave_its_group_is_left_to_itself(
    monkeypatch: pytest.MonkeyPatch, never: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """Its connection went on with nothing for as long as that took."""
    a_source(monkeypatch, Client(close=never)).close()
    assert "numbers: its client does not leave the group within 0.1 s" in caplog.text


def test_a_partition_that_is_lost_while_nothing_may_be_sent_is_not_paused_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client keeps the pause of a partition that is given up: nothing was read any more."""
    client = Client()
    it = a_source(monkeypatch, client)
    it.hold(True)
    consumer: Any = client
    it._on_lost(consumer, PLACES)
    it.hold(False)
    of_pauses = [name for name in client.named() if name in ("pause", "resume")]
    assert of_pauses == ["pause", "resume", "resume"]
    before = client.named().index("incremental_unassign")
    assert ("resume", (PLACES,)) in client.done[:before]
