"""The workflows of a story: what each is started with, what clients do to it, how it may end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import msgspec

from examples import orders
from processor.core.nouns.child import TerminateWith
from processor.core.nouns.lineage import Plan, RetryOptions
from processor.core.nouns.start import StartRun
from processor.core.nouns.stop import CancelRun, TerminateRun
from processor.core.records.answers import Closed
from processor.simulation.scheduler import START_MS

from . import tally, till, transfers
from .programs import Author, Step, events_of, fits
from .transfers import Ledger

__all__ = (
    "COMPLETED",
    "REFUSED",
    "Case",
    "account_cases",
    "by_the_clock_case",
    "flaky_case",
    "gathers_case",
    "goes_on_case",
    "let_stop",
    "listener_case",
    "order_case",
    "program_case",
    "send_messages",
    "tally_cases",
    "till_case",
    "victim_case",
)

COMPLETED: Final = "Order processing completed successfully!"
REFUSED: Final = "Order processing failed: Fraud review rejected or timed out"

Right = Callable[[Any], bool]


@dataclass
class Case:
    """``ends`` has, for each status in which it may end, what its result may be.

    ``after`` are cases that have to be started first, because this one sends them messages.
    ``bounded`` names an activity with few attempts: processes that die may use all of them up.
    ``runs``: so many there are of it, one after the other.
    """

    workflow_id: str
    workflow: str
    arguments: list[Any]
    ends: dict[str, Right]
    events: list[tuple[str, Any]] = field(default_factory=list)
    stop: CancelRun | TerminateRun | StartRun | None = None
    timeout_ms: int | None = None
    updates: list[int] = field(default_factory=list)
    outcomes: dict[int, Any] = field(default_factory=dict)
    after: list[Case] = field(default_factory=list)
    bounded: str = ""
    runs: int = 1
    plan: Plan | None = None
    started: bool = False
    closed: Closed | None = None

    @property
    def is_right(self) -> bool:
        """Whether it ended as it may."""
        assert self.closed is not None, f"{self.workflow_id} has not ended"
        failure = self.closed.failure
        if self.bounded and failure is not None:
            return failure.timeout_kind == "lost" and failure.activity == self.bounded
        right = self.ends.get(self.closed.status)
        return right is not None and right(self.result)

    @property
    def result(self) -> Any:
        result = None if self.closed is None else self.closed.result
        return None if result is None else msgspec.json.decode(result)

    def __str__(self) -> str:
        closed = self.closed
        how = "not ended" if closed is None else f"{closed.status}: {self.result} {closed.failure}"
        return f"{self.workflow}({self.workflow_id}) {self.arguments} may end {[*self.ends]}: {how}"


def nothing(result: Any) -> bool:
    return result is None


def order_case(random: Random, number: int, *, hurried: bool) -> Case:
    """Return an order. ``hurried``: an hour is not much, so that its review may come too late."""
    amount = random.choice((10.0, 5_000.0))
    order = orders.Order(f"order-{number}", amount, random.choice((0, 0, 1, 2)))
    events: list[tuple[str, Any]] = []
    may = {COMPLETED}
    if amount > orders.REVIEW_ABOVE:
        approved = random.choice((True, False, None))
        if approved is not None:
            events = [("fraudReviewApproved", approved)]
        if approved is not True:
            may = {REFUSED}
        elif hurried:
            may = {COMPLETED, REFUSED}
    case = Case(order.id, "order_processing", [order], {"completed": may.__contains__}, events)
    case.bounded = orders.process_payment.name
    return case


def program_case(steps: list[Step], number: int, random: Random | None = None) -> Case:
    """Return a program, which somebody may stop where there is a ``random``."""
    case = Case(f"program-{number}", "program", [steps], {})
    case.ends["completed"] = lambda result: fits(case.arguments[0], result)
    if random is not None and random.random() < 0.15:
        let_stop(case, random, number)
    return case


def let_stop(case: Case, random: Random, number: int) -> None:
    """Let somebody cancel or terminate a case; to terminate takes an odd number as the output."""
    case.stop = random.choice((CancelRun("a test"), TerminateRun("a test")))
    output = number if number % 2 else None
    if isinstance(case.stop, CancelRun):
        case.ends["cancelled"] = nothing
    else:
        if output is not None:
            case.stop = TerminateWith("a test", output=msgspec.json.encode(output))
        case.ends["terminated"] = lambda result: result == output


def raise_events(case: Case, sent: set[int]) -> None:
    """Let the client raise what the program waits for and nobody else sends."""
    waited = events_of(case.arguments[0])
    case.events = [(f"event-{number}", number) for number in waited if number not in sent]


def victim_case(random: Random, number: int) -> Case:
    """Return a workflow that ends only by being ended: in time, by a client, or by another one.

    Or it is replaced: a start of its id ends it, and begins another workflow, in one.
    """
    case = Case(f"victim-{number}", "victim", [random.random() < 0.5], {})
    match random.choice(("in time", "by a client", "by another", "replaced")):
        case "in time":
            case.timeout_ms = random.randint(1, 100_000)
            case.ends["timed_out"] = nothing
        case "by a client":
            let_stop(case, random, number)
        case "replaced":
            steps = msgspec.json.encode([[Step("double", number)]])
            case.stop = StartRun("program", steps, conflict="terminate")
            case.ends["terminated"] = nothing
        case _:
            case.ends["cancelled"] = nothing
    return case


def flaky_case(random: Random) -> Case:
    """Return a workflow that fails some times, and is told things whichever run is there."""
    fails, told = random.randint(0, 4), random.randint(0, 3)
    case = Case("flaky", "flaky", [fails, told], {}, runs=1 + fails)
    case.events = [("told", number) for number in range(told)]
    case.ends["completed"] = [1 + fails, list(range(told))].__eq__
    delay_ms = random.choice((1, 1_000, 30_000))
    case.plan = Plan(retry=RetryOptions(delay_ms, 2.0, 60_000))
    return case


def goes_on_case(random: Random) -> Case:
    """Return a workflow that goes on as new runs, and is told things whichever run is there."""
    told, each, pauses = random.randint(1, 7), random.randint(1, 3), random.choice((0, 0, 1, 4))
    case = Case("goes-on", "goes_on", [told, each, pauses, []], {})
    case.runs = pauses + (told + each - 1) // each
    case.events = [("told", number) for number in range(told)]
    case.ends["completed"] = [1, list(range(told))].__eq__
    if random.random() < 0.3:
        case.plan = Plan(start_at_ms=START_MS + random.randint(0, 100_000))
    return case


def by_the_clock_case(random: Random) -> Case:
    """Return a chain whose runs begin each minute, and which ends itself."""
    count, fails = random.randint(1, 4), random.randint(0, 4)
    case = Case("by-the-clock", "by_the_clock", [count, fails], {"cancelled": nothing})
    case.runs = count + (1 <= fails < count)
    case.plan = Plan(cron="* * * * *")
    return case


def gathers_case(random: Random, number: int) -> Case:
    """Return a workflow that fails some times, and whose last run tells in which order all came."""
    fails, told = random.randint(1, 3), random.randint(2, 5)
    case = Case(f"gathers-{number}", "gathers", [fails, told], {}, runs=1 + fails)
    case.events = [(random.choice("ab"), number) for number in range(told)]
    case.ends["completed"] = lambda result: sorted(result) == sorted(map(list, case.events))
    case.plan = Plan(retry=RetryOptions(random.choice((1, 5_000)), 2.0, 60_000))
    return case


def listener_case(random: Random) -> Case:
    """Return a class that takes signals in two ways, and is asked for what it has heard."""
    heard, doubled = range(random.randint(1, 5)), range(10, 10 + random.randint(0, 3))
    case = Case("listener", "Listener", [len(heard) + len(doubled)], {})
    case.events = [*(("hear", each) for each in heard), *(("double", each) for each in doubled)]
    case.ends["completed"] = [[*heard], [2 * each for each in doubled]].__eq__
    if random.random() < 0.5:
        case.plan = Plan(start_at_ms=START_MS + random.randint(0, 200_000))
    return case


def till_case(random: Random) -> Case:
    """Return a class that takes updates, and what it is to be told."""
    numbers = [5 * random.randint(8, 11), *random.sample(range(40), random.randint(0, 11))]
    case = Case("till", "Till", [sum(map(till.takes, numbers))], {})
    case.updates = numbers
    case.ends["completed"] = lambda booked: len(set(booked)) == len(booked)
    return case


def tally_cases(random: Random) -> list[Case]:
    """Return two tallies: the first one tells the second one of its even numbers."""
    numbers = [random.randint(1, 60) for _ in range(random.randint(2, 12))]
    even = tally.told(numbers)
    cases = []
    if even:
        arguments = tally.arguments(len(even), "")
        ends: dict[str, Right] = {"completed": tally.total(even).__eq__}
        cases.append(Case("tally-told", tally.TALLY, arguments, ends))
    arguments = tally.arguments(len(numbers), "tally-told" if even else "")
    ends = {"completed": tally.total(numbers).__eq__}
    events = [("add", number) for number in numbers]
    cases.append(Case("tally", tally.TALLY, arguments, ends, events, after=[*cases]))
    return cases


def send_messages(random: Random, author: Author, cases: list[Case]) -> None:
    """Let programs send each other events, and cancel the victims that nobody else ends."""
    programs = [case for case in cases if case.workflow == "program" and case.stop is None]
    victims = [case for case in cases if case.workflow == "victim"]
    sent: set[int] = set()
    for number, sender in enumerate(programs):
        for target in programs[:number]:
            if random.random() < 0.7:
                event = author.number()
                sent.add(event)
                target.arguments[0].append(Step("event", event))
                place = random.randint(0, len(sender.arguments[0]))
                kind = random.choice(("signal", "call"))
                sender.arguments[0].insert(place, Step(kind, event, target.workflow_id))
                sender.after.append(target)
    for victim in victims:
        if victim.timeout_ms is None and victim.stop is None:
            if programs:
                sender = random.choice(programs)
                kind = random.choice(("cancel", "call to cancel"))
                sender.arguments[0].insert(0, Step(kind, 0, victim.workflow_id))
                sender.after.append(victim)
            else:
                victim.stop = CancelRun("a test")
    for case in cases:
        if case.workflow == "program":
            raise_events(case, sent)


def account_cases(ledger: Ledger) -> list[Case]:
    """Return the accounts; nobody pays before all are open."""
    cases = []
    for name, balance in ledger.before.items():
        arguments = [balance, ledger.pays(name), ledger.credits(name)]
        ends: dict[str, Right] = {"completed": ledger.after[name].__eq__}
        events = [("entry", entry) for payer, entry in ledger.payments if payer == name]
        cases.append(Case(name, transfers.account.name, arguments, ends, events))
    return cases
