"""Ends a process at one moment of its port calls; a scenario has to end the same all the same.

Every port call has two moments: before its effect, and after it (``processor.simulation.perils``).
Every run with a failure is compared with one without. What its histories may have besides are the
attempts that died with a process, and their retries (``_comparable``, ``compare``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from unittest.mock import patch

from examples import orders
from processor.config import Settings
from processor.core import events
from processor.core.effects import Accepted, Closed, ReplyBody
from processor.core.inputs import AwaitResult, ClientCommand, RaiseEvent, StartRun
from processor.registry import Registry
from processor.shard.reactions import Reaction, reaction_to
from processor.simulation.clients import SimulatedClient
from processor.simulation.host import Code
from processor.simulation.perils import Crashed, Perils, Process
from processor.simulation.scheduler import Channel
from processor.simulation.world import Stuck, World
from processor.workflow._runner import WorkflowRunners

from . import deeds, programs
from .cases import COMPLETED, Case, program_case
from .chaos import Chaos
from .invariants import check
from .programs import Step
from .reading import Reading
from .story import ORDER_ACTIVITIES, PAYLOADS

_STEPS_MAX = 20_000
_SILENCE_MS = 6_000
"""How long a dead process keeps its shards."""


# --- scenarios --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """Cases, each started once the one before it is accepted. Their events come later."""

    name: str
    cases: Callable[[], list[Case]]
    partitions: int = 1


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


SCENARIOS = (
    Scenario("approved", lambda: [_order(amount=5_000.0)]),
    Scenario("payment retried", lambda: [_order(amount=10.0, payment_failures=2)]),
    Scenario("two shards", _two_shards, partitions=2),
)


# --- the failure ------------------------------------------------------------------------------


class Unreachable(Exception):
    """What a broker's client raises."""


@dataclass
class Failure:
    """What goes wrong at moment number ``at`` of a host's port calls.

    ``killed``: the process dies there; otherwise the call raises an error. ``where`` is the call,
    None as long as nothing went wrong.
    """

    at: int
    killed: bool = True
    where: str | None = None
    moments: int = 0

    @property
    def call(self) -> str:
        return (self.where or "").partition(",")[0]

    @property
    def after(self) -> bool:
        """Whether the call had taken effect."""
        return self.where is not None and self.where != self.call

    def moment(self, call: str) -> None:
        self.moments += 1
        if self.moments == self.at:
            self.where = call
            if self.killed:
                raise Crashed(call)
            if self.call in ("get", "scan", "write"):
                raise OSError(28, f"No space left on device: {call}")
            raise Unreachable(call)


# --- a run ------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What has to be the same, whatever failed. ``failed``: failed attempts of each activity."""

    histories: dict[str, list[events.Event]]
    results: list[tuple[str, str, bytes | None]]
    published: list[tuple[str, bytes | None, bytes]]
    failed: dict[tuple[str, int], Counter[str]]


