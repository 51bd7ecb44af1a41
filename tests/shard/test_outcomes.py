"""Outcomes of updates and values at one shard: told once the log has them."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

from processor import workflow
from processor.codec.payloads import JsonPayloads
from processor.config import Settings
from processor.core.data.address import ReplyTo
from processor.core.data.cause import ClientRequest
from processor.core.inputs import ClientCommand
from processor.core.nouns.start import StartRun
from processor.core.nouns.stop import TerminateRun
from processor.core.nouns.update import AwaitUpdate, UpdateRun
from processor.core.nouns.value import AwaitValue
from processor.core.records.answers import Accepted, Refused, ReplyBody, UpdateEnded, ValueIs
from processor.injection.interceptors import Injected
from processor.registry import Registry
from processor.workflow._engine.runners import WorkflowRunners

from .running import Ports, run, shard


@workflow.define
class Counts:
    def __init__(self) -> None:
        self.total = 0

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_until(lambda: False)

    @workflow.update(unfinished="abandon")
    async def never(self) -> None:
        await workflow.wait_until(lambda: False)

    @workflow.update
    def add(self, number: int) -> int:
        self.total += number
        workflow.set_value("total", self.total)
        return self.total


class Asking:
    def __init__(self, settings: Settings | None = None) -> None:
        self.ports = Ports()
        self._numbers = count(1)
        registry = Registry([Counts], [], Injected(JsonPayloads()))
        runners = WorkflowRunners(registry, Settings())
        self._shard = shard(self.ports, runners=runners, settings=settings)

    def tell(self, *bodies: Any) -> list[ReplyBody]:
        for body in bodies:
            number = next(self._numbers)
            to = ReplyTo(0, "c", number)
            command = ClientCommand("w", body, ClientRequest("c", number), reply_to=to)
            self.ports.read_commands(command)
        return self.go_on()

    def go_on(self) -> list[ReplyBody]:
        run(self._shard)
        replies, self.ports.replies = self.ports.replies, []
        return [reply.body for reply in replies]


def add(id: str, number: int) -> UpdateRun:
    return UpdateRun(id, "add", json.dumps([number]).encode(), outcome_within_ms=1_000)


def test_nothing_is_told_of_what_the_log_does_not_have() -> None:
    asking = Asking()
    (started,) = asking.tell(StartRun("Counts"))
    assert isinstance(started, Accepted)
    asking.ports.held = True
    told = asking.tell(add("u1", 2), AwaitUpdate("u1"), AwaitValue("total"), add("u1", 2))
    assert told == []
    asking.ports.held = False
    told = asking.go_on()
    assert [type(each) for each in told] == [UpdateEnded, UpdateEnded, ValueIs, Accepted]


def test_who_waits_for_an_update_of_a_run_that_ends_is_not_counted_any_more() -> None:
    asking = Asking(Settings(waiters_max=2))
    for number in range(4):
        asking.tell(StartRun("Counts", reuse="allow"))
        never = [UpdateRun(f"u{number}{n}", "never", outcome_within_ms=9_000) for n in range(2)]
        assert asking.tell(*never) == [], "both wait"
        *refused, ended = asking.tell(TerminateRun("enough"))
        assert [each.error for each in refused if isinstance(each, Refused)] == [
            "UpdateUnfinished",
            "UpdateUnfinished",
        ]
        assert isinstance(ended, Accepted)


def test_who_waits_for_a_value_of_a_chain_that_is_replaced_is_told_that_it_has_ended() -> None:
    asking = Asking()
    asking.tell(StartRun("Counts"))
    assert asking.tell(AwaitValue("total")) == []
    told = asking.tell(StartRun("Counts", conflict="terminate"))
    (refused,) = [each for each in told if isinstance(each, Refused)]
    assert refused.error == "ValueNotSet" and "is terminated" in refused.message
    told = asking.tell(add("u1", 2))
    assert [type(each) for each in told] == [UpdateEnded], "nobody waits for the value"
