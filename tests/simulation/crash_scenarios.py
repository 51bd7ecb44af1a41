"""What is played with a failure at every step: see ``crash_at_every_step``.

Whatever fails, everything has to come in the same order. So a scenario asks for one thing after the
other, and leaves more time between two of them than a takeover takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from examples import orders
from processor import ActivityTimedOut, ApplicationError, activity, workflow
from processor.core.activity_requests import AdjustActivity, ReportAttempt
from processor.core.data.cause import NamedRequest
from processor.core.inputs import ClientCommand
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.lineage import Plan, RetryOptions
from processor.core.nouns.start import StartRun
from processor.core.nouns.update import AwaitUpdate, UpdateRun
from processor.core.operation import Request
from processor.core.questions import AwaitResult, ReadShard
from processor.core.records.answers import (
    Accepted,
    Closed,
    Page,
    Refused,
    ReplyBody,
    UpdateEnded,
)

from . import deeds, tally, vaults
from .cases import COMPLETED, Case, nothing, program_case
from .programs import Step
from .story import PAYLOADS

__all__ = ("ACTIVITIES", "SCENARIOS", "WORKFLOWS", "Scenario", "Stage")

_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 24 * 60 * _MINUTE_MS


class Stage(Protocol):
    """What a scenario may do besides its cases. ``lost`` are commands that have to be buried."""

    cases: list[Case]
    lost: list[ClientCommand]

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Let something happen; the run is not over before."""

    def ask(self, name: str, workflow_id: str, body: Request, then: Callable[[Any], None]) -> None:
        """Send a request of the client with this name. What it is told has to be the same."""

    def produce(self, command: ClientCommand) -> None:
        """Send a command as strangers do, who hear of nothing."""

    def produce_bytes(self, value: bytes) -> None:
        """Send what cannot be read."""

    def purge(self, case: Case, then: Callable[[], None]) -> None:
        """Give up the run of a case that is over, and call back once that is in the log."""


@dataclass(frozen=True)
class Scenario:
    """Cases, each started once the one before it is accepted. Their events come later.

    ``besides`` is called in the beginning, and arranges what else is to happen.
    """

    name: str
    cases: Callable[[], list[Case]]
    partitions: int = 1
    besides: Callable[[Stage], None] = lambda stage: None


# --- workflows and activities -----------------------------------------------------------------


@activity.define(queue="far", eager=False, heartbeat=40)
async def climb(top: int) -> int:
    """Fails after one step up from where the attempt before came to, until it begins at the top."""
    return await _climbed(top)


@activity.define(heartbeat=40)
async def climb_here(top: int) -> int:
    return await _climbed(top)


@activity.define(queue="far", eager=False, heartbeat=40, schedule_to_close=240)
async def climb_for_ever() -> int:
    """Fails twice, and is still on its way when its time is up."""
    step = activity.info().attempt
    if step <= 2:
        return await _climbed(3)
    return await _beat(step)


@activity.define(queue="far", eager=False, heartbeat=40)
async def wait_far() -> int:
    return await _beat(0)


@activity.define
async def wait_here() -> None:
    await asyncio.sleep(1_000_000)


async def _climbed(top: int) -> int:
    step = activity.heartbeat_details(int) or 0
    if step == top:
        return step
    activity.heartbeat(step + 1)
    await asyncio.sleep(25)
    raise ApplicationError(f"no higher than {step + 1}")


async def _beat(details: int) -> int:
    while True:
        activity.heartbeat(details)
        await asyncio.sleep(25)


@workflow.define
async def labours() -> list[Any]:
    done: list[Any] = [await climb(2), await climb_here(2)]
    try:
        await climb_for_ever()
    except ActivityTimedOut as error:
        done.append(error.kind)
    try:
        async with asyncio.timeout(100):
            await wait_far()
    except TimeoutError:
        done.append("given up")
    return done


@workflow.define
async def stays() -> None:
    """Goes on until somebody ends it, with an attempt on a queue and one in the process."""
    await asyncio.gather(wait_far(), wait_here())


@activity.define
async def left_here() -> int:
    raise activity.CompleteAsync