class Run:
    """A scenario with failures: one for each host in turn; the last host has none.

    ``fresh``: another host goes on, without a disk; else the same one restarts with its own.
    What a process that goes has under way is lost if its call failed before its effect, and
    arrives if after: these are the two ends of what can happen.
    """

    def __init__(self, scenario: Scenario, *failures: Failure, fresh: bool = True) -> None:
        self.cases = scenario.cases()
        self._failures = failures
        self._fresh = fresh
        self._host = self._next = 0
        self._up = False
        self.world = World(1, scenario.partitions, watched=True)
        self.world.on_crash = self._crashed
        activities: list[Any] = [*ORDER_ACTIVITIES, *deeds.ACTIVITIES]
        registry = Registry([orders.order_processing, programs.program], activities, PAYLOADS)
        self.code = Code(registry, WorkflowRunners(registry, Settings()), ("default", "far"))
        # What ``check`` wants to know besides:
        self.chaos, self.ledger = Chaos(self.world), None
        self.asked = self.succeeded = 0

    def play(self) -> Outcome:
        """Play it to its end, check the invariants, and return what it came to."""
        try:
            self._play()
            readings, _ = check(self)  # type: ignore[arg-type]
            return self._outcome(readings)
        finally:
            self.world.close()

    def _play(self) -> None:
        with ExitStack() as patches:
            patches.enter_context(patch.object(Perils, "idle", False))
            patches.enter_context(patch.object(Perils, "moment", self._moment))
            patches.enter_context(patch.object(Channel, "cut", lambda it: self._cut(it)))
            reaction = "processor.simulation.ownership.reaction_to"
            patches.enter_context(patch(reaction, _reaction_to))
            self._next_host()
            _Script(self.world, self.cases, 0).start()
            self._to_the_end()

    @property
    def slots_are_free(self) -> bool:
        """Whether the process that is left has all of its slots for activities."""
        executor = self.world.hosts[self._name].activities.executor
        return executor.free == Settings().max_activities

    # --- the world ----------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return f"host-{self._host}"

    def _moment(self, process: Process, call: str) -> None:
        if process.name == self._name and self._host < len(self._failures):
            self._failures[self._host].moment(call)

    def _cut(self, channel: Channel) -> None:
        """End a connection: what is under way is lost, or all of it arrives."""
        if not self._failures[self._host].after:
            channel._under_way.clear()

    def _to_the_end(self) -> None:
        scheduler = self.world.scheduler
        while scheduler.steps < _STEPS_MAX:
            over = self._up and all(case.closed is not None for case in self.cases)
            if not scheduler.step(scheduler.now_ms if over else None):
                assert over, "nothing is left that could happen"
                if self._at_rest():
                    self.chaos.rest()
                    return
                scheduler.step()  # it waits to claim a shard again
        raise Stuck(f"it is not done after {_STEPS_MAX:,} steps")

    def _at_rest(self) -> bool:
        return all(each.at_rest for each in self.world.hosts[self._name].ownerships.values())

    def _crashed(self, name: str) -> None:
        self._up = False
        self.world.scheduler.after(_SILENCE_MS, "the next owner", self._next_host)
        self._next = self._host + self._fresh

    def _next_host(self) -> None:
        self._host = self._next
        self._up = True
        if self._name in self.world.hosts:
            self.world.restart(self._name)
            return
        self.world.host(self._name, self.code)
        for partition in range(self.world.broker.partitions):
            self.world.assign(partition, self._name)

    # --- what it came to ----------------------------------------------------------------------

    def _outcome(self, readings: Sequence[Reading]) -> Outcome:
        broker = self.world.broker
        assert broker.dead_letters == [] and self.world.departures
        histories: dict[str, list[events.Event]] = {}
        failed: dict[tuple[str, int], Counter[str]] = {}
        for turn in (turn for reading in readings for _, turn, _ in reading.turns):
            for event in turn.events:
                if isinstance(event, events.ActivityAttemptFailed):
                    kind = event.failure.timeout_kind or event.failure.type
                    failed.setdefault((turn.workflow_id, event.id), Counter())[kind] += 1
            if turn.events:  # a mark belongs to no run
                histories.setdefault(turn.workflow_id, []).extend(_comparable(turn.events))
        results = [(each.workflow_id, each.status, each.result) for each in broker.results()]
        published = [(each.topic, each.key, each.value) for each in broker.published()]
        return Outcome(histories, results, published, failed)


def _comparable(turn: Sequence[events.Event]) -> Iterator[events.Event]:
    """Leave out what a takeover may add or move: attempts, their numbers, and times."""
    for event in turn:
        match event:
            case (
                events.ActivityStarted()
                | events.ActivityHeartbeatRecorded()
                | events.ActivityAttemptFailed()
                | events.ActivityRetried()
            ):
                pass
            case events.ActivityCompleted() | events.ActivityFailed():
                yield replace(event, attempt=0)
            case events.TimerStarted():
                yield replace(event, due_ms=0)
            case _:
                yield event


def _reaction_to(error: Exception) -> Reaction:
    """Do what ``Node`` does about such errors, where the simulation stops: claim again."""
    return "claim again" if isinstance(error, OSError | Unreachable) else reaction_to(error)


def compare(run: Outcome, untouched: Outcome, deaths: int = 1) -> None:
    """Check that a run with failures came to the same as one without.

    Each death may cost an eager activity one attempt, and nothing else any.
    """
    assert run.histories == untouched.histories
    assert run.results == untouched.results
    assert run.published == untouched.published
    for activity, kinds in run.failed.items():
        before = untouched.failed.get(activity, Counter())
        added = kinds - before
        assert set(added) <= {"lost"}, f"{activity}: {kinds} instead of {before}"
        assert added.total() <= deaths, f"{activity}: {kinds} instead of {before}"


class _Script:
    """What the client of one case does: start it, start the next one, raise its events."""

    def __init__(self, world: World, cases: Sequence[Case], number: int) -> None:
        self._world = world
        self._cases = cases
        self._number = number
        self._case = cases[number]
        self._client: SimulatedClient = world.client(f"client-{number}")

    def start(self) -> None:
        body = StartRun(self._case.workflow, PAYLOADS.encode(self._case.arguments))
        self._client.request(ClientCommand(self._case.workflow_id, body), self._started)

    def _started(self, reply: ReplyBody) -> None:
        assert isinstance(reply, Accepted), reply
        self._send(AwaitResult(), self._closed)
        if self._number + 1 < len(self._cases):
            _Script(self._world, self._cases, self._number + 1).start()
        for name, value in self._case.events:
            raised = RaiseEvent(name, PAYLOADS.encode(value))
            raise_it = partial(self._send, raised, lambda reply: None)
            self._world.scheduler.after(600_000, "an event", raise_it)

    def _send(self, body: Any, answered: Callable[[ReplyBody], None]) -> None:
        self._client.request(ClientCommand(self._case.workflow_id, body), answered)

    def _closed(self, reply: ReplyBody) -> None:
        assert isinstance(reply, Closed), reply
        self._case.closed = reply
