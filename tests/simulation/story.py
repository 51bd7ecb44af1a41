"""One seeded story: clients that start workflows in a world where hosts and records fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any
from unittest.mock import patch

from processor.codec.records import LEVEL
from processor.config import Settings
from processor.core.inputs import ClientCommand
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.start import StartPlanned
from processor.core.nouns.timer import StartNow
from processor.core.questions import AwaitResult, QueryRun
from processor.core.records.answers import Accepted, Closed, QueryAnswered, Refused, ReplyBody
from processor.shard import dedup
from processor.shard.intake import handover
from processor.simulation.clients import SimulatedClient
from processor.simulation.faults import ROUGH, Faults, swarm
from processor.simulation.hosts.host import Code
from processor.simulation.world import World
from processor.workflow._engine.runners import WorkflowRunners
from processor.workflow._guard import guard as _guard

from . import keys, programs, transfers
from .asking import asker_case
from .cases import (
    Case,
    account_cases,
    by_the_clock_case,
    flaky_case,
    goes_on_case,
    listener_case,
    order_case,
    program_case,
    send_messages,
    tally_cases,
    till_case,
    victim_case,
)
from .chaos import Chaos
from .customers import Customer, Told
from .families import family_case
from .outside import Outside
from .programs import Author, Step
from .promised import Keeper
from .registered import PAYLOADS, registered
from .services import service_cases
from .shipments import shipment_cases
from .strangers import Contest, Foreign, Rival, Sent, Stranger
from .tally import TallyRunners
from .till import Buyer, first_of, wrong
from .transfers import Ledger
from .troubles import trouble_cases, troubles_of
from .vaults import entity_cases

__all__ = ("PAYLOADS", "Story", "what_is_remembered")

_guard.install()
_ACCOUNT = transfers.account.name
_WITH_KEYS = ("program", "flaky", "gathers", "goes_on", "order_processing")
_CHAINS = (_ACCOUNT, "flaky", "gathers", "goes_on", "Listener")
"""Workflows that end when all has come."""
_FEW = 3
"""So many clients, ids and refusals are remembered by the shards of some stories."""
_REPLY_LOST = 0.3
"""Of the answers in these stories: clients ask again when they are forgotten."""


@contextmanager
def what_is_remembered(kept: int, kept_max: int) -> Iterator[None]:
    """Let the shards of this process remember so much; afterwards as much as they did before."""
    of_dedup = patch.multiple(dedup, KEPT=kept, KEPT_MAX=kept_max)
    with of_dedup, patch.object(handover, "KEPT_MAX", 10_000):
        yield


class Story:
    """``run`` plays it to its end; the world is then at rest.

    ``faults`` are all of them or, by the seed, a part. ``cases`` are drawn where none are given.
    What shards remember is set until the next story, or the end of ``what_is_remembered``: whoever
    checks a story folds its logs once more, as its shards did.
    """

    def __init__(
        self,
        seed: int,
        faults: Faults | None = None,
        settings: Settings | None = None,
        cases: list[Case] | None = None,
    ) -> None:
        self.seed = seed
        self.asked = 0
        self.succeeded = 0
        self._waiting: list[tuple[list[Case], Callable[[], None]]] = []
        self.forgetful = seed % 8 == 5
        dedup.KEPT = dedup.KEPT_MAX = _FEW if self.forgetful else 1_000
        handover.KEPT_MAX = 2 if seed % 3 == 1 else 10_000
        random = self._random = Random(f"story {seed}")
        troubles = troubles_of(seed) if faults is None and cases is None else None
        self._troubled = troubles is not None
        faults = troubles or faults
        if faults is None:
            faults = ROUGH if random.random() < 0.5 else swarm(random)
            if self.forgetful:  # whoever is told that a request is expired has to look by himself
                faults = replace(faults, refused=0.0, reply_lost=_REPLY_LOST)
        settings = settings or Settings(
            cached_runs_max=random.choice((0, 2, 1_000)),
            max_activities=random.choice((16, 1_000)),
            turns_in_flight_max=2 if seed % 4 == 3 else 2_000,
        )
        how = random.choice((1, 2, 3)), faults, settings
        self.world = World(seed, *how, watched=True, mirrored=True)
        registry = registered()
        runners = TallyRunners(WorkflowRunners(registry, settings))
        self.code = Code(registry, runners, ("default", "far"))
        hosts = [f"host-{n}" for n in range(3 if self._troubled else random.choice((1, 2, 3)))]
        workers = [f"worker-{number}" for number in range(random.choice((0, 0, 1, 2)))]
        self.upgrades = self._troubled or (len(hosts) > 1 and random.random() < 0.2)
        for name in (*hosts, *workers):
            self.world.host(name, self._code_of(name == hosts[-1]))
        for partition in range(self.world.broker.partitions):
            self.world.assign(partition, random.choice(hosts))
        self.ledger: Ledger | None = None
        self.contest: Contest | None = None
        self.strangers: list[Foreign | Stranger] = []
        self.lost: list[ClientCommand] = []
        self.foreign: list[ClientCommand] = []
        self.rivals: list[Rival] = []
        self.buyers: list[Buyer] = []
        self.customers: list[Customer] = []
        self.told: Told = {}
        self.outside: Outside | None = None
        self.keeper: Keeper | None = None
        self.cases = self._draw() if cases is None else cases
        self.chaos = Chaos(self.world)
        self._draw_vain(Random(f"vain {seed}"))
        apart = Random(f"family {seed}")
        if cases is None and apart.random() < 0.2:
            self.cases.append(family_case(apart, self.cases, Random(f"abroad {seed}")))
        apart = Random(f"asker {seed}")
        if cases is None and not self._troubled and apart.random() < 0.25:
            self.cases.append(asker_case(apart, [*self.cases]))
        if cases is None and not self._troubled:
            self.cases += [*entity_cases(self), *shipment_cases(self), *service_cases(self)]
        self._mends_ms = self._draw_bug(Random(f"bug {seed}"))
        programs.RELEASE.mended = self._mends_ms is None

    def _code_of(self, is_last: bool) -> Code:
        """Return what a host runs: where there is an upgrade, the last one has the old release."""
        if not self.upgrades:
            return self.code
        return replace(self.code, level=LEVEL if is_last else LEVEL + 1)

    def encode(self, value: Any) -> bytes | None:
        return PAYLOADS.encode(value)

    def run(self) -> None:
        scripts = {}
        for number, case in enumerate(self.cases):
            client = self.world.client(f"client-{number}")
            scripts[case.workflow_id] = _Script(self, client, case)
        for script in scripts.values():
            script.begin()
        clients = [script.client for script in scripts.values()]
        clients += [rival.client for rival in self.rivals]
        clients += [each.client for each in (*self.buyers, *self.customers)]
        if self.outside is not None:
            clients.append(self.outside.client)
        if self.keeper is not None:
            clients += self.keeper.clients
        if self.contest is not None:
            clients += [entrant.client for entrant in self.contest.entrants]
            self.contest.begin()
        for stranger in self.strangers:
            self.once_started(self.cases, stranger.begin)
        if self.upgrades:
            self.chaos.upgrade_after(self._random.randint(0, 60_000))
        if self._mends_ms is not None:
            self.chaos.release_after(self._mends_ms, programs.RELEASE)
        self.chaos.run(
            lambda: (
                all(case.closed is not None for case in self.cases)
                and (self.contest is None or self.contest.done)
                and all(each.done for each in (*self.buyers, *self.customers))
                and not any(client.waiting for client in clients)
            )
        )

    def close(self) -> None:
        self.world.close()

    def once_started(self, cases: list[Case], then: Callable[[], None]) -> None:
        """Call back when all of these are started."""
        self._waiting.append((cases, then))
        self.look_again()

    def look_again(self) -> None:
        """Call back those whose cases are started by now."""
        waiting, self._waiting = self._waiting, []
        for cases, then in waiting:
            if all(case.started for case in cases):
                then()
            else:
                self._waiting.append((cases, then))

    # --- what is in it ------------------------------------------------------------------------

    def _draw(self) -> list[Case]:
        random, faults = self._random, self.world.faults
        cases: list[Case] = []
        if self._troubled:
            cases = trouble_cases(random)
            self._draw_strangers(cases)
            return cases
        if random.random() < 0.4:
            self.ledger = transfers.draw(random)
            cases += account_cases(self.ledger)
        if random.random() < 0.4:
            hurried = faults.outage > 0 or faults.clock_jump > 0
            orders_count = random.randint(1, 2)
            cases += [order_case(random, each, hurried=hurried) for each in range(orders_count)]
        if random.random() < 0.6 or not cases:
            author = Author(random)
            programs_count, victims_count = random.randint(1, 3), random.randint(0, 2)
            cases += [program_case(author.write(), each, random) for each in range(programs_count)]
            cases += [victim_case(random, each) for each in range(victims_count)]
            send_messages(random, author, cases)
        if random.random() < 0.3:
            cases += tally_cases(random)
        if random.random() < 0.3:
            cases.append(flaky_case(random))
        apart = Random(f"listener {self.seed}")
        if apart.random() < 0.2:
            cases.append(listener_case(apart))
        apart = Random(f"till {self.seed}")
        if apart.random() < 0.25:
            cases.append(self._till(apart))
        apart = Random(f"goes on {self.seed}")
        if apart.random() < 0.2:
            cases.append(goes_on_case(apart))
        apart = Random(f"each minute {self.seed}")
        if apart.random() < 0.15:
            cases.append(by_the_clock_case(apart))
        self._draw_strangers(cases)
        apart = Random(f"parcels {self.seed}")
        if apart.random() < 0.12:
            client = self.world.client("outside")
            self.outside = Outside(apart, client, self.world.scheduler, self.encode)
            cases.append(self.outside.case)
        apart = Random(f"promises {self.seed}")
        if apart.random() < 0.15:
            own = [self.world.client(f"keeper-{number}") for number in range(2)]
            self.keeper = Keeper(apart, own, self.world.scheduler, self.encode)
            cases.append(self.keeper.case)
        return cases

    def _till(self, random: Random) -> Case:
        """Return a till, with one or two who send it each update."""
        case = till_case(random)
        for number in case.updates:
            for copy in range(random.choice((1, 1, 2))):
                client = self.world.client(f"buyer-{number}-{copy}")
                given = self.world.scheduler, random, case.workflow_id, number, case.outcomes
                self.buyers.append(Buyer(client, *given))
        return case

    def _draw_vain(self, random: Random) -> None:
        """Let programs tell nobody something, and not wait: as their first or their last step."""
        for number, case in enumerate(self.cases):
            if case.workflow == "program" and random.random() < 0.2:
                steps = case.arguments[0]
                place = random.choice((0, len(steps)))
                steps.insert(place, Step("call in vain", 1_000_000 + number))

    def _draw_bug(self, random: Random) -> int | None:
        """Let a flaky workflow meet a bug, which parks it; return when a release mends that."""
        if self.upgrades:  # its last host has an old release, to which a shard cannot go back
            return None
        for case in self.cases:
            if case.workflow == "flaky" and case.runs > 1 and random.random() < 0.5:
                case.arguments.append(random.randint(1, case.runs - 1))
                return random.randint(10_000, 120_000)
        return None

    def _draw_strangers(self, cases: list[Case]) -> None:
        """Let others send some of the events, and get in the way."""
        random = self._random
        foreign: list[Sent] = []
        by_hand: list[Sent] = []
        for case in cases:
            for event in list(case.events):
                to = random.choice((None, None, None, foreign, by_hand))
                if to is not None and case.stop is None and case.workflow in ("program", "tally"):
                    case.events.remove(event)
                    to.append((case.workflow_id, *event))
        if foreign:
            other = Foreign(self, random, foreign)
            self.strangers.append(other)
            self.foreign = other.commands
        lost = random.choice((0, 0, 1, 2, 12))
        if by_hand or lost:
            stranger = Stranger(self, random, by_hand, lost)
            self.strangers.append(stranger)
            self.lost = stranger.lost
        for number, case in enumerate(cases):
            if random.random() < 0.2:
                client = self.world.client(f"rival-{number}")
                self.rivals.append(Rival(client, case.workflow_id, case.workflow))
        if random.random() < 0.4:
            sleep_ms = random.randint(1, random.choice((100, 20_000)))
            steps = PAYLOADS.encode([[Step("sleep", sleep_ms)]])
            self.contest = Contest(self.world, random, steps)
            for number in range(random.randint(2, 8)):
                self.contest.enter(self.world.client(f"entrant-{number}"))


class _Script:
    """What the client of one case does: start it, raise its events, end it, await its result."""

    def __init__(self, story: Story, client: SimulatedClient, case: Case) -> None:
        self._story = story
        self._scheduler = story.world.scheduler
        self._random = Random(f"{story.seed} {case.workflow_id}")
        self.client = client
        self._case = case
        self._chain: str | None = None
        self._with_keys: list[ClientCommand] = []

    def begin(self) -> None:
        if self._case.workflow in _WITH_KEYS and not self._story.forgetful:
            self._with_keys = keys.with_keys(self._story.seed, self._case)
            for command in self._with_keys:
                self._ask(command, partial(self._copied, command))
        self._scheduler.after(self._random.randint(0, 5_000), "a start", self._start)

    def _start(self) -> None:
        """Start it, as soon as those are there that it sends messages to."""
        self._story.once_started(self._case.after, self._start_now)

    def _start_now(self) -> None:
        case = self._case
        arguments = PAYLOADS.encode(case.arguments)
        within_ms = self._random.choice((None, 100, 3_600_000))
        body = StartPlanned(
            case.workflow,
            arguments,
            reuse="reject",
            execution_timeout_ms=case.timeout_ms,
            result_within_ms=within_ms,
            plan=case.plan,
        )
        self._ask(ClientCommand(case.workflow_id, first_of(case.updates, body)), self._started)

    def _started(self, reply: ReplyBody) -> None:
        was_started = isinstance(reply, Accepted | Closed) or self._expired(reply)
        assert was_started, f"{self._case.workflow_id} was not started: {reply}"
        self._case.started = True
        self._story.look_again()
        if self._case.updates:
            for buyer in self._story.buyers:
                self._scheduler.after(self._random.randint(0, 60_000), "a buyer", buyer.begin)
        for rival in self._story.rivals:
            if rival.workflow_id == self._case.workflow_id:
                delay_ms = self._random.randint(0, 60_000)
                self._scheduler.after(delay_ms, "a rival", rival.begin)
        if isinstance(reply, Closed):
            self._closed(reply)
            return
        chain = self._chain = reply.run_id if isinstance(reply, Accepted) else None
        waits = AwaitResult(first_run_id=chain)
        self._ask(ClientCommand(self._case.workflow_id, waits), self._closed)
        if self._case.stop is not None:
            self._later(ClientCommand(self._case.workflow_id, self._case.stop))
        if self._case.plan is not None and self._random.random() < 0.5:
            begin_now = ClientCommand(self._case.workflow_id, StartNow(first_run_id=chain))
            self._later(begin_now, self._begun)
        accounts = [other for other in self._story.cases if other.workflow == _ACCOUNT]
        others = accounts if self._case.workflow == _ACCOUNT else []
        self._story.once_started(others, self._raise_events)

    def _raise_events(self) -> None:
        """Raise them at various times; accounts are told to pay when all of them are open."""
        for _ in range(2):  # one copy counts, or the one before the start
            for command in self._with_keys:
                self._later(command, partial(self._copied, command))
        for name, value in self._case.events[len(self._with_keys) :]:
            raised = RaiseEvent(name, PAYLOADS.encode(value))
            heard = partial(self._heard, value) if name == "hear" else self._answered
            self._later(ClientCommand(self._case.workflow_id, raised), heard)

    def _copied(self, command: ClientCommand, reply: ReplyBody) -> None:
        """One copy counts: the others may find no run any more, or not yet."""
        if isinstance(reply, Refused):
            known = "CommandRejected", "WorkflowNotFound", "RequestExpired"
            assert reply.error in known, f"{self._case}: {reply}"
            self._story.asked -= 1
        elif (misused := keys.misused(self._story.seed, command)) is not None:
            self.client.request(misused, keys.refused_as_misused)

    def _begun(self, reply: ReplyBody) -> None:
        """Only a run that has begun is not let begin."""
        if isinstance(reply, Refused):
            known = reply.error == "CommandRejected" or self._expired(reply)
            assert known, f"{self._case}: {reply}"
            self._story.asked -= 1

    def _heard(self, value: int, reply: ReplyBody) -> None:
        """Ask what the listener has heard: what was acknowledged before is in it."""
        self._answered(reply)
        if isinstance(reply, Accepted):
            question = ClientCommand(self._case.workflow_id, QueryRun("so_far"))
            self._ask(question, partial(self._told, value))

    def _told(self, value: int, reply: ReplyBody) -> None:
        if isinstance(reply, Refused) and "its history was purged" in reply.message:
            self._story.asked -= 1
            return
        assert isinstance(reply, QueryAnswered), f"{self._case}: {reply}"
        told = PAYLOADS.decoder(list[int])(reply.result)
        assert value in told, f"a query sees what was taken before it: {value} in {told}"

    def _later(
        self, command: ClientCommand, answered: Callable[[ReplyBody], None] | None = None
    ) -> None:
        delay_ms = self._random.randint(0, 60_000)
        answered = answered or self._answered

        def send() -> None:
            self._ask(command, answered)
            if self._case.workflow == "gathers":
                self._look()

        self._scheduler.after(delay_ms, "a command", send)

    def _look(self) -> None:
        """Ask a run of a chain, or its latest one, what it has heard by now."""
        which = self._random.choice(((None, None), (None, self._chain), (self._chain, None)))
        question = QueryRun("so_far", None, *which)
        self._ask(ClientCommand(self._case.workflow_id, question), self._seen)

    def _seen(self, reply: ReplyBody) -> None:
        """A run that has not begun has no query yet, and one that was purged has none any more."""
        if not isinstance(reply, QueryAnswered):
            assert isinstance(reply, Refused), reply
            assert reply.error in ("QueryFailed", "WorkflowNotFound"), reply
            self._story.asked -= 1

    def _ask(self, command: ClientCommand, answered: Callable[[ReplyBody], None]) -> None:
        def counted(reply: ReplyBody) -> None:
            self._story.succeeded += not isinstance(reply, Refused)
            answered(reply)

        self._story.asked += 1
        self.client.request(command, counted)

    def _answered(self, reply: ReplyBody) -> None:
        """Only what comes when the run is over is refused; accounts end when all has come."""
        if self._expired(reply):
            self._story.asked -= 1
        elif isinstance(reply, Refused):
            takes_all = self._case.workflow in _CHAINS
            late = reply.error == "CommandRejected" and not takes_all
            assert late, f"a chain takes what it is told: {self._case}: {reply}"
            self._story.asked -= 1

    def _expired(self, reply: ReplyBody) -> bool:
        """Return whether the shard has forgotten this client, whose request has counted."""
        is_expired = isinstance(reply, Refused) and reply.error == "RequestExpired"
        return is_expired and self._story.forgetful

    def _closed(self, reply: ReplyBody) -> None:
        assert isinstance(reply, Closed), f"{self._case.workflow_id}: {reply}"
        self._case.closed = reply
        if self._case.updates:
            assert not wrong(reply, self._case.outcomes), wrong(reply, self._case.outcomes)
        self._story.chaos.purgeable.append((self._case.workflow_id, reply.run_id))
