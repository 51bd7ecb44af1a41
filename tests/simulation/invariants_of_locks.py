"""What must hold of locks after every story: one holder at a time, and none in the end."""

from __future__ import annotations

from collections import Counter

import msgspec

from processor.core.entity_id import entity_of, is_entity_id
from processor.core.nouns.locks.granting import (
    HolderCalled,
    LockFreed,
    LockGranted,
    LockRequested,
    LockWithdrawn,
)
from processor.core.nouns.locks.holding import LockAnswered, LockCalled
from processor.core.nouns.run import Closing
from processor.core.nouns.update import UpdateCompleted
from processor.core.records.answers import Locked
from processor.core.records.snapshot import EntityDelta, EntitySnapshot

from .checked import Checked
from .reading import Reading, ValidTurn
from .story import Story
from .vaults import sums_wrong

__all__ = ("check_locks",)

Which = tuple[str, int]
"""The run that asked, and the number of its request."""


def check_locks(checked: Checked, story: Story, readings: list[Reading]) -> None:
    """Each lock is granted once, freed once, and nobody else works meanwhile."""
    asked: set[Which] = set()
    heard: dict[Which, int] = {}
    granted: dict[Which, int] = {}
    requests: Counter[Which] = Counter()
    balances: dict[str, int] = {}
    for reading in readings:
        for turns in reading.runs.values():
            workflow_id = turns[0].turn.workflow_id
            for _, turn, _ in turns:
                for event in turn.events:
                    match event:
                        case LockCalled(id):
                            asked.add((turn.run_id, id))
                        case LockAnswered(id, Locked(number)):
                            heard[turn.run_id, id] = number
                        case LockRequested(caller):
                            requests[caller.run_id, caller.call] += 1
                        case LockGranted(holder, number):
                            which = holder.run_id, holder.call
                            checked.that("a lock is granted once", which not in granted, event)
                            granted[which] = number
                        case _:
                            pass
            if is_entity_id(workflow_id):
                _check_entity(checked, turns)
                entity, last = entity_of(workflow_id), turns[-1].turn
                if entity is not None and entity.name == "Vault":
                    assert isinstance(last, EntitySnapshot | EntityDelta), (
                        f"{workflow_id} is at rest"
                    )
                    balances[entity.key] = msgspec.json.decode(last.value or b"{}")["balance"]
    again = [which for which, count in requests.items() if count > 1]
    checked.that("a request for a lock counts once", not again, again)
    checked.that("no lock comes from nowhere", requests.keys() <= asked, requests, asked)
    for which, number in heard.items():
        checked.that("a holder knows its number", granted.get(which) == number, which, number)
    wrong = sums_wrong(story.cases, balances)
    checked.that("money is neither made nor lost under locks", not wrong, wrong)


def _check_entity(checked: Checked, turns: list[ValidTurn]) -> None:
    """Of one entity: numbers grow, only the holder's calls end meanwhile, and all is freed."""
    held, last, waits = 0, 0, set()
    ours: dict[str, int] = {}
    for _, turn, _ in turns:
        for event in turn.events:
            match event:
                case LockRequested(caller):
                    waits.add(caller)
                case LockWithdrawn(caller):
                    waits.discard(caller)
                case LockGranted(holder, number):
                    checked.that("an entity has one holder", not held, turn, held)
                    checked.that("the numbers of locks grow", number > last, turn, last)
                    held = last = number
                    waits.remove(holder)
                case LockFreed(number):
                    checked.that("what is freed is the lock that is held", held == number, turn)
                    held = 0
                case HolderCalled(id, number=number):
                    checked.that("a holder calls under its lock", held == number, turn, held)
                    ours[id] = number
                case UpdateCompleted(id):
                    only = not held or ours.get(id) == held
                    checked.that("nobody else works under a lock", only, turn, held)
                case Closing():
                    held, waits = 0, set()
                case _:
                    pass
    checked.that("nothing stays locked", not held and not waits, turns[-1], held, waits)
