"""When a schedule acts: cron strings, calendars, an interval, times, and what bounds them.

It is pure: the same ``When`` and the same time zone data name the same moments, which are
milliseconds since the epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from functools import cached_property
from heapq import merge
from typing import Any, Final, Literal, get_args

from processor.schedules.patterns import Calendar, Cron, Pattern
from processor.schedules.zones import moments, zone_named

__all__ = ("DST", "When", "WhenClocksChange", "moments_of")

WhenClocksChange = Literal["shift-once", "skip", "literal"]
DST: Final[tuple[str, ...]] = get_args(WhenClocksChange)

_MARKS: Final = 1 << 64


@dataclass(frozen=True)
class When:
    """The moments at which a schedule acts: all those of its parts, each once.

    Raises ``ValueError`` for a cron string or a time zone that is none, where it is first used.
    """

    crons: Sequence[str] = ()
    every_ms: int | None = None
    """So far apart are moments from ``offset_ms`` after the epoch on."""
    offset_ms: int = 0
    calendars: Sequence[Calendar] = ()
    times_ms: Sequence[int] = ()
    tz: str = "UTC"
    dst: str = "shift-once"
    jitter_ms: int = 0
    start_ms: int | None = None
    """The first moment that may be one."""
    end_ms: int | None = None
    """The first moment that may be none any more."""

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> When:
        """Return it from plain JSON: calendars are objects of their fields."""
        calendars = [Calendar(**each) for each in plain.get("calendars", ())]
        return cls(**{**plain, "calendars": calendars})

    @cached_property
    def _patterns(self) -> list[tuple[Pattern, tzinfo]]:
        zone = zone_named(self.tz)
        found: list[Pattern] = [*map(Cron, self.crons), *self.calendars]
        return [(each, zone if each.zone is None else zone_named(each.zone)) for each in found]

    def after(self, after_ms: int) -> Iterator[int]:
        """Yield the moments after one, in order."""
        if self.start_ms is not None:
            after_ms = max(after_ms, self.start_ms - 1)
        last = after_ms
        parts = [moments_of(each, zone, self.dst, after_ms) for each, zone in self._patterns]
        parts += [self._intervals(after_ms), iter(sorted(self.times_ms))]
        for moment_ms in merge(*parts):
            if self.end_ms is not None and moment_ms >= self.end_ms:
                return
            if moment_ms > last:
                yield moment_ms
                last = moment_ms

    def _intervals(self, after_ms: int) -> Iterator[int]:
        if self.every_ms is None:
            return
        moment_ms = after_ms - (after_ms - self.offset_ms) % self.every_ms
        while True:
            moment_ms += self.every_ms
            yield moment_ms

    def due(self, id: str, after_ms: int) -> Iterator[tuple[int, int]]:
        """Yield the moments after one, each with the time at which the schedule ``id`` acts.

        With jitter that is later, by as much for the same id and the same moment, and before the
        next moment.
        """
        found = self.after(after_ms)
        moment_ms = next(found, None)
        while moment_ms is not None:
            following_ms = next(found, None) if self.jitter_ms else None
            most_ms = self.jitter_ms
            if following_ms is not None:
                most_ms = min(most_ms, following_ms - moment_ms - 1)
            yield moment_ms, moment_ms + _mark(id, moment_ms) * (most_ms + 1) // _MARKS
            moment_ms = following_ms if self.jitter_ms else next(found, None)


def moments_of(pattern: Pattern, zone: tzinfo, dst: str, after_ms: int) -> Iterator[int]:
    """Yield the moments of one pattern after one, in milliseconds."""
    for moment in moments(pattern, zone, dst, after_ms // 1000):
        yield moment * 1000


def _mark(id: str, moment_ms: int) -> int:
    """Return a number below ``_MARKS`` that comes of both, and is as good as drawn."""
    digest = hashlib.blake2b(f"{moment_ms} {id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