@activity.define(queue="far", eager=False)
async def left_far() -> int:
    raise activity.CompleteAsync


@workflow.define
async def outside() -> list[int]:
    """Others say how its activities end."""
    return list(await asyncio.gather(left_here(), left_far()))


@workflow.define
async def wanders(left: int, told: list[int]) -> list[int]:
    """Leaves an activity behind in each run but the first and the last one."""
    if left == 2:
        workflow.continue_as_new(1, told)
    told.append(await workflow.wait_for_event("told", int))
    if left:
        await asyncio.wait([asyncio.ensure_future(wait_far())], timeout=60)
        workflow.continue_as_new(0, told)
    return told


@workflow.define
async def kin(number: int) -> int:
    """A child: it works in its process and on a queue, and one that gets a zero waits for more."""
    number = number or await workflow.wait_for_event("more", int)
    return await deeds.remote(await deeds.double(number))


@workflow.define
class House:
    """In each of its two runs a child comes and goes, and an update ends another one."""

    def __init__(self, runs_left: int, told: list[Any]) -> None:
        self.runs_left, self.told = runs_left, told
        self.open: workflow.Child[int] | None = None
        self.is_over = False

    @workflow.run
    async def run(self, runs_left: int, told: list[Any]) -> list[Any]:
        first, second = ("kin-a", "kin-b") if runs_left else ("kin-c", "kin-d")
        self.told.append(await workflow.call_child(kin, 1 + runs_left, id=first))
        self.open = await workflow.start_child(kin, 0, id=second)
        await workflow.wait_until(lambda: self.is_over)
        await workflow.wait_until(workflow.all_handlers_finished)
        await asyncio.sleep(60)  # who was not told yet asks this run
        if runs_left:
            workflow.continue_as_new(runs_left - 1, self.told)
        await workflow.start_child(kin, 0, id="kin-left")
        return self.told

    @workflow.update
    async def feed(self, number: int) -> list[Any]:
        await workflow.wait_until(lambda: self.open is not None)
        assert self.open is not None
        await self.open.signal("more", number)
        self.told.append(await self.open + await deeds.double(number))
        self.is_over = True
        return self.told

    @feed.validator
    def check(self, number: int) -> None:
        if number < 0:
            raise ValueError("nothing to eat")


WORKFLOWS: Final = (labours, stays, wanders, outside, kin, House)
ACTIVITIES: Final = (
    *(climb, climb_here, climb_for_ever, wait_far, wait_here),
    *(left_here, left_far),
)


# --- scenarios --------------------------------------------------------------------------------


def _order(**how: Any) -> Case:
    order = orders.Order("order-1", **how)
    case = Case(order.id, "order_processing", [order], {"completed": COMPLETED.__eq__})
    if order.amount > orders.REVIEW_ABOVE:
        case.events = [("fraudReviewApproved", True)]
    return case


def _two_shards() -> list[Case]:
    """A program on shard 1 that waits for a message of one on shard 0; both have queued work."""
    receiver = program_case([Step("event", 1), Step("remote", 2), Step("publish", 3)], 0)
    signal = Step("signal", 1, receiver.workflow_id)
    steps = [Step("publish", 4), Step("remote", 5), signal, Step("watched", 6)]
    sender = program_case([*steps, Step("double", 7), Step("publish", 8)], 4)
    return [receiver, sender]


def _called() -> list[Case]:
    """A program on shard 1 that one on shard 0 tells something, and hears that it was taken."""
    receiver = program_case([Step("event", 1), Step("remote", 2), Step("publish", 3)], 0)
    call = Step("call", 1, receiver.workflow_id)
    steps = [Step("publish", 4), Step("remote", 5), call, Step("call nobody", 6)]
    sender = program_case([*steps, Step("double", 7), Step("publish", 8)], 4)
    return [receiver, sender]


def _tried_again() -> list[Case]:
    """A workflow that fails twice, and is told something before its last run begins."""
    case = Case("flaky", "flaky", [2, 1], {"completed": [3, [7]].__eq__}, runs=3)
    case.plan = Plan(retry=RetryOptions(8 * _MINUTE_MS, 2.0, 60 * _MINUTE_MS))
    case.events = [("told", 7)]
    return [case]


