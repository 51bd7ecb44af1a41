"""Messages between the instances of one shard: no topic, each once, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from processor import workflow
from processor.codec.payloads import JsonPayloads
from processor.config import Settings
from processor.core.data.cause import Origin
from processor.core.inputs import ClientCommand
from processor.core.nouns.call import MessageSent
from processor.core.nouns.external import EventReceived, RaiseEvent
from processor.core.nouns.run import Summary, WorkflowCompleted, WorkflowStarted
from processor.core.nouns.start import StartRun
from processor.core.nouns.stop import TerminateRun
from processor.core.records.effects import DeadLetter, Message
from processor.core.records.turn import Turn
from processor.core.replay import Instance
from processor.errors import ProcessorError
from processor.injection.interceptors import Injected
from processor.registry import Registry
from processor.shard.loop import Shard
from processor.shard.turns.cache import Entry
from processor.shard.turns.instances import Instances
from processor.store.keyvalue import Memory
from processor.workflow._engine.runners import WorkflowRunners

from .running import Ports, few_in_memory, run, shard


@workflow.define
async def child(number: int) -> int:
    return number


@workflow.define
async def parent(width: int) -> int:
    return sum(await asyncio.gather(*(workflow.call_child(child, n) for n in range(width))))


@workflow.define
async def pester(to: str) -> None:
    while True:
        workflow.signal(to, "again", 1)
        await workflow.wait_for_event("again", int)


@workflow.define
async def multiply(to: str) -> None:
    while True:
        workflow.signal(to, "again", 1)
        workflow.signal(to, "again", 1)
        await workflow.wait_for_event("again", int)


@workflow.define
async def large(size: int) -> str:
    return "x" * size


@workflow.define
async def asks_for(size: int) -> str:
    try:
        return f"{len(await workflow.call_child(large, size)):,}"
    except ProcessorError as error:
        return str(error)


def owner(ports: Ports, settings: Settings | None = None, store: Memory | None = None) -> Shard:
    settings = settings or Settings()
    workflows = [child, parent, pester, multiply, passes, tells_both, large, asks_for]
    registry = Registry(workflows, [], Injected(JsonPayloads()))
    ports.keeps_messages = True
    return shard(ports, store, WorkflowRunners(registry, settings), settings=settings)


def start(id: str, name: str, arguments: bytes) -> ClientCommand:
    return ClientCommand(id, StartRun(name, arguments))


def results(ports: Ports) -> dict[str, bytes | None]:
    """Return what each run has returned."""
    turns = [each for each in ports.records() if isinstance(each, Turn)]
    ends = ((turn.workflow_id, turn.events[-1]) for turn in turns)
    return {id: end.result for id, end in ends if isinstance(end, WorkflowCompleted)}


def begun(ports: Ports) -> list[str]:
    turns = [each for each in ports.records() if isinstance(each, Turn)]
    return [turn.workflow_id for turn in turns if isinstance(turn.events[0], WorkflowStarted)]


def test_children_on_the_shard_of_their_parent_need_no_topic() -> None:
    ports = Ports()
    running = owner(ports)
    ports.read_commands(start("p", "parent", b"[3]"))
    run(running)
    assert results(ports)["p"] == b"3"
    assert len(begun(ports)) == 4
    assert not ports.sent and running.idle
    running.close()


@pytest.mark.parametrize("most", [1, 2, 7])
def test_messages_do_not_wait_for_deliveries_that_wait_for_them(most: int) -> None:
    ports = Ports()
    running = owner(ports, Settings(turns_in_flight_max=most))
    ports.read_commands(*(start(f"p-{n}", "parent", b"[9]") for n in range(5)))
    run(running, 200)
    assert [results(ports)[f"p-{n}"] for n in range(5)] == [b"36"] * 5
    assert running.idle
    running.close()


@pytest.mark.parametrize("steps", range(8))
def test_what_was_not_taken_when_the_owner_died_is_handed_over_by_the_next(steps: int) -> None:
    ports = Ports()
    running = owner(ports)
    ports.read_commands(start("p", "parent", b"[5]"))
    run(running, steps)
    ports.acks.clear()
    running.close()
    following = owner(ports)
    if not steps:
        ports.read_again(start("p", "parent", b"[5]"))
    run(following)
    assert results(ports)["p"] == b"10"
    assert len(begun(ports)) == len(set(begun(ports))) == 6
    following.close()


@pytest.mark.slow
def test_instances_that_send_each_other_messages_for_ever_let_others_go_on() -> None:
    ports = Ports()
    running = owner(ports)
    pairs = [(f"a-{n}", f"b-{n}") for n in range(300)]
    for one, other in pairs:
        ports.read_commands(start(one, "pester", b'["%s"]' % other.encode()))
        ports.read_commands(start(other, "pester", b'["%s"]' % one.encode()))
    run(running, 10)
    assert len(running._intake.handover.waiting) > 256, "more than one step takes in"
    ports.read_commands(start("p", "parent", b"[0]"))
    run(running, 2)
    assert results(ports)["p"] == b"0"
    running.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "bound", [{"turns_in_flight_max": 50}, {"bytes_in_flight_max": 20_000}], ids=repr
)
def test_messages_that_grow_more_for_ever_let_others_go_on(bound: dict[str, int]) -> None:
    """Two instances answer each signal by two: what waits only grows, whatever is bounded."""
    ports, settings = Ports(), replace(Settings(turns_in_flight_max=300), **bound)
    running = owner(ports, settings)
    for one, other in (("a", "b"), ("b", "a")):
        ports.read_commands(start(one, "multiply", b'["%s"]' % other.encode()))
    run(running, 30)
    assert len(running._intake.handover.waiting) > 500, "what waits fills the bound"
    ports.read_commands(start("p", "parent", b"[0]"), start("a", "parent", b"[0]"))
    ports.read_commands(*(ClientCommand(id, TerminateRun("enough")) for id in "ab"))
    for _ in range(80):
        running.step()
        ports.deliver_all()
    assert results(ports)["p"] == b"0"
    assert not running._intake.handover.waiting, "an operator has ended both"
    running.close()


@workflow.define
async def passes(to: str, left: int) -> int:
    """Send two signals for each one that comes, until so many have come; return what came."""
    came = []
    while left:
        for number in range(2):
            workflow.signal(to, "again", 2 * left + number)
        left -= 1
        came.append(await workflow.wait_for_event("again", int))
    return len(came)


def payloads(ports: Ports, id: str, kind: type[EventReceived | MessageSent]) -> list[int]:
    events = [each for turn in ports.turns() if turn.workflow_id == id for each in turn.events]
    return [json.loads(each.payload or b"") for each in events if isinstance(each, kind)]


def run_out(ports: Ports, running: Shard) -> None:
    for _ in range(300):
        running.step()
        ports.deliver_all()
    assert running.idle and not running._intake.handover.overflow


@pytest.mark.slow
@pytest.mark.parametrize("bound", [{"KEPT_MAX": 20}, {"BYTES_MAX": 2_000}], ids=repr)
def test_messages_that_grow_more_for_ever_stay_in_the_log(
    bound: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    few_in_memory(monkeypatch, **bound)
    ports = Ports()
    running = owner(ports, Settings(turns_in_flight_max=50))
    for one, other in (("a", "b"), ("b", "a")):
        ports.read_commands(start(one, "multiply", b'["%s"]' % other.encode()))
    kept, tracked = 0, 0
    for _ in range(60):
        running.step()
        kept = max(kept, len(running._intake.handover.waiting))
        deliveries = running._deliveries
        tracked = max(tracked, len(deliveries._order), running._intake.handover.records)
    sent = sum(isinstance(event, MessageSent) for turn in ports.turns() for event in turn.events)
    assert sent > 2_000
    assert kept < 100 > tracked, (kept, tracked)
    assert running._intake.handover.overflow, "the others are in the log"
    ports.read_commands(*(ClientCommand(id, TerminateRun("enough")) for id in "ab"))
    run_out(ports, running)
    running.close()


@pytest.mark.parametrize("kept", [1, 2, 7, 1_000])
@pytest.mark.parametrize("dies", [None, 3, 10])
def test_what_stayed_in_the_log_arrives_in_its_order_and_once(
    kept: int, dies: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_in_memory(monkeypatch, KEPT_MAX=kept)
    ports = Ports()
    running = owner(ports, Settings(turns_in_flight_max=5))
    pairs = [("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")]
    asked = [start(one, "passes", b'["%s", 40]' % other.encode()) for one, other in pairs]
    ports.read_commands(*asked, start("p", "parent", b"[9]"))
    if dies is not None:
        run(running, dies)
        ports.acks.clear()
        running.close()
        running = owner(ports, Settings(turns_in_flight_max=5))
        ports.read_again(*asked, start("p", "parent", b"[9]"))
    run_out(ports, running)
    for one, other in pairs:
        told, said = payloads(ports, one, EventReceived), payloads(ports, other, MessageSent)
        assert told == said[: len(told)], f"{one} hears what {other} says, in its order"
        assert len(told) >= 40
    assert [results(ports)[each] for each in "abcdp"] == [b"40"] * 4 + [b"36"]
    running.close()


class TwoShards(Ports):
    """Ports of a shard that has not all instances."""

    def is_own(self, workflow_id: str) -> bool:
        return workflow_id != "elsewhere"


@workflow.define
async def tells_both(number: int) -> None:
    workflow.signal("elsewhere", "again", number)
    workflow.signal("here", "again", number)
    workflow.signal("elsewhere", "again", -number)


def test_what_stayed_in_the_log_goes_to_the_shard_of_its_instance_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = few_in_memory(monkeypatch, KEPT_MAX=1)
    ports = TwoShards()
    running = owner(ports)
    ports.read_commands(start("here", "passes", b'["nobody", 6]'))
    ports.read_commands(*(start(f"t-{n}", "tells_both", b"[%d]" % n) for n in range(1, 7)))
    sent: list[Message] = []
    for _ in range(60):
        running.step()
        effects = [effect for effect, _ in ports.sent if getattr(effect, "key", b"") != b"nobody"]
        assert not [each for each in effects if isinstance(each, DeadLetter)], "nothing is lost"
        sent += [each for each in effects if isinstance(each, Message)]
        ports.deliver_all()
    assert left and running.idle
    assert {each.workflow_id for each in sent} == {"elsewhere"}
    numbers = [json.loads(each.body.payload) for each in sent if isinstance(each.body, RaiseEvent)]
    assert numbers == [number * sign for number in range(1, 7) for sign in (1, -1)]
    assert payloads(ports, "here", EventReceived) == [*range(1, 7)]
    running.close()


def test_nothing_is_called_delivered_that_stayed_in_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few_in_memory(monkeypatch, KEPT_MAX=3)
    ports = Ports()
    running = owner(ports, Settings(turns_in_flight_max=20))
    ports.read_commands(*(start(one, "passes", b'["x", 9]') for one in "abcdefghijkl"))
    ports.held = True
    running.step()
    ports.held = False
    monkeypatch.setattr(running._intake, "step", lambda: False)  # it takes nothing in
    running.step()
    assert running._intake.handover.overflow
    floor, first = running._deliveries.floor, running._intake.handover.waiting[0].token
    assert floor <= first < running._flight._expected
    monkeypatch.undo()
    run_out(ports, running)
    assert running._deliveries.floor == running._flight._expected
    running.close()


@pytest.mark.parametrize("arrived_to", range(20))
def test_messages_that_stayed_in_the_log_are_waited_for_without_standing_still(
    arrived_to: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = few_in_memory(monkeypatch, KEPT_MAX=1)
    ports = Ports()
    ports.arrived_to = arrived_to
    running = owner(ports)
    for n in range(1, 13):  # the record of each third one has messages
        ports.read_commands(start(f"t-{n}", "child" if n % 3 else "tells_both", b"[%d]" % n))
    handover = running._intake.handover
    for _ in range(40):
        running.step()
        ports.deliver_all()
        if handover.overflow and not handover.waiting:
            assert running._deliveries.floor <= handover.overflow.first
            assert running.next_timer_ms() <= ports.now + 1, "it is looked at again, and soon"
            ports.arrived, arrived = [], ports.arrived
            assert not running.idle
            ports.arrived = arrived
    assert bool(handover.overflow) == (arrived_to <= left[-1])
    ports.arrived_to = 1 << 62
    for _ in range(40):
        running.step()
        ports.deliver_all()
    assert running.idle and not handover.overflow
    running.close()


@pytest.mark.parametrize(("size", "told"), [(1_800_000, "1,800,000"), (1_950_000, "1,900,000")])
def test_an_answer_that_no_topic_would_take_is_told_to_be_too_large(size: int, told: str) -> None:
    ports = Ports()
    running = owner(ports, Settings(payload_bytes_max=5_000_000))
    ports.read_commands(start("p", "asks_for", b"[%d]" % size))
    run(running, 20)
    assert told in (results(ports)["p"] or b"").decode()
    running.close()


@pytest.mark.slow
def test_what_has_begun_goes_on_before_what_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the code of a parent is in memory when its child has ended, though little is."""
    ports = Ports()
    running = owner(ports, Settings(cached_runs_max=800))
    replayed: list[str] = []
    read = Instances._replayed

    def noted(self: Instances, latest: Summary, entry: Entry) -> Instance:
        replayed.append(latest.workflow_id)
        return read(self, latest, entry)

    monkeypatch.setattr(Instances, "_replayed", noted)
    ports.read_commands(*(start(f"p-{n}", "parent", b"[1]") for n in range(2_000)))
    run(running, 60)
    assert len(begun(ports)) == 4_000 and not replayed
    running.close()


