"""Stories that aim at what the others come upon too seldom: a takeover in the middle of something.

There is much at the same time that has a middle: calls, chains of runs, what is published. What is
on its way is late. Then either processes die in the middle (``TORN``), or live on while others
claim their shards (``CLAIMED``).
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Final

from processor.simulation.faults import ROUGH, Faults

from .cases import Case, flaky_case, gathers_case, program_case
from .programs import Author, Step

__all__ = ("CLAIMED", "TORN", "trouble_cases", "troubles_of")

TORN: Final = replace(
    ROUGH,
    crash=0.0003,
    pause=0.0003,
    host_crash=0.002,
    host_pause=0.0005,
    rebalance=0.001,
    second_owner=0.0,
    crash_sending=0.15,
    torn=0.08,
    late=0.3,
    late_ms_max=20_000,
    outage=0.0,
    undecided=0.02,
    back_up=0.001,
    look=0.003,
    blows_max=12,
)
CLAIMED: Final = replace(
    ROUGH,
    crash=0.0,
    pause=0.0,
    host_crash=0.0,
    host_pause=0.0,
    second_owner=0.004,
    claimed=0.01,
    late=0.1,
    late_transaction=0.6,
    late_ms_max=20_000,
    unknown_offset=0.5,
    commit_unknown=0.05,
    output_refused=0.03,
    outage=0.0,
    clock_jump=0.0,
    undecided=0.02,
    back_up=0.001,
    look=0.003,
    blows_max=14,
)

_PROGRAMS: Final = 3
_CALLS: Final = 2
_WAITS: Final = ("double", "sleep")


def troubles_of(seed: int) -> Faults | None:
    """Return the faults of a story that aims at something."""
    return {8: TORN, 18: CLAIMED}.get(seed % 20)


def trouble_cases(random: Random) -> list[Case]:
    """Return programs that publish and call each other, and chains of runs."""
    author = Author(random)
    cases = [program_case(_steps(random, author), number) for number in range(_PROGRAMS)]
    for number, sender in enumerate(cases):
        for target in cases[:number]:
            for _ in range(_CALLS):
                _call(random, author.number(), sender, target)
    cases.append(flaky_case(random))
    cases += [gathers_case(random, number) for number in range(2)]
    return cases


def _steps(random: Random, author: Author) -> list[Step]:
    """Return a program that publishes again and again, a turn each."""
    kinds = [kind for _ in range(4) for kind in ("publish", random.choice(_WAITS))]
    return [Step(kind, author.number()) for kind in kinds]


def _call(random: Random, event: int, sender: Case, target: Case) -> None:
    """Let a program tell another one something, and wait for the answer."""
    target.arguments[0].append(Step("event", event))
    place = random.randint(0, len(sender.arguments[0]))
    sender.arguments[0].insert(place, Step("call", event, target.workflow_id))
    sender.after.append(target)
