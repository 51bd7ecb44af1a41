"""The answer to a call that only a later release can read: buried, and taken after its replay."""

from __future__ import annotations

from dataclasses import replace

from processor import workflow
from processor.codec.payloads import JsonPayloads
from processor.codec.records import Envelope, encode
from processor.config import Settings
from processor.core.data.cause import NamedRequest, Origin
from processor.core.inputs import ClientCommand
from processor.core.nouns.call import AnswerCall
from processor.core.nouns.run import WorkflowCompleted
from processor.core.nouns.start import StartRun
from processor.core.records.answers import Closed
from processor.core.records.effects import DeadLetter, Message
from processor.injection.interceptors import Injected
from processor.kafka.topics.dead_letters import Kept, _identified
from processor.registry import Registry
from processor.shard.ports import InboxRecord
from processor.workflow._engine.runners import WorkflowRunners

from .running import Ports, run, shard


@workflow.define
async def asks() -> int:
    return await workflow.handle("other").result() + 1


def test_an_answer_of_a_later_release_is_taken_when_its_letter_is_replayed() -> None:
    ports, settings = Ports(), Settings()
    registry = Registry([asks], [], Injected(JsonPayloads()))
    running = shard(ports, None, WorkflowRunners(registry, settings), settings=settings)
    ports.read_commands(ClientCommand("p", StartRun("asks")))
    run(running)
    ((sent, token),) = ports.sent
    assert isinstance(sent, Message) and sent.caller is not None
    body = AnswerCall(sent.caller.run_id, sent.caller.call, Closed("other-run", "completed", b"6"))
    answer = ClientCommand("p", body, Origin(b"another log here", 1, 5, 0))
    letter = DeadLetter("commands", 0, 1, b"p", encode(answer), "a later release wrote it")
    envelope = Envelope("p", answer.cause, False, None, None)
    ports.arrived.append(InboxRecord("commands", 1, letter, envelope))
    run(running)
    ports.tokens.append(token)
    ports.sent.remove((sent, token))
    assert [effect for effect, _ in ports.sent] == [letter]
    ports.deliver_all()
    assert len(ports.turns()) == 1, "the run waits"
    again = _identified(Kept(7, 0, "default.commands", letter, False, ""))
    named = replace(answer, cause=NamedRequest("dead-letters/0/1"))
    assert again == encode(named)
    ports.arrived.append(InboxRecord("commands", 2, named))
    run(running)
    assert ports.turns()[-1].events[-1] == WorkflowCompleted(b"7")
    running.close()
