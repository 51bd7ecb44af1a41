"""A log that does not answer slows intake down; memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from examples.orders import order_processing
from processor.codec.payloads import JsonPayloads
from processor.config import Settings
from processor.core.data.address import ReplyTo
from processor.core.data.options import ActivityOptions
from processor.core.inputs import ActivityReport, ClientCommand
from processor.core.nouns.start import StartRun
from processor.core.nouns.stop import TerminateRun
from processor.core.questions import DescribeRun
from processor.core.records.answers import Accepted, HeartbeatSeen, Refused
from processor.core.records.effects import ActivityTask
from processor.embedded.disk import Disk, DiskLog
from processor.embedded.ports import MemoryInbox, MemoryOutbox
from processor.injection.interceptors import Injected
from processor.registry import Registry
from processor.shard.dedup import Requests
from processor.shard.loop import Shard
from processor.shard.outbox import Deliveries
from processor.shard.ports import Checkpoint, ClaimRow, ShardPorts
from processor.shard.recovery.takeover import Taken
from processor.store.keyvalue import Memory
from processor.store.tables import StateTables
from processor.workflow._engine.runners import WorkflowRunners
from tests.orders import ACTIVITIES

from .running import ORDER, Ports
from .running import run as run_shard
from .running import shard as running_shard

ORDERS = 500


class NoActivities:
    """Everything is to be queued, and nothing ever runs."""

    def __init__(self) -> None:
        self.slots = 1_000
        self.reply_to: ReplyTo | None = None

    def place(self, name: str, options: ActivityOptions, taken: int) -> bool:
        return False

    def reserve(self, count: int) -> None: ...

    def release(self, count: int) -> None: ...

    def room(self) -> int:
        return self.slots

    def start(self, task: ActivityTask, report: Callable[[ActivityReport], None]) -> None: ...

    def cancel(self, run_id: str, id: int, waits: bool = False) -> None: ...

    def enqueue(
        self, task: ActivityTask, report: Callable[[ActivityReport], None], again: bool = False
    ) -> None: ...

    def heed(self, seen: HeartbeatSeen) -> bool:
        return False


class FixedClock:
    def now_ms(self) -> int:
        return 1_700_000_000_000


def shard_with(
    settings: Settings, activities: NoActivities | None = None
) -> tuple[Shard, Disk, MemoryInbox]:
    disk = Disk(Memory())
    inbox = MemoryInbox(lambda: None)
    activities = activities or NoActivities()
    outbox = MemoryOutbox(disk, inbox, activities, lambda reply: None)
    tables = StateTables(Memory(), "test")
    clock, log = FixedClock(), DiskLog(disk)
    entropy: Callable[[], bytes] = partial(bytes, 16)
    ports = ShardPorts(log, inbox, outbox, tables, activities, clock, entropy, bool)
    runners = WorkflowRunners(
        Registry([order_processing], ACTIVITIES, Injected(JsonPayloads())), settings
    )
    taken = Taken(-1, ClaimRow(-1, b""), Checkpoint(), Requests(), [], [], [], 0, 0, 0)
    return Shard(0, ports, runners, settings, taken, lambda: None), disk, inbox


def submit_orders(inbox: MemoryInbox) -> None:
    for number in range(ORDERS):
        start = StartRun("order_processing", b'[{"id": "A", "amount": 10.0}]')
        inbox.submit(ClientCommand(f"order-{number}", start))


def appended(disk: Disk) -> int:
    return sum(family == "log" for family, _, _ in disk._pending)


@pytest.mark.parametrize(
    ("settings", "at_most"),
    [
        (Settings(turns_in_flight_max=50), 50),
        (Settings(bytes_in_flight_max=20_000), 140),
    ],
    ids=["turns", "bytes"],
)
def test_intake_waits_for_the_log(settings: Settings, at_most: int) -> None:
    shard, disk, inbox = shard_with(settings)
    submit_orders(inbox)
    for _ in range(20):
        shard.step()
    assert 0 < appended(disk) <= at_most
    for _ in range(200):
        disk.commit()
        shard.step()
    assert sum(1 for _ in shard._ports.tables.runs("")) == ORDERS, (
        "and goes on when the log answers"
    )
    shard.close()


def test_commands_wait_for_slots_of_activities_and_are_looked_at_again() -> None:
    activities = NoActivities()
    shard, disk, inbox = shard_with(Settings(), activities)
    submit_orders(inbox)
    activities.slots = 5
    assert shard.step()
    taken = appended(disk)
    assert 0 < taken < ORDERS
    activities.slots = 0
    assert not shard.step(), "nothing more can be done at once"
    assert appended(disk) == taken
    now_ms = FixedClock().now_ms()
    assert shard.has_work(now_ms) and now_ms < shard.next_timer_ms() <= now_ms + 200
    activities.slots = 1_000
    while shard.step():
        pass
    assert appended(disk) == ORDERS
    shard.close()


class Queued(Ports):
    """Its activities go to a queue; what is sent stays on its way."""

    def place(self, name: str, options: ActivityOptions, taken: int) -> bool:
        return False


def test_tasks_whose_queue_does_not_exist_hold_up_no_other_input() -> None:
    ports, most = Queued(), Settings().turns_in_flight_max
    shard = running_shard(ports)
    count = most + 600
    starts = [ClientCommand(f"o-{n}", StartRun("order_processing", ORDER)) for n in range(count)]
    ports.read_commands(*starts)
    run_shard(shard, 40)
    assert ports.arrived, "so many turns may have something on its way"
    ports.stuck = 1_000
    run_shard(shard)
    assert not ports.arrived and len(ports.sent) == count
    ports.deliver_all()
    run_shard(shard)
    assert shard._deliveries.outstanding == 0
    shard.close()


def test_what_is_on_its_way_to_brokers_holds_inputs_up_by_its_bytes() -> None:
    ports = Queued()
    shard = running_shard(ports)
    ports.unsent_bytes = Settings().bytes_in_flight_max
    ports.read_commands(ClientCommand("o-1", StartRun("order_processing", ORDER)))
    run_shard(shard)
    assert ports.arrived and not ports.turns()
    ports.unsent_bytes -= 1
    run_shard(shard)
    assert not ports.arrived and ports.turns()
    shard.close()


def test_answers_that_wait_for_the_log_are_bounded() -> None:
    shard, disk, inbox = shard_with(Settings(turns_in_flight_max=50))
    start = StartRun("order_processing", b'[{"id": "A", "amount": 10.0}]')
    inbox.submit(ClientCommand("order-0", start))
    for number in range(ORDERS):
        inbox.submit(ClientCommand("order-0", DescribeRun(), reply_to=ReplyTo(0, "c", number)))
    for _ in range(20):
        shard.step()
    assert inbox._records and shard._flight.answers <= 50 + 16
    disk.commit()
    while shard.step():
        pass
    assert not inbox._records and shard._flight.answers == 0, "and it goes on"
    shard.close()


def test_what_is_delivered_behind_something_that_is_not_is_forgotten() -> None:
    deliveries = Deliveries(0)
    deliveries.released(7, 1)
    for offset in range(8, 10_000):
        deliveries.released(offset, 1)
        deliveries.delivered(offset)
    assert len(deliveries._order) < 1_100
    assert deliveries.floor == 7
    deliveries.released(10_000, 1)
    deliveries.delivered(7)
    assert deliveries.floor == 10_000


def test_intake_waits_for_what_is_to_be_published(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shard, disk, inbox = shard_with(Settings(unpublished_bytes_max=10_000))
    floor = 0
    monkeypatch.setattr(MemoryOutbox, "published_floor", lambda self, released: floor)
    submit_orders(inbox)
    for number in range(ORDERS):
        inbox.submit(ClientCommand(f"order-{number}", TerminateRun("enough")))

    def run() -> int:
        for _ in range(20):
            disk.commit()
            shard.step()
        return sum(not run.status.is_open for run in shard._ports.tables.runs(""))

    closed = run()
    assert 0 < closed < ORDERS
    assert run() == closed, "nothing more is taken in"
    now_ms = FixedClock().now_ms()
    assert not shard.step() and now_ms < shard.next_timer_ms() <= now_ms + 1_000
    assert len(caplog.records) == 1
    assert "shard 0 takes no input for now: " in caplog.text
    floor = 1 << 40
    assert run() == ORDERS, "and goes on when it is published"
    shard.close()


def test_what_is_published_is_forgotten_long_before_the_limit() -> None:
    ports = Ports()
    running = running_shard(ports)
    ports.read_commands(
        ClientCommand("order-1", StartRun("order_processing", ORDER)),
        ClientCommand("order-1", TerminateRun("enough")),
    )
    run_shard(running)
    assert running._effects.unpublished.bytes > 0
    ports.now += 1_000
    run_shard(running)
    assert running._effects.unpublished.bytes == 0
    running.close()


def test_many_parked_runs_are_all_tried_without_another_wake_up() -> None:
    shard, _, _ = shard_with(Settings())
    shard._intake.resuming.parked.extend(f"w-{number}" for number in range(100))
    while shard.step():
        pass
    assert not shard._intake.resuming.parked and shard.idle
    shard.close()


def test_an_input_that_the_log_cannot_take_is_refused_and_others_go_on() -> None:
    """The topic of the log may take less than it should."""
    ports = Ports()
    shard = running_shard(ports, record_bytes_max=20_000)
    large = b'[{"id": "%s", "amount": 1.0}]' % (b"x" * 100_000)
    ports.read_commands(
        ClientCommand("large", StartRun("order_processing", large), reply_to=ReplyTo(0, "c", 1)),
        ClientCommand("silent", StartRun("order_processing", large)),
        ClientCommand("good", StartRun("order_processing", ORDER), reply_to=ReplyTo(0, "c", 2)),
    )
    for _ in range(5):
        run_shard(shard)
        ports.deliver_all()
    sizes = [len(each.value or b"") for each in ports.read(0, 1 << 30)]
    assert max(sizes) < 20_000
    told = {reply.to.request: reply.body for reply in ports.replies}
    assert isinstance(told[1], Refused) and told[1].error == "PayloadTooLarge", told
    assert isinstance(told[2], Accepted)
    shard.close()
