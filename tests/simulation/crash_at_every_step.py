"""Ends a process at one moment of its port calls; a scenario has to end the same all the same.

Every port call has two moments: before its effect, and after it (``simulation.hosts.perils``).
Every run with a failure is compared with one without. What its log may have besides are the
attempts that died with a process, and their retries (``crash_outcomes``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from random import Random
from types import CodeType, FrameType
from typing import Any, Final
from unittest.mock import patch

from examples import orders
from processor.config import Settings
from processor.core.inputs import ClientCommand
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.start import StartPlanned
from processor.core.operation import Request
from processor.core.questions import AwaitResult
from processor.core.records.answers import Accepted, Closed, ReplyBody
from processor.core.records.effects import Reply
from processor.injection.interceptors import Injected
from processor.registry import Registry
from processor.shard.loop import Shard
from processor.shard.reactions import Reaction, reaction_to
from processor.simulation.clients import SimulatedClient
from processor.simulation.hosts import ownership
from processor.simulation.hosts.host import Code
from processor.simulation.hosts.perils import Crashed, PerilousProcess, Perils
from processor.simulation.hosts.publisher import Publisher
from processor.simulation.scheduler import Channel
from processor.simulation.world import Stuck, World
from processor.workflow._engine.runners import WorkflowRunners

from . import deeds, programs, vaults
from .cases import Case
from .chaos import Chaos
from .crash_outcomes import Outcome, comparable_answer, compare, outcome_of
from .crash_scenarios import ACTIVITIES, SCENARIOS, WORKFLOWS, Scenario
from .customers import Customer, Told
from .invariants import check
from .reading import Reading
from .registered import ORDER_ACTIVITIES, PAYLOADS
from .story import what_is_remembered
from .tally import TallyRunners

__all__ = ("IN_MEMORY", "SCENARIOS", "Failure", "Outcome", "Run", "Scenario", "Watch", "compare")

_STEPS_MAX = 20_000
_SILENCE_MS = 6_000
"""How long a dead process keeps its shards."""

_ASK_AGAIN_MS = 5_000


IN_MEMORY: Final = ("place", "start", "cancel")
"""Calls that talk to nobody. An error there is a bug, and may cost the process a slot."""


# --- the failure ------------------------------------------------------------------------------


class Unreachable(Exception):
    """What a broker's client raises."""


@dataclass
class Failure:
    """What goes wrong at moment number ``at`` of a host's port calls.

    ``killed``: the process dies there; otherwise the call raises an error. ``arrives``: so does all
    that is under way just then; by default, if the call had taken effect. ``where`` is the call,
    None as long as nothing went wrong.
    """

    at: int
    killed: bool = True
    arrives: bool | None = None
    where: str | None = None
    moments: int = 0

    @property
    def call(self) -> str:
        return (self.where or "").partition(",")[0]

    @property
    def after(self) -> bool:
        """Whether the call had taken effect."""
        return self.where is not None and self.where != self.call

    @property
    def loses(self) -> bool:
        """Whether what is under way is lost."""
        return not (self.after if self.arrives is None else self.arrives)

    def moment(self, call: str) -> None:
        self.moments += 1
        if self.moments == self.at:
            self.where = call
            if self.killed:
                raise Crashed(call)
            if self.call in ("get", "scan", "write"):
                raise OSError(28, f"No space left on device: {call}")
            raise Unreachable(call)


_CHANGES: Final = ("append", "send", "reply", "publish", "published", "write")
"""Calls after which something outside of the process is another, or is on its way."""


class Watch(Failure):
    """Nothing goes wrong; at which moments something could, so that each is another case."""

    def __init__(self) -> None:
        super().__init__(0)
        self.steps: Callable[[], int] = lambda: 0
        self._changes = 0
        self._seen: list[tuple[str, object, tuple[Any, ...]]] = []

    def moment(self, call: str) -> None:
        super().moment(call)
        name, _, after = call.partition(",")
        self._changes += bool(after) and name in _CHANGES
        stack: list[object] = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_globals["__name__"] != ownership.__name__:
            stack.append((frame.f_code, frame.f_lineno))
            frame = frame.f_back
        death = self.steps(), self._changes, after
        self._seen.append((call, death, (call, *stack)))

    @property
    def calls(self) -> set[str]:
        return {call for call, _, _ in self._seen}

    def within(self, name: str, code: CodeType) -> list[int]:
        """Return the moments of a call that this code makes, itself or further down."""
        return [
            number
            for number, (call, _, (_, *stack)) in enumerate(self._seen, 1)
            if call.partition(",")[0] == name and code in (each for each, _ in stack)
        ]

    def cases(self, *, killed: bool, most: int | None, seed: int = 0) -> list[int]:
        """Return all moments, or at most about so many of those that differ, all over the run.

        Each call is among them, at one time or another. For a process that dies, two moments are
        the same if nothing has changed in between outside of it; for one that goes on, if the same
        lines of code made the same call.
        """
        if most is None:
            return list(range(1, self.moments + 1))
        calls: dict[str, list[int]] = {}
        cases: dict[object, int] = {}
        for number, (call, death, error) in enumerate(self._seen, 1):
            calls.setdefault(call, []).append(number)
            cases.setdefault(death if killed else error, number)
        random = Random(seed)
        chosen = {random.choice(numbers) for numbers in calls.values()}
        chosen.update(random.sample(sorted(cases.values()), min(most, len(cases))))
        return sorted(chosen)


