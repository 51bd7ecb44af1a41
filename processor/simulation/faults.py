"""Which faults a simulated world has, and how often: the one place that names them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from random import Random
from typing import Final

__all__ = ("CALM", "PER_HOST", "ROUGH", "Faults", "swarm")


@dataclass(frozen=True)
class Faults:
    """The probability of each kind, per occasion.

    Inside a port call (before its effect, or after it), while ``blows_max`` last:

    - ``crash``: the process ends there, and with it all that is in its memory
    - ``pause``: the process stands still there, and goes on up to ``pause_ms_max`` later
    - ``crash_sending``: the process ends in a call that sends something
    - ``torn``: it ends while some of the records that it appends have arrived, and some have not

    Of a record or an answer:

    - ``duplicated``: it is delivered twice
    - ``late``: it stands still on its way, and what is behind it on the same way too
    - ``late_transaction``: the same of a publisher's transaction
    - ``unknown_offset``: an append is acknowledged without its offset
    - ``stray``: what a dead or dismissed owner still had on its way arrives long after
    - ``reply_lost``: a client never sees an answer
    - ``refused``: Kafka refuses a client's command, and takes those behind it
    - ``partial_take``: an inbox hands out less than it has
    - ``commit_unknown``: a publisher does not learn how its transaction ended
    - ``output_refused``: a record of a transaction is refused, for now or for good
    - ``topic_missing``: the topic of a record that workflow code publishes is not there (yet)
    - ``undecided``: deciding an input fails, and succeeds when it is tried once more
    - ``answer_twice``, ``answer_late``: of an activity worker; late is after many a time-out

    Of hosts, per step, while ``blows_max`` last:

    - ``host_crash``, ``host_pause``: the same as above, between two steps of the process
    - ``worker_death``: the activities of a host die, its shards do not
    - ``rebalance``: a shard goes to another host, and the owner before hears of it later
    - ``second_owner``: the same, and the owner before does not hear of it
    - ``claimed``: somebody who had a shard long ago claims it once more, and dies

    Besides:

    - ``outage``: a crash or a pause lasts for days
    - ``wiped``, ``stale``: a crash loses a state directory, or sets it back
    - ``back_up``: a copy is made of a state directory, for ``stale`` (per step)
    - ``clock_jump``: a host's clock goes an hour forth, or back to the right time (per step)
    - ``compaction``: a cleaner passes over ``events``, or dies in the middle (per step)
    - ``purge``: somebody gives up the history of a run that is over (per step)
    - ``look``: somebody asks a shard about itself, which writes a mark (per step)
    - ``retention``: the inputs lose what the log has turns of already (per step)
    - ``unreadable``: what is no record arrives among the commands (per step)
    """

    crash: float = 0.0
    pause: float = 0.0
    duplicated: float = 0.0
    late: float = 0.0
    unknown_offset: float = 0.0
    stray: float = 0.0
    reply_lost: float = 0.0
    refused: float = 0.0
    partial_take: float = 0.0
    commit_unknown: float = 0.0
    output_refused: float = 0.0
    topic_missing: float = 0.0
    undecided: float = 0.0
    answer_twice: float = 0.0
    answer_late: float = 0.0
    unreadable: float = 0.0
    host_crash: float = 0.0
    host_pause: float = 0.0
    worker_death: float = 0.0
    rebalance: float = 0.0
    second_owner: float = 0.0
    outage: float = 0.0
    wiped: float = 0.0
    stale: float = 0.0
    back_up: float = 0.0
    clock_jump: float = 0.0
    compaction: float = 0.0
    purge: float = 0.0
    look: float = 0.0
    retention: float = 0.0
    crash_sending: float = 0.0
    torn: float = 0.0
    late_transaction: float = 0.0
    claimed: float = 0.0
    blows_max: int = 0
    pause_ms_max: int = 60_000
    late_ms_max: int = 5_000


PER_HOST: Final = (
    *("host_crash", "host_pause", "worker_death", "rebalance", "second_owner", "claimed"),
)
"""What befalls hosts between steps, in the order in which the seed is asked."""

CALM: Final = Faults()
ROUGH: Final = Faults(
    crash=0.001,
    pause=0.0007,
    duplicated=0.05,
    late=0.02,
    unknown_offset=0.03,
    stray=0.5,
    reply_lost=0.05,
    refused=0.05,
    partial_take=0.3,
    commit_unknown=0.1,
    output_refused=0.1,
    topic_missing=0.1,
    undecided=0.06,
    answer_twice=0.05,
    answer_late=0.05,
    unreadable=0.002,
    host_crash=0.002,
    host_pause=0.002,
    worker_death=0.001,
    rebalance=0.003,
    second_owner=0.003,
    outage=0.1,
    wiped=0.2,
    stale=0.3,
    back_up=0.005,
    clock_jump=0.003,
    compaction=0.01,
    purge=0.003,
    look=0.01,
    retention=0.002,
    blows_max=6,
)

_LIMITS: Final = ("blows_max", "pause_ms_max", "late_ms_max")
_AIMED: Final = ("crash_sending", "torn", "late_transaction", "claimed")
"""For stories that aim at something."""


def swarm(random: Random, faults: Faults = ROUGH) -> Faults:
    """Return a part of the faults: some states are reached only where others stay out."""
    kinds = [field.name for field in fields(faults) if field.name not in (*_LIMITS, *_AIMED)]
    kept = {kind: getattr(faults, kind) for kind in kinds if random.random() < 0.5}
    limits = {limit: getattr(faults, limit) for limit in _LIMITS}
    return Faults(**kept, **limits)
