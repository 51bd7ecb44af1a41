"""Locks: workflows move money between vaults, and guards walk into safes, one after the other.

Whoever looks into all vaults under a lock finds the same sum. A safe notes the number of the lock
under which somebody came in: one that is lower than the last, or a step that is not the next one,
was let in beside its holder.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final

from processor import ApplicationError, LockLost, entity, workflow
from processor.core.entity_id import EntityId
from processor.core.inputs import ClientCommand
from processor.core.nouns.locks.granting import UnlockEntity
from processor.core.records.answers import ReplyBody
from processor.simulation.clients import SimulatedClient

from . import deeds, purses
from .cases import Case, let_stop, nothing
from .customers import customers
from .purses import payer_cases, purses_of

if TYPE_CHECKING:
    from .story import Story

__all__ = ("BEGIN", "ENTITIES", "WORKFLOWS", "called", "entity_cases", "sums_wrong")

BEGIN: Final = 100
"""What each vault has at first."""

_STORIES: Final = 0.25
"""In so many stories there are vaults, and in so many there are safes."""


@entity.define
class Vault:
    balance: int = BEGIN

    def look(self) -> int:
        return self.balance

    def add(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    async def add_slowly(self, amount: int) -> int:
        await asyncio.sleep(amount % 7)
        self.balance += amount
        return self.balance


@entity.define
class Safe:
    number: int = 0
    step: int = 0
    touched: int = 0

    def enter(self, number: int, step: int) -> int:
        if number < self.number or step != (self.step if number == self.number else 0) + 1:
            raise ApplicationError(f"{number}/{step} after {self.number}/{self.step}")
        self.number, self.step = number, step
        return self.touched

    def touch(self) -> None:
        self.touched += 1


@dataclass
class Move:
    """``vaults`` are in the order in which they are named. ``within``: seconds, 0 for no limit."""

    vaults: list[str]
    amount: int
    how: str
    within: int


@workflow.define
async def teller(moves: list[Move]) -> list[Any]:
    told: list[Any] = []
    for move in moves:
        try:
            told.append(await _moved(move))
        except TimeoutError:
            told.append("given up")
        except ApplicationError as error:
            told.append(str(error))
    return told


async def _moved(move: Move) -> Any:
    lock = workflow.lock(*(entity.at(Vault, each) for each in move.vaults))
    async with asyncio.timeout(move.within or None) as limit, lock:
        limit.reschedule(None)
        first, last = move.vaults[0], move.vaults[-1]
        found = [await workflow.call_entity(Vault.look, each) for each in move.vaults]
        if move.how == "audit":
            return sum(found)
        if move.how == "fails":
            raise ApplicationError("it came to nothing")
        await workflow.call_entity(Vault.add, first, -move.amount)
        if move.how == "slowly":
            await deeds.double(move.amount)
            return await workflow.call_entity(Vault.add_slowly, last, move.amount)
        return await workflow.call_entity(Vault.add, last, move.amount)


@workflow.define
async def guard(safe: str, rounds: int, pause: int, within: int, goes_on: bool) -> list[str]:
    told: list[str] = []
    for _ in range(rounds):
        try:
            async with (
                asyncio.timeout(within or None),
                workflow.lock(entity.at(Safe, safe)) as lock,
            ):
                await _walk(safe, lock.number(entity.at(Safe, safe)), pause)
                if goes_on:
                    workflow.continue_as_new(safe, rounds, pause, within, False)
            told.append("done")
        except LockLost:
            told.append("lost")
        except TimeoutError:
            told.append("given up")
    return told


async def _walk(safe: str, number: int, pause: int) -> None:
    found = set()
    for step in (1, 2, 3):
        found.add(await workflow.call_entity(Safe.enter, safe, number, step))
        await asyncio.sleep(pause)
    if len(found) != 1:
        raise ApplicationError(f"somebody was in {safe} beside {number}")


@workflow.define
async def touches(safe: str, times: int) -> int:
    for number in range(times):
        if number % 2:
            await workflow.signal_entity(Safe.touch, safe)
        else:
            await workflow.call_entity(Safe.touch, safe)
    return times


ENTITIES: Final = (*purses.ENTITIES, Vault, Safe)
WORKFLOWS: Final = (*purses.WORKFLOWS, teller, guard, touches)


class Operator:
    """Frees a safe now and then, whoever is in it."""

    def __init__(self, client: SimulatedClient, safe: str) -> None:
        self._client = client
        self._safe = EntityId("Safe", safe).workflow_id

    def frees(self) -> None:
        command = ClientCommand(self._safe, UnlockEntity("a test"))
        self._client.request(command, self._heard)

    def _heard(self, reply: ReplyBody) -> None:
        """It may be that nobody has been there yet."""


# --- the model --------------------------------------------------------------------------------


def _fits(moves: list[Move], told: Any) -> bool:
    """Return whether each was told what it may be."""
    for move, answer in zip(moves, told, strict=True):
        match move.how:
            case _ if answer == "given up":
                right = bool(move.within)
            case "audit":
                right = answer == BEGIN * len(move.vaults)
            case "fails":
                right = answer == "it came to nothing"
            case _:
                right = isinstance(answer, int)
        if not right:
            return False
    return True


def called(cases: list[Case]) -> set[str]:
    """Return the workflow ids of the vaults and safes that are certainly there in the end."""
    found = set()
    for case in cases:
        if case.workflow == "teller":
            found |= {EntityId("Vault", name).workflow_id for name in case.arguments[0][0].vaults}
        elif case.workflow == "touches":
            found.add(EntityId("Safe", case.arguments[0]).workflow_id)
    return found


def sums_wrong(cases: list[Case], balances: dict[str, int]) -> str:
    """Return what is wrong with what the vaults have in the end; "" where nothing is."""
    if not any(case.workflow == "teller" for case in cases):
        return ""
    total = sum(balances.values())
    return "" if total == BEGIN * len(balances) else f"{balances} are {total} together"


def entity_cases(story: Story) -> list[Case]:
    """Return what works with entities in a story."""
    seed = story.seed
    cases = payer_cases(Random(f"purses {seed}"), story.told)
    story.customers = customers(story, purses_of(cases))
    cases += _teller_cases(Random(f"vaults {seed}"))
    return cases + _guard_cases(Random(f"safes {seed}"), story)


def _teller_cases(random: Random) -> list[Case]:
    if random.random() >= _STORIES:
        return []
    vaults = [f"vault-{number}" for number in range(random.randint(2, 4))]
    cases = []
    for number in range(random.randint(2, 4)):
        moves = [Move(random.sample(vaults, len(vaults)), 0, "audit", 0)]
        for _ in range(random.randint(1, 5)):
            chosen = random.sample(vaults, random.randint(2, len(vaults)))
            how = random.choice(("plain", "plain", "slowly", "slowly", "audit", "fails"))
            if how == "audit":
                chosen = random.sample(vaults, len(vaults))
            within = random.choice((0, 0, 1, 10, 60))
            moves.append(Move(chosen, random.randint(1, 50), how, within))
        case = Case(f"teller-{number}", "teller", [moves], {})
        case.ends["completed"] = lambda told, own=moves: _fits(own, told)
        cases.append(case)
    return cases


def _guard_cases(random: Random, story: Story) -> list[Case]:
    """Return guards of one safe, and one who comes in between; sometimes an operator frees it."""
    if random.random() >= _STORIES:
        return []
    safe = "safe"
    cases = [Case("touches", "touches", [safe, random.randint(1, 6)], {})]
    cases[0].ends["completed"] = cases[0].arguments[1].__eq__
    freed = random.random() < 0.5
    for number in range(random.randint(1, 4)):
        rounds, pause = random.randint(1, 3), random.choice((0, 1, 10))
        within = random.choice((0, 0, 0, 1, 20))
        goes_on = not freed and not within and random.random() < 0.4
        case = Case(f"guard-{number}", "guard", [safe, rounds, pause, within, goes_on], {})
        may = {"done", *(["given up"] if within else []), *(["lost"] if freed else [])}
        case.ends["completed"] = lambda told, may=may: may.issuperset(told)
        case.runs = 1 + goes_on
        if random.random() < 0.3 and not goes_on:
            let_stop(case, random, number)
        elif random.random() < 0.2 and not goes_on:
            case.timeout_ms = random.randint(1, 60_000)
            case.ends["timed_out"] = nothing
        cases.append(case)
    if freed:
        operator = Operator(story.world.client("operator"), safe)
        for _ in range(random.randint(1, 6)):
            delay_ms = random.randint(0, 90_000)
            story.world.scheduler.after(delay_ms, "an operator", operator.frees)
    return cases