# --- a run ------------------------------------------------------------------------------------


class Run:
    """A scenario with failures: one for each host in turn; the last host has none.

    ``fresh``: another host goes on, without a disk; else the same one restarts with its own.
    ``cleans``: what has a tombstone is gone from the log before it does, and so is the tombstone.
    What a process that goes has under way is lost if its call failed before its effect, and
    arrives if after: these are the two ends of what can happen. It is a ``Stage`` for scenarios.
    """

    def __init__(
        self, scenario: Scenario, *failures: Failure, fresh: bool = True, cleans: bool = False
    ) -> None:
        self.cases = scenario.cases()
        self._scenario = scenario
        self._failures = failures
        self._fresh = fresh
        self._cleans = cleans
        self._host = self._next = 0
        self._up = False
        self._plans = 0
        self._clients: dict[str, SimulatedClient] = {}
        self._answers: dict[tuple[str, int], ReplyBody] = {}
        self.world = World(1, scenario.partitions, watched=True)
        self.world.on_crash = self._crashed
        for failure in failures:
            if isinstance(failure, Watch):
                failure.steps = lambda: self.world.scheduler.steps
        activities: list[Any] = [*ORDER_ACTIVITIES, *deeds.ACTIVITIES, *ACTIVITIES]
        workflows: list[Any] = [orders.order_processing, programs.program, programs.flaky]
        workflows += [*WORKFLOWS, vaults.teller]
        registry = Registry(workflows, activities, Injected(PAYLOADS), [vaults.Vault])
        runners = TallyRunners(WorkflowRunners(registry, Settings()))
        self.code = Code(registry, runners, ("default", "far"))
        # What ``check`` wants to know besides:
        self.chaos, self.ledger, self.contest = Chaos(self.world), None, None
        self.seed = self.asked = self.succeeded = 0
        self.forgetful = False
        self.lost: list[ClientCommand] = []
        self.customers: list[Customer] = []
        self.told: Told = {}
        self.foreign: list[Any] = []

    def play(self) -> Outcome:
        """Play it to its end, check the invariants, and return what it came to."""
        try:
            with what_is_remembered(1_000, 10_000):  # a story may have made shards forgetful
                self._play()
                self._forget_slots()
                readings, _ = check(self)  # type: ignore[arg-type]
            return self._outcome(readings)
        finally:
            self.world.close()

    def play_held(self, from_ms: int, until_ms: int) -> Outcome:
        """Play it with a publisher that stands still for a while, until its process ends."""
        serve, held = Publisher.serve, False

        def serve_unless_held(publisher: Publisher) -> None:
            if not held:
                serve(publisher)

        def hold() -> None:
            nonlocal held
            held = True

        def end() -> None:
            nonlocal held
            held = False
            self.world.hosts[self._name].crash()

        self.later(from_ms, hold)
        self.later(until_ms, end)
        with patch.object(Publisher, "serve", serve_unless_held):
            return self.play()

    def _play(self) -> None:
        with ExitStack() as patches:
            patches.enter_context(patch.object(Perils, "idle", False))
            patches.enter_context(patch.object(Perils, "moment", self._moment))
            patches.enter_context(patch.object(Channel, "cut", lambda it: self._cut(it)))
            reaction = "processor.simulation.hosts.ownership.reaction_to"
            patches.enter_context(patch(reaction, _reaction_to))
            self._next_host()
            self._start(0)
            self._scenario.besides(self)
            self._to_the_end()

    def _forget_slots(self) -> None:
        """Leave out the slots that are of no use, or that a bug in the process may have cost."""
        for name, host in list(self.world.hosts.items()):
            if not host.alive:
                del self.world.hosts[name]
        if any(failure.call in IN_MEMORY and not failure.killed for failure in self._failures):
            self.world.hosts[self._name].activities.executor._reserved = 0

    @property
    def slots_are_free(self) -> bool:
        """Whether the process that is left has all of its slots for activities."""
        executor = self.world.hosts[self._name].activities.executor
        return executor.free == Settings().max_activities

    # --- the world ----------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return f"host-{self._host}"

    def _moment(self, process: PerilousProcess, call: str) -> None:
        if process.name == self._name and self._host < len(self._failures):
            self._failures[self._host].moment(call)

    def _cut(self, channel: Channel) -> None:
        """End a connection: what is under way is lost, or all of it arrives."""
        if self._failures[self._host].loses:
            channel._under_way.clear()

    def _to_the_end(self) -> None:
        scheduler = self.world.scheduler
        while scheduler.steps < _STEPS_MAX:
            over = self._up and self._is_over
            if not scheduler.step(scheduler.now_ms if over else None):
                assert over, "nothing is left that could happen"
                if self._at_rest():
                    self.chaos.rest()
                    return
                scheduler.step()  # it waits to claim a shard again
        raise Stuck(f"it is not done after {_STEPS_MAX:,} steps")

    @property
    def _is_over(self) -> bool:
        """Whether every case is closed, every plan carried out, and every client answered."""
        waits = self._plans or any(client.waiting for client in self._clients.values())
        return not waits and all(case.closed is not None for case in self.cases)

    def _at_rest(self) -> bool:
        return all(each.at_rest for each in self.world.hosts[self._name].ownerships.values())

    def _crashed(self, name: str) -> None:
        self._up = False
        self.world.scheduler.after(_SILENCE_MS, "the next owner", self._next_host)
        self._next = self._host + self._fresh

    def _next_host(self) -> None:
        if self._cleans:
            _clean(self.world)
        self._host = self._next
        self._up = True
        if self._name in self.world.hosts:
            self.world.restart(self._name)
            return
        self.world.host(self._name, self.code)
        for partition in range(self.world.broker.partitions):
            self.world.assign(partition, self._name)

    # --- what clients and strangers do --------------------------------------------------------

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        def act() -> None:
            self._plans -= 1
            action()

        self._plans += 1
        self.world.scheduler.after(delay_ms, "a plan", act)

    def ask(self, name: str, workflow_id: str, body: Request, then: Callable[[Any], None]) -> None:
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self.world.client(name)

        def answered(reply: ReplyBody) -> None:
            self._answers[name, number] = comparable_answer(reply)
            then(reply)

        number = client.request(ClientCommand(workflow_id, body), answered)

    def produce(self, command: ClientCommand) -> None:
        self.world.broker.command(command)

    def produce_bytes(self, value: bytes) -> None:
        commands = self.world.broker.inputs[0]["commands"]
        self.chaos.unreadable.add((0, commands.end))
        commands.append_bytes(value)

    def purge(self, case: Case, then: Callable[[], None]) -> None:
        """Ask its owner until it is done, as somebody would whose process may die."""
        assert case.closed is not None, "only what is over is purged"
        run_id = case.closed.run_id
        partition = self.world.broker.partition_of(case.workflow_id)
        owner = self.world.hosts[self._name].ownerships.get(partition)
        if owner is not None and owner.session is not None and owner.at_rest:
            summary = owner.session.tables.run(run_id)
            if summary is not None and summary.purged_ms is not None:
                then()
                return
        if owner is not None:
            owner.do(lambda shard: _purge(shard, case.workflow_id, run_id))
        self.later(_ASK_AGAIN_MS, partial(self.purge, case, then))

    def _start(self, number: int) -> None:
        """Start a case; once it is accepted await its end, start the next one, raise its events."""
        case = self.cases[number]
        ask = partial(self.ask, f"client-{number}", case.workflow_id)

        def started(reply: ReplyBody) -> None:
            assert isinstance(reply, Accepted), reply
            ask(AwaitResult(first_run_id=reply.run_id), closed)
            if number + 1 < len(self.cases):
                self._start(number + 1)
            for nth, (name, value) in enumerate(case.events):
                raised = RaiseEvent(name, PAYLOADS.encode(value))
                self.later(600_000 + nth * 120_000, partial(ask, raised, lambda reply: None))

        def closed(reply: ReplyBody) -> None:
            assert isinstance(reply, Closed), reply
            case.closed = reply

        arguments = PAYLOADS.encode(case.arguments)
        ask(StartPlanned(case.workflow, arguments, plan=case.plan), started)

    # --- what it came to ----------------------------------------------------------------------

    def _outcome(self, readings: Sequence[Reading]) -> Outcome:
        assert self.world.departures
        self._check_replies()
        tables = []
        for partition in range(self.world.broker.partitions):
            owner = self.world.hosts[self._name].ownerships[partition]
            assert owner.session is not None, "what is at rest has a session"
            tables.append(owner.session.tables)
        return outcome_of(self.world, readings, tables, self._answers)

    def _check_replies(self) -> None:
        """Check that each request of a client is told one thing, however often it is answered."""
        told: dict[tuple[str, int], ReplyBody] = {}
        for left in self.world.departures:
            effect = left.effect
            if isinstance(effect, Reply) and effect.to.client in self._clients:
                body = comparable_answer(effect.body)
                before = told.setdefault((effect.to.client, effect.to.request), body)
                assert before == body, f"{effect.to} is told {body} after {before}"


def _clean(world: World) -> None:
    """Take from the logs all that a cleaner may take that goes over them again and again."""
    for log in world.broker.logs:
        log.compact(log.end)
        for record in [*log.read(log.first, log.end)]:
            if record.value is None:
                del log._records[record.offset], log._appended_ms[record.offset]


def _purge(shard: Shard, workflow_id: str, run_id: str) -> None:
    shard.purge(workflow_id, run_id)


def _reaction_to(error: Exception) -> Reaction:
    """Do what ``Node`` does about such errors, where the simulation stops: claim again."""
    return "claim again" if isinstance(error, OSError | Unreachable) else reaction_to(error)
