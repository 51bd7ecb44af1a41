"""Messages to other namespaces: they are published, each once, and those who wait hear the end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from processor import NamespaceNotFound, WorkflowNotFound, workflow
from processor.codec.payloads import JsonPayloads
from processor.codec.records import decode_as
from processor.config import Settings
from processor.core.data.address import Address, Caller
from processor.core.data.cause import Origin
from processor.core.inputs import ClientCommand
from processor.core.nouns.awaited import GiveUpCall
from processor.core.nouns.call import AnswerCall, CallGivenUp
from processor.core.nouns.child import EndChild
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.run import WorkflowCompleted
from processor.core.nouns.start import StartChild, StartRun
from processor.core.nouns.stop import CancelRun, TerminateRun
from processor.core.questions import AwaitResult
from processor.core.records.answers import Accepted, Refused
from processor.core.records.effects import DeadLetter, Message, RunResult
from processor.injection.interceptors import Injected
from processor.registry import Registry
from processor.shard.loop import Shard
from processor.shard.messages.border import Abroad, Border
from processor.store.keyvalue import Memory
from processor.workflow._engine.runners import WorkflowRunners

from .running import Ports, few_in_memory, run, shard

OTHER_LOG = b"another log's id"


@workflow.define
async def charge(amount: int) -> str:
    if amount < 0:
        await workflow.wait_for_event("never", int)
    return f"charged {amount}"


@workflow.define
async def order(amount: int) -> str:
    try:
        return await workflow.call_child(charge, amount, id="charge-1", namespace="billing")
    except NamespaceNotFound as error:
        return f"no: {error}"


@workflow.define
async def spreads(amount: int) -> str:
    there = workflow.handle("ledger", namespace="billing")
    there.signal("one", 1)
    workflow.signal("next-door", "two", 2)
    there.signal("three", 3)
    await workflow.start_child(charge, amount, id="charge-2", namespace="billing")
    return "started"


@workflow.define
async def at_home(amount: int) -> str:
    return await workflow.call_child(charge, amount, id="charge-3", namespace="shop")


@workflow.define
async def asks(name: str) -> str:
    there = workflow.handle("ledger", namespace="billing")
    try:
        async with asyncio.timeout(60):
            return str(await there.result())
    except TimeoutError:
        return "too late"
    except WorkflowNotFound as error:
        return f"no: {error}"


@workflow.define
async def gives_up(verb: str) -> None:
    there = workflow.handle("ledger", namespace="billing")
    asks = there.signal("paid", 5).awaited() if verb == "signal" else there.value("x")
    waits = asyncio.create_task(asks)
    await workflow.wait_for_event("enough", int)
    waits.cancel()
    await workflow.wait_for_event("never", int)


def owner(ports: Ports, namespace: str = "shop", store: Memory | None = None, **how: Any) -> Shard:
    registry = Registry(WORKFLOWS, [], Injected(JsonPayloads()))
    settings, ports.keeps_messages = Settings(), True
    border = Border(namespace, **how)
    runners = WorkflowRunners(registry, settings)
    return shard(ports, store, runners, settings=settings, border=border)


WORKFLOWS = [charge, order, spreads, at_home, asks, gives_up]


def start(id: str, name: str, arguments: bytes = b"[5]") -> ClientCommand:
    return ClientCommand(id, StartRun(name, arguments))


def abroad(ports: Ports) -> list[Abroad]:
    return [record for _, record in ports.outputs if isinstance(record, Abroad)]


def results(ports: Ports) -> dict[str, bytes | None]:
    found = [record for _, record in ports.outputs if isinstance(record, RunResult)]
    return {each.workflow_id: each.result for each in found}


def exchange(here: Ports, there: Ports) -> None:
    """Carry what each namespace has published for the other one."""
    for sender, target in ((here, there), (there, here)):
        target.read_commands(*(each.command for each in abroad(sender)))
        sender.outputs = [each for each in sender.outputs if not isinstance(each[1], Abroad)]


def test_a_child_in_another_namespace_is_published_and_its_end_comes_back() -> None:
    here, there = Ports(), Ports()
    there.id = OTHER_LOG
    shop, billing = owner(here), owner(there, "billing")
    here.read_commands(start("order-1", "order"))
    run(shop)
    assert not here.sent, "nothing of it goes by the shard's own producer"
    [record] = abroad(here)
    assert (record.topic, record.key, record.namespace) == (
        "billing.commands",
        b"charge-1",
        "billing",
    )
    assert (record.workflow_id, record.run_id) == ("order-1", here.turns()[0].run_id)
    command = record.command
    assert command.caller is not None and command.caller.address == Address("shop", "order-1")
    assert command.cause == Origin(here.id, 0, here.partition.end - 1, 0)
    exchange(here, there)
    run(billing)
    assert results(there) == {"charge-1": b'"charged 5"'}
    [answer] = abroad(there)
    assert (answer.topic, answer.key) == ("shop.commands", b"order-1")
    exchange(here, there)
    run(shop)
    assert results(here) == {"order-1": b'"charged 5"'}


def test_each_target_has_one_path_and_the_order_of_the_log() -> None:
    here = Ports()
    shop = owner(here)
    here.keeps_messages = False
    here.read_commands(start("s", "spreads"))
    run(shop)
    sent = [record.command for record in abroad(here)]
    assert [type(each.body) for each in sent] == [RaiseEvent, RaiseEvent, StartChild]
    assert [each.cause.index for each in sent if isinstance(each.cause, Origin)] == [0, 2, 3]
    [(message, token)] = here.sent
    assert message == Message("next-door", RaiseEvent("two", b"2")) and token is not None
    assert shop._deliveries.outstanding == 1, "only what goes by the producer is waited for"


def test_the_namespace_that_names_itself_is_no_other_one() -> None:
    here = Ports()
    shop = owner(here)
    here.read_commands(start("o", "at_home"))
    run(shop)
    assert not abroad(here)
    assert results(here)["o"] == b'"charged 5"'


@pytest.mark.parametrize("published", [False, True], ids=["not published", "published"])
def test_a_message_is_owed_until_it_is_published_whatever_was_delivered(published: bool) -> None:
    here, store = Ports(), Memory()
    shop = owner(here, store=store)
    here.read_commands(start("order-1", "order"), start("later", "at_home"))
    run(shop)
    before = abroad(here)
    shop.flush()
    if published:
        here.published_to = before[0].command.cause.offset + 1  # type: ignore[union-attr]
    shop.close()
    here.outputs.clear()
    run(owner(here, store=store))
    assert abroad(here) == ([] if published else before)


def test_an_answer_to_another_namespace_is_owed_until_it_is_published() -> None:
    there, store = Ports(), Memory()
    billing = owner(there, "billing", store=store)
    caller = Caller(Address("shop", "order-1"), "run", 0)
    asked = ClientCommand("nobody", CancelRun("stop"), Origin(OTHER_LOG, 0, 7, 0), caller=caller)
    there.read_commands(asked)
    run(billing)
    [answer] = abroad(there)
    assert isinstance(answer.command.body, AnswerCall)
    assert isinstance(answer.command.body.outcome, Refused)
    billing.close()
    there.outputs.clear()
    run(owner(there, "billing", store=store))
    assert abroad(there) == [answer]


def test_what_a_namespace_sends_twice_counts_once() -> None:
    there = Ports()
    billing = owner(there, "billing")
    caller = Caller(Address("shop", "order-1"), "run", 0)
    body = StartChild("charge", b"[5]")
    asked = ClientCommand("charge-1", body, Origin(OTHER_LOG, 3, 7, 0), caller=caller)
    there.read_commands(asked, asked)
    run(billing)
    assert len(abroad(there)) == 1
    assert (
        len([e for t in there.turns() for e in t.events if isinstance(e, WorkflowCompleted)]) == 1
    )


@pytest.mark.parametrize("how", ["terminate", "cancel"])
def test_the_end_of_a_parent_reaches_its_child_elsewhere(how: str) -> None:
    here, there = Ports(), Ports()
    there.id = OTHER_LOG
    shop, billing = owner(here), owner(there, "billing")
    here.read_commands(start("order-1", "order", b"[-5]"))
    run(shop)
    exchange(here, there)
    run(billing)
    stop = TerminateRun("over") if how == "terminate" else CancelRun("over")
    here.read_commands(ClientCommand("order-1", stop))
    run(shop)
    [ends] = abroad(here)
    assert isinstance(ends.command.body, EndChild)
    exchange(here, there)
    run(billing)
    [ended] = [record for _, record in there.outputs if isinstance(record, RunResult)]
    assert ended.status == ("terminated" if how == "terminate" else "cancelled")


def test_whoever_waits_no_more_is_forgotten_in_the_other_namespace() -> None:
    here, there = Ports(), Ports()
    there.id = OTHER_LOG
    shop, billing = owner(here), owner(there, "billing")
    there.read_commands(start("ledger", "charge", b"[-1]"))
    run(billing)
    here.read_commands(start("a", "asks", b'["ledger"]'))
    run(shop)
    exchange(here, there)
    run(billing)
    here.now += 61_000
    run(shop)
    [gives_up] = abroad(here)
    body = gives_up.command.body
    assert isinstance(body, GiveUpCall) and body.caller.address == Address("shop", "a")
    exchange(here, there)
    run(billing)
    events = [type(event).__name__ for turn in there.turns() for event in turn.events]
    assert events[-2:] == ["AnswerAwaited", "AnswerNotAwaited"]
    assert results(here)["a"] == b'"too late"'


# --- where no other namespace can be reached --------------------------------------------------


def test_where_there_is_one_namespace_the_caller_is_refused_at_once() -> None:
    here, store = Ports(), Memory()
    shop = owner(here, store=store, is_open=False)
    here.read_commands(start("order-1", "order"))
    run(shop)
    told = results(here)["order-1"]
    assert told is not None and told.startswith(b'"no: nothing was sent to')
    assert not abroad(here) and not here.sent
    turns = len(here.turns())
    shop.close()
    again = owner(here, store=store, is_open=False)
    run(again)
    assert len(here.turns()) == turns, "the refusal counts once, though it is owed again"


def test_where_there_is_one_namespace_what_nobody_waits_for_is_a_dead_letter() -> None:
    here = Ports()
    shop = owner(here, is_open=False)
    here.read_commands(start("s", "spreads"))
    run(shop)
    effects = [effect for effect, _ in here.sent]
    letters = [each for each in effects if isinstance(each, DeadLetter) and "ledger" in each.reason]
    assert [each.topic for each in letters] == ["billing.commands", "billing.commands"]
    assert [each.key for each in letters] == [b"ledger", b"ledger"]
    assert [(each.partition, each.offset) for each in letters] == [(-1, -1)] * 2, "it has no place"
    bodies = [decode_as(ClientCommand, each.value or b"").body for each in letters]
    assert bodies == [RaiseEvent("one", b"1"), RaiseEvent("three", b"3")]
    assert all("'ledger' of namespace 'billing'" in each.reason for each in letters)


# --- where messages of a shard to itself do not fit into memory -------------------------------


@pytest.mark.parametrize("dies", [False, True], ids=["lives", "dies"])
def test_what_crosses_leaves_once_though_its_record_is_read_again(
    dies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = few_in_memory(monkeypatch, KEPT_MAX=1)
    here, store = Ports(), Memory()
    shop = owner(here, store=store)
    here.read_commands(*(start(f"s-{n}", "spreads") for n in range(4)))
    if dies:
        run(shop, 2)
        here.acks.clear()
        shop.close()
        here.outputs.clear()
        here.sent.clear()
        shop = owner(here, store=store)
    run(shop)
    assert left
    sent = [record.command for record in abroad(here)]
    assert [type(each.body) for each in sent] == [RaiseEvent, RaiseEvent, StartChild] * 4
    assert len({each.cause for each in sent}) == 12
    assert not results(here), "nobody is told that the other namespace cannot be reached"
    letters = [effect for effect, _ in here.sent if isinstance(effect, DeadLetter)]
    assert len(letters) == 4 and all("'next-door'" in each.reason for each in letters)


def test_who_calls_another_namespace_is_refused_though_that_stayed_in_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = few_in_memory(monkeypatch, KEPT_MAX=1)
    here = Ports()
    shop = owner(here, is_open=False)
    here.read_commands(*(start(f"order-{n}", "order") for n in range(4)))
    run(shop)
    assert left
    found = results(here)
    assert sorted(found) == [f"order-{n}" for n in range(4)], "no child began here"
    assert all((told or b"").startswith(b'"no: nothing was sent to') for told in found.values())


# --- what a record says -----------------------------------------------------------------------

CALLER = Caller(Address(None, "w"), "run", 4)
FROM_SHOP = replace(CALLER, address=Address("shop", "w"))


@pytest.mark.parametrize(
    ("message", "body", "caller", "run_id"),
    [
        (Message("x", CancelRun("r"), None, "b"), CancelRun("r"), None, ""),
        (Message("x", CancelRun("r"), CALLER, "b"), CancelRun("r"), FROM_SHOP, "run"),
        (Message("x", AwaitResult(), CALLER, "b"), AwaitResult(), FROM_SHOP, "run"),
        (
            Message("x", EndChild(CALLER, "cancel", "r"), None, "b"),
            EndChild(FROM_SHOP, "cancel", "r"),
            None,
            "run",
        ),
        (Message("x", GiveUpCall(CALLER), None, "b"), GiveUpCall(FROM_SHOP), None, "run"),
        (
            Message("x", AnswerCall("r", 1, Accepted("y")), None, "b"),
            AnswerCall("r", 1, Accepted("y")),
            None,
            "",
        ),
    ],
)
def test_a_record_names_the_namespace_of_the_caller(
    message: Message, body: Any, caller: Caller | None, run_id: str
) -> None:
    origin = Origin(OTHER_LOG, 1, 2, 3)
    record = Border("shop").record(message, origin)
    assert record.command == ClientCommand("x", body, origin, caller=caller)
    assert (record.topic, record.run_id) == ("b.commands", run_id)
    assert record.workflow_id == ("w" if run_id else ""), "where nobody sends it, nobody is named"


@pytest.mark.parametrize("verb", ["signal", "value"])
def test_nothing_is_kept_of_a_call_that_is_given_up_and_a_refused_message_is_a_letter(
    verb: str,
) -> None:
    """Nothing is lost with a question."""
    here = Ports()
    shop = owner(here)
    here.read_commands(start("order-1", "gives_up", f'["{verb}"]'.encode()))
    run(shop)
    command = abroad(here)[0].command
    assert command.caller is not None
    here.read_commands(ClientCommand("order-1", RaiseEvent("enough", b"1")))
    run(shop)
    assert CallGivenUp(command.caller.call) in here.turns()[-1].events
    told = AnswerCall(command.caller.run_id, command.caller.call, Refused("WorkflowNotFound", "no"))
    here.read_commands(ClientCommand("order-1", told))
    run(shop)
    letters = [each for each, _ in here.sent if isinstance(each, DeadLetter)]
    assert len(letters) == (verb == "signal")
    for letter in letters:
        assert decode_as(ClientCommand, letter.value or b"").body == command.body
        assert "waits no more" in letter.reason and letter.key == b"ledger"
