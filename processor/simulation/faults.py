"""Which faults a simulated world has, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ("CALM", "ROUGH", "Faults")


@dataclass(frozen=True)
class Faults:
    """Probabilities, each per occasion, and how many blows hosts take in all.

    ``duplicated``: a record is delivered twice. ``unknown_offset``: an append is acknowledged
    without its offset. ``reply_lost``: a client never sees an answer. ``partial_take``: an inbox
    hands out less than it has. ``blow``: per step, something happens to a host: it crashes,
    pauses, or another one is given its shard, until ``blows_max`` are spent. ``wiped``,
    ``stale``: what a crash does to the state directories.
    """

    duplicated: float = 0.0
    unknown_offset: float = 0.0
    reply_lost: float = 0.0
    partial_take: float = 0.0
    blow: float = 0.0
    blows_max: int = 0
    wiped: float = 0.0
    stale: float = 0.0
    pause_ms_max: int = 60_000


CALM: Final = Faults()
ROUGH: Final = Faults(
    duplicated=0.05,
    unknown_offset=0.03,
    reply_lost=0.05,
    partial_take=0.3,
    blow=0.02,
    blows_max=6,
    wiped=0.3,
    stale=0.2,
)
