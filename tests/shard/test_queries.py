"""Queries at one shard: who answers, from what, and when the answer leaves."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest

from processor import workflow
from processor.codec.payloads import JsonPayloads
from processor.config import Settings
from processor.core.data.address import ReplyTo
from processor.core.data.cause import ClientRequest
from processor.core.inputs import ClientCommand
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.start import StartRun
from processor.core.questions import QueryRun
from processor.core.records.answers import Accepted, QueryAnswered, Refused, ReplyBody
from processor.injection.interceptors import Injected
from processor.registry import Registry
from processor.shard.turns import querying
from processor.workflow._engine.runners import WorkflowRunners

from .running import Ports, run, shard


@workflow.define
class Hears:
    """Ends when it is told "end"."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_until(lambda: "end" in self.heard)

    @workflow.signal
    def hear(self, what: str) -> None:
        self.heard.append(what)

    @workflow.query
    def all(self) -> list[str]:
        return self.heard

    @workflow.query
    def spoils(self) -> None:
        self.heard.append("spoilt")
        workflow.set_status("a query changes nothing")


class Asking:
    """A client of one shard, whose replies a test reads."""

    def __init__(self) -> None:
        self.ports = Ports()
        self._numbers = count(1)
        registry = Registry([Hears], [], Injected(JsonPayloads()))
        self._shard = shard(self.ports, runners=WorkflowRunners(registry, Settings()))

    def tell(self, *bodies: tuple[str, Any]) -> list[ReplyBody]:
        """Let requests for workflow ids arrive together; return what was replied by now."""
        for workflow_id, body in bodies:
            number = next(self._numbers)
            to = ReplyTo(0, "c", number)
            command = ClientCommand(workflow_id, body, ClientRequest("c", number), reply_to=to)
            self.ports.read_commands(command)
        return self.go_on()

    def go_on(self) -> list[ReplyBody]:
        run(self._shard)
        replies, self.ports.replies = self.ports.replies, []
        return [reply.body for reply in replies]


START = StartRun("Hears")
ALL = QueryRun("all")


def hear(what: str) -> RaiseEvent:
    return RaiseEvent("hear", json.dumps(what).encode())


def answered(reply: ReplyBody) -> list[str]:
    assert isinstance(reply, QueryAnswered), reply
    told: list[str] = json.loads(reply.result or b"null")
    return told


def test_an_answer_waits_for_what_it_tells_of() -> None:
    asking = Asking()
    asking.tell(("a", START), ("a", hear("one")))
    asking.ports.held = True
    assert asking.tell(("a", hear("two")), ("a", ALL)) == []
    asking.ports.held = False
    _, told = asking.go_on()
    assert answered(told) == ["one", "two"]


@pytest.mark.parametrize("by", ["run_id", "first_run_id"])
def test_the_run_that_is_meant_answers_and_not_the_live_one(by: str) -> None:
    asking = Asking()
    [begun] = asking.tell(("a", START))
    assert isinstance(begun, Accepted)
    asking.tell(("a", hear("one")), ("a", hear("end")))
    asking.tell(("a", START), ("a", hear("two")))
    meant, live = asking.tell(("a", QueryRun("all", **{by: begun.run_id})), ("a", ALL))
    assert answered(meant) == ["one", "end"]
    assert isinstance(meant, QueryAnswered) and meant.run_id == begun.run_id
    assert answered(live) == ["two"]


def test_the_code_of_a_run_that_goes_on_is_not_kept() -> None:
    """A run is open when it is asked, though it was not when the question came."""
    asking = Asking()
    asking.tell(("a", START), ("a", hear("end")))
    *_, told, _ = asking.tell(("b", START), ("a", ALL), ("a", START))
    assert answered(told) == []
    asking.tell(("a", hear("one")), ("a", hear("end")))
    [told] = asking.tell(("a", ALL))
    assert answered(told) == ["one", "end"]


def test_code_of_a_closed_run_that_a_query_has_spoilt_answers_no_other() -> None:
    asking = Asking()
    asking.tell(("a", START), ("a", hear("end")))
    for _ in range(2):
        refused, told = asking.tell(("a", QueryRun("spoils")), ("a", ALL))
        assert isinstance(refused, Refused | QueryAnswered)
        assert answered(told) == ["end"]


def test_a_long_history_is_not_replayed_for_a_query(monkeypatch: pytest.MonkeyPatch) -> None:
    """But live code answers, however long its history is."""
    monkeypatch.setattr(querying, "_EVENTS_MAX", 5)
    asking = Asking()
    asking.tell(("a", START), *(("a", hear(f"{number}")) for number in range(8)))
    [told] = asking.tell(("a", ALL))
    assert len(answered(told)) == 8
    asking.tell(("a", hear("end")))
    [told] = asking.tell(("a", ALL))
    assert isinstance(told, Refused) and told.error == "QueryFailed"
    assert "is completed and has more than 5 events: it is not replayed for a query" in told.message