def _goes_on() -> list[Case]:
    """A workflow that goes on as a new run: at once, and then when it was told something."""
    case = Case("wanders", "wanders", [2, []], {"completed": [7, 8].__eq__}, runs=3)
    case.events = [("told", 7), ("told", 8)]
    return [case]


def _stays() -> list[Case]:
    """A run that is ended by the start of another workflow with its id."""
    case = Case("the-id", "stays", [], {"terminated": nothing})
    case.stop = _start(Step("publish", 1), Step("double", 2), conflict="terminate")
    return [case]


def _replaced(stage: Stage) -> None:
    [case] = stage.cases

    def begun(reply: ReplyBody) -> None:
        assert isinstance(reply, Accepted) and reply.created, reply
        stage.ask("another", case.workflow_id, AwaitResult(reply.run_id), _is(Closed))

    assert isinstance(case.stop, StartRun)
    replace_it = partial(stage.ask, "another", case.workflow_id, case.stop, begun)
    stage.later(2 * _MINUTE_MS, replace_it)


def _waits() -> list[Case]:
    case = program_case([Step("event", 1)], 0)
    case.events = [("event-1", 1)]
    return [case]


def _refused(stage: Stage) -> None:
    """Let others start what is open, just before it ends; and ask for what is not there."""
    [case] = stage.cases
    start = _start(Step("double", 1))
    missing = ClientCommand("nobody", RaiseEvent("anything", b"1"))
    named = ClientCommand("nobody", RaiseEvent("anything", b"2"), NamedRequest("once"))
    again = ClientCommand(case.workflow_id, start, NamedRequest("a start"))

    def strangers() -> None:
        for command in (missing, named, again):
            stage.lost.append(command)
            stage.produce(command)
        stage.produce(named)
        stage.produce_bytes(b"no record")

    start_it = partial(stage.ask, "another", case.workflow_id, start, _is(Refused))
    stage.later(10 * _MINUTE_MS - 2, start_it)
    stage.later(10 * _MINUTE_MS - 1, strangers)


def _is_over() -> list[Case]:
    """Two runs with an activity of each kind; the id of the first one is used again."""
    cases = [program_case([Step("remote", 1), Step("flaky", 2)], number) for number in range(2)]
    cases[0].stop = _start(Step("double", 3), reuse="allow")
    return cases


def _purged(stage: Stage) -> None:
    """Give up two runs; use the id of one of them again, and have the other one forgotten."""
    first, second = stage.cases

    def both_are_gone() -> None:
        assert first.closed is not None and first.stop is not None
        ask = partial(stage.ask, "another", first.workflow_id)
        ask(AwaitResult(first.closed.run_id), _is(Refused))
        ask(_start(Step("double", 4), reuse="reject"), _is(Refused))
        ask(first.stop, begun)

    def begun(reply: Accepted) -> None:
        assert first.closed is not None and reply.run_id != first.closed.run_id
        stage.ask("another", first.workflow_id, AwaitResult(reply.run_id), _is(Closed))
        stage.later(31 * _DAY_MS, a_month_later)

    def a_month_later() -> None:
        """Have a mark written: with it, the shard forgets what was purged so long ago."""
        stage.ask("another", "", ReadShard(), forgotten)

    def forgotten(reply: Page) -> None:
        assert second.closed is not None
        stage.ask("another", second.workflow_id, AwaitResult(second.closed.run_id), _is(Refused))

    purge_second = partial(stage.purge, second, both_are_gone)
    stage.later(10 * _MINUTE_MS, partial(stage.purge, first, purge_second))


def _labours() -> list[Case]:
    done = [2, 2, "schedule_to_close", "given up"]
    return [Case("labours", "labours", [], {"completed": done.__eq__})]


def _outside() -> list[Case]:
    return [Case("outside", "outside", [], {"completed": [1, 2].__eq__})]