def test_messages_that_wait_hold_up_other_inputs_by_the_bytes_of_their_records() -> None:
    ports, settings = Ports(), Settings()
    running = owner(ports, settings)
    room, passing = running._intake.room, running._intake.handover
    message, most = Message("nobody", RaiseEvent("n", b"1")), settings.bytes_in_flight_max
    offset = 0  # of the claim: no turn has it
    for index in range(2):
        origin = Origin(ports.id, 0, offset, index)
        passing.send(message, offset, origin, most)
    assert passing.bytes == most, "a record counts once"
    assert room.inputs() == 0 < room.messages()
    ports.read_commands(start("p", "parent", b"[0]"))
    run(running)
    assert passing.bytes == 0 and results(ports)["p"] == b"0"
    running.close()


def test_a_command_that_says_the_shard_sent_it_hides_nothing_that_it_sends() -> None:
    ports = Ports()
    running = owner(ports)
    forged = Origin(ports.id, 0, 1 << 61, 0)
    ports.read_commands(ClientCommand("nobody", RaiseEvent("n", b"1"), forged))
    run(running)
    ports.read_commands(start("p", "parent", b"[3]"))
    run(running)
    assert results(ports)["p"] == b"3"
    ((letter, _),) = ports.sent
    assert isinstance(letter, DeadLetter) and "what a shard sends itself" in letter.reason
    running.close()


class FullSlots(Ports):
    """The slots of activities are full until ``slots`` says how many are free."""

    slots = 1_000

    def room(self) -> int:
        return self.slots


def test_messages_wait_for_slots_of_activities_and_are_looked_at_again() -> None:
    ports = FullSlots()
    running = owner(ports)
    ports.read_commands(start("p", "parent", b"[3]"))
    running.step()
    ports.slots = 0
    run(running)
    assert len(running._intake.handover.waiting) == 3
    assert ports.now < running._intake.room.look_again_ms <= ports.now + 200
    ports.slots = 1_000
    assert running.has_work(ports.now)
    run(running)
    assert results(ports)["p"] == b"3"
    running.close()
