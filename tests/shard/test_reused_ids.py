"""A request id that another workflow is started under: who asks is told; a copy counts once."""

from __future__ import annotations

import pytest

from processor import workflow
from processor.codec.payloads import JsonPayloads
from processor.core.data.address import ReplyTo
from processor.core.data.cause import NamedRequest
from processor.core.inputs import ClientCommand
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.run import WorkflowStarted
from processor.core.nouns.start import StartRun
from processor.core.records.answers import Accepted, Refused
from processor.core.records.effects import DeadLetter
from processor.injection.interceptors import Injected
from processor.registry import Registry
from processor.workflow._engine.runners import WorkflowRunners

from .running import Ports, run, shard

ID = NamedRequest("web-4711")


@workflow.define
async def waits() -> None:
    await workflow.wait_for_event("stop")


@workflow.define
async def ends() -> None:
    pass


def start(id: str, name: str, reply_to: ReplyTo | None = None) -> ClientCommand:
    return ClientCommand(id, StartRun(name), ID, reply_to=reply_to)


@pytest.mark.parametrize("first", ["waits", "ends"])
@pytest.mark.parametrize("steps", [0, 10], ids=["at once", "later"])
@pytest.mark.parametrize("asks", [None, ReplyTo(0, "client")], ids=["letter", "reply"])
def test_a_start_under_an_id_that_was_used_for_another_workflow_is_refused(
    first: str, steps: int, asks: ReplyTo | None
) -> None:
    ports = Ports()
    other = "ends" if first == "waits" else "waits"
    running = shard(
        ports, runners=WorkflowRunners(Registry([waits, ends], [], Injected(JsonPayloads())))
    )
    for command in (
        start("a", first),
        start("a", first),
        start("a", other, asks),
        ClientCommand("a", RaiseEvent("stop", None), ID),
        start("a", first, ReplyTo(0, "copy")),
    ):
        ports.read_commands(command)
        run(running, steps)
    run(running, 10)
    told = [each.body for each in ports.replies]
    letters = [each.reason for each, _ in ports.sent if isinstance(each, DeadLetter)]
    (copy,) = (each for each in told if isinstance(each, Accepted))
    begun = [each for turn in ports.turns() for each in turn.events]
    starts = [each for each in begun if isinstance(each, WorkflowStarted)]
    assert len(starts) == 1 and copy.run_id == ports.turns()[0].run_id
    why = [f"{each.error}: {each.message}" for each in told if isinstance(each, Refused)]
    (to_a,) = letters if asks is None else why
    assert f"of 'a' was used for '{first}' before, and now for '{other}'" in to_a
    assert to_a.startswith("KeyReused: the request id 'web-4711' of this start")
    running.close()
