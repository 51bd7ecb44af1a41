"""One seeded story: clients that start orders and programs in a world where hosts fail."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any

import msgspec

from examples import orders
from processor.codec.payloads import JsonPayloads
from processor.config import Settings
from processor.core.effects import Accepted, Closed, Refused, ReplyBody
from processor.core.inputs import (
    AwaitResult,
    CancelRun,
    ClientCommand,
    RaiseEvent,
    StartRun,
    TerminateRun,
)
from processor.registry import Registry
from processor.simulation.clients import SimulatedClient
from processor.simulation.faults import ROUGH, Faults
from processor.simulation.host import Code
from processor.simulation.world import World
from processor.workflow._runner import WorkflowRunners

from . import programs
from .chaos import Chaos
from .programs import Author, Step, events_of, expected

ORDER_ACTIVITIES = (
    orders.reserve_inventory,
    orders.process_payment,
    orders.notify_fraud_team,
    orders.refund_payment,
    orders.deduct_inventory,
    orders.send_order_confirmation_email,
    orders.send_follow_up_email,
)
COMPLETED = "Order processing completed successfully!"
REFUSED = "Order processing failed: Fraud review rejected or timed out"
PAYLOADS = JsonPayloads()


@dataclass
class Case:
    """One workflow of a story. ``outcomes`` are those that are right: a status, and the result.

    ``before`` has to be started first: this one sends it a message.
    """

    workflow_id: str
    workflow: str
    arguments: list[Any]
    outcomes: list[tuple[str, Any]]
    events: list[tuple[str, Any]]
    stop: CancelRun | TerminateRun | None = None
    before: Case | None = None
    closed: Closed | None = None

    @property
    def is_right(self) -> bool:
        """Whether it ended as it may."""
        return self.outcome in self.outcomes

    @property
    def outcome(self) -> tuple[str, Any]:
        assert self.closed is not None, f"{self.workflow_id} has not ended"
        result = self.closed.result
        return self.closed.status, None if result is None else msgspec.json.decode(result)


class Story:
    """``run`` plays it to its end; the world is then at rest."""

    def __init__(self, seed: int, faults: Faults = ROUGH, settings: Settings | None = None) -> None:
        self.seed = seed
        self._random = Random(f"story {seed}")
        settings = settings or Settings(cached_runs_max=self._random.choice((0, 2, 1_000)))
        self.world = World(seed, self._random.choice((1, 2)), faults, settings)
        registry = Registry(
            [orders.order_processing, programs.program],
            [*ORDER_ACTIVITIES, *programs.ACTIVITIES],
            PAYLOADS,
        )
        self.code = Code(registry, WorkflowRunners(registry, settings), ("default", "far"))
        for number in range(self._random.choice((1, 2, 3))):
            self.world.host(f"host-{number}", self.code)
        for partition in range(self.world.broker.partitions):
            self.world.assign(partition, self._random.choice(list(self.world.hosts)))
        author = Author(self._random)
        self.cases = [self._order(number) for number in range(self._random.randint(1, 2))]
        programs_count = self._random.randint(1, 3)
        self.cases += [self._program(author, number) for number in range(programs_count)]
        self._signals(author)
        self.scripts: dict[str, _Script] = {}

    def run(self) -> None:
        for number, case in enumerate(self.cases):
            script = _Script(self, self.world.client(f"client-{number}"), case)
            self.scripts[case.workflow_id] = script
        for script in self.scripts.values():
            script.begin()
        Chaos(self.world).run(lambda: all(case.closed is not None for case in self.cases))

    def close(self) -> None:
        self.world.close()

    # --- what is in it ------------------------------------------------------------------------

    def _order(self, number: int) -> Case:
        amount = self._random.choice((10.0, 5_000.0))
        failures = self._random.choice((0, 0, 1, 2))
        order = orders.Order(f"order-{number}", amount, failures)
        case = Case(order.id, "order_processing", [order], [("completed", COMPLETED)], [])
        if amount > orders.REVIEW_ABOVE:
            approved = self._random.choice((True, False, None))
            if approved is not None:
                case.events = [("fraudReviewApproved", approved)]
            if approved is not True:
                case.outcomes = [("completed", REFUSED)]
        return case

    def _program(self, author: Author, number: int) -> Case:
        steps = author.write()
        events = [(f"event-{each}", each) for each in events_of(steps)]
        outcomes = [("completed", expected(steps))]
        case = Case(f"program-{number}", "program", [steps], outcomes, events)
        if self._random.random() < 0.2:
            stops = (CancelRun("a test"), TerminateRun("a test"))
            case.stop = self._random.choice(stops)
            name = "cancelled" if isinstance(case.stop, CancelRun) else "terminated"
            case.outcomes.append((name, None))
        return case

    def _signals(self, author: Author) -> None:
        """Let programs send each other some of the events that they wait for."""
        cases = [case for case in self.cases if case.workflow == "program" and case.stop is None]
        for target, sender in pairwise(cases):
            if self._random.random() < 0.7:
                number = author.number()
                target.arguments[0].append(Step("event", number))
                sender.arguments[0].insert(0, Step("signal", number, target.workflow_id))
                sender.before = target
        for case in cases:
            case.outcomes = [("completed", expected(case.arguments[0]))]


class _Script:
    """What the client of one case does."""

    def __init__(self, story: Story, client: SimulatedClient, case: Case) -> None:
        self._story = story
        self._scheduler = story.world.scheduler
        self._random = Random(f"{story.seed} {case.workflow_id}")
        self._client = client
        self._case = case

    def begin(self) -> None:
        if self._case.before is None:
            delay_ms = self._random.randint(0, 5_000)
            self._scheduler.after(delay_ms, "a start", self._start)

    def _start(self) -> None:
        case = self._case
        body = StartRun(case.workflow, PAYLOADS.encode(case.arguments), reuse="reject")
        self._client.request(ClientCommand(case.workflow_id, body), self._started)

    def _started(self, reply: ReplyBody) -> None:
        assert isinstance(reply, Accepted), f"{self._case.workflow_id} was not started: {reply}"
        self._await_result()
        for other in self._story.cases:
            if other.before is self._case:
                self._story.scripts[other.workflow_id]._start()
        for name, value in self._case.events:
            raised = RaiseEvent(name, PAYLOADS.encode(value))
            self._later(ClientCommand(self._case.workflow_id, raised))
        if self._case.stop is not None:
            self._later(ClientCommand(self._case.workflow_id, self._case.stop))

    def _later(self, command: ClientCommand) -> None:
        delay_ms = self._random.randint(0, 60_000)
        self._scheduler.after(delay_ms, "a command", lambda: self._send(command))

    def _send(self, command: ClientCommand) -> None:
        self._client.request(command, lambda reply: self._answered(command, reply))

    def _answered(self, command: ClientCommand, reply: ReplyBody) -> None:
        if isinstance(reply, Refused) and reply.error == "WorkflowNotFound":
            raise AssertionError(f"{command} was refused: {reply}")

    def _await_result(self) -> None:
        self._client.request(ClientCommand(self._case.workflow_id, AwaitResult()), self._closed)

    def _closed(self, reply: ReplyBody) -> None:
        assert isinstance(reply, Closed), f"{self._case.workflow_id}: {reply}"
        self._case.closed = reply


def seeds(default: int) -> list[int]:
    """Return the seeds to run: SEED names one, SEEDS how many."""
    if "SEED" in os.environ:
        return [int(os.environ["SEED"])]
    return list(range(int(os.environ.get("SEEDS", default))))