def _ended(stage: Stage) -> None:
    """Pause an activity, which changes nothing for the attempt that is out; end both."""
    [case] = stage.cases

    def complete(id: int) -> ReportAttempt:
        return ReportAttempt(id, "completed", PAYLOADS.encode(id))

    asked: list[tuple[Request, type]] = [
        (AdjustActivity(2, "pause"), Accepted),
        (complete(1), Accepted),
        (complete(1), Refused),
        (AdjustActivity(2, "resume"), Accepted),
        (complete(2), Accepted),
        (AdjustActivity(2, "reset"), Refused),
    ]
    for number, (body, told) in enumerate(asked, 1):
        ask = partial(stage.ask, "another", case.workflow_id, body, _is(told))
        stage.later(4 * number * _MINUTE_MS, ask)


def _house() -> list[Case]:
    told = [12, 80, 6, 88]
    return [Case("house", "House", [1, []], {"completed": told.__eq__}, runs=2)]


def _fed(stage: Stage) -> None:
    """Send each run an update, one of them twice, and one that is refused; ask again at the end."""
    [case] = stage.cases
    outcomes = {"feeds": [12, 80], "feeds more": [12, 80, 6, 88]}

    def ask_for(id: str, run_id: str | None = None) -> None:
        def told(reply: ReplyBody) -> None:
            assert isinstance(reply, UpdateEnded), reply
            assert reply.result == PAYLOADS.encode(outcomes[id]), reply

        stage.ask("another", case.workflow_id, AwaitUpdate(id, run_id), told)

    def feed(id: str, number: int) -> None:
        def sent(reply: ReplyBody) -> None:
            if id in outcomes:
                assert isinstance(reply, Accepted), reply
                ask_for(id, reply.run_id)
            else:
                assert isinstance(reply, Refused) and reply.error == "UpdateRejected", reply

        update = UpdateRun(id, "feed", PAYLOADS.encode([number]))
        stage.ask("another", case.workflow_id, update, sent)

    acts = [
        *(partial(feed, "feeds", 10), partial(feed, "is refused", -1), partial(feed, "feeds", 10)),
        *(partial(feed, "feeds more", 11), partial(ask_for, "feeds")),
        partial(ask_for, "feeds more"),
    ]
    for number, act in enumerate(acts, 1):
        stage.later(4 * number * _MINUTE_MS, act)


def _tally() -> list[Case]:
    """A run that goes on from snapshots, so that what was before them is given up meanwhile."""
    numbers = (4, 2, 5, 3, 8, 10)
    ends = {"completed": tally.total(numbers).__eq__}
    case = Case("tally", tally.TALLY, tally.arguments(len(numbers), ""), ends)
    case.events = [("add", number) for number in numbers]
    return [case]


def _locked() -> list[Case]:
    """A run moves money between vaults of two shards under their locks, and looks into both."""
    moves = [vaults.Move(["a", "b"], 7, how, 0) for how in ("slowly", "audit")]
    case = Case("teller", "teller", [moves], {})
    case.ends["completed"] = [vaults.BEGIN + 7, 2 * vaults.BEGIN].__eq__
    return [case]


def _start(*steps: Step, **how: Any) -> StartRun:
    return StartRun("program", PAYLOADS.encode([[*steps]]), **how)


def _is(expected: type) -> Callable[[ReplyBody], None]:
    def told(reply: ReplyBody) -> None:
        assert isinstance(reply, expected), reply

    return told


SCENARIOS: Final = (
    Scenario("approved", lambda: [_order(amount=5_000.0)]),
    Scenario("payment retried", lambda: [_order(amount=10.0, payment_failures=2)]),
    Scenario("two shards", _two_shards, partitions=2),
    Scenario("called", _called, partitions=2),
    Scenario("tried again", _tried_again),
    Scenario("goes on", _goes_on),
    Scenario("parent, updated", _house, partitions=2, besides=_fed),
    Scenario("replaced", _stays, besides=_replaced),
    Scenario("refused", _waits, besides=_refused),
    Scenario("purged", _is_over, besides=_purged),
    Scenario("retried and timed out", _labours),
    Scenario("snapshots", _tally),
    Scenario("locked", _locked, partitions=2),
    Scenario("ended by others", _outside, besides=_ended),
)
