"""From a clock on the wall to moments, also where clocks change. Moments are in seconds, UTC.

``"shift-once"``: a time of the day that does not exist is the first moment after the gap, one that
exists twice is the first of both. ``"skip"`` leaves out the former. ``"literal"`` is what the clock
on the wall shows: the former never, the latter twice. That is so for frequencies (``*/30``) in any
case: they go on through both hours.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from processor.checks import shown
from processor.schedules.patterns import Pattern

__all__ = ("moments", "zone_named")

_DAY_S: Final = 86_400
_SECONDS_MAX: Final = 253_402_214_400
"""The last day of the year 9999 begins: no time zone brings a time before that into 10000."""


def zone_named(name: str) -> tzinfo:
    """Return a time zone. Raises ``ValueError``."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ValueError(f"there is no time zone {shown(name)}") from None


def moments(pattern: Pattern, zone: tzinfo, dst: str, after: int) -> Iterator[int]:
    """Yield the moments of a pattern after one, each once and in order."""
    if zone is UTC:
        return _of_utc(pattern, after)
    if pattern.is_fixed and dst != "literal":
        return _once(pattern, zone, after, shifts=dst == "shift-once")
    return _literal(pattern, zone, after)


def _of_utc(pattern: Pattern, after: int) -> Iterator[int]:
    for wall in pattern.after(datetime.fromtimestamp(after, UTC).replace(tzinfo=None)):
        yield round(wall.replace(tzinfo=UTC).timestamp())


def _once(pattern: Pattern, zone: tzinfo, after: int, *, shifts: bool) -> Iterator[int]:
    last = after
    for wall in pattern.after(_wall(zone, after)):
        found = _first(zone, wall)
        if found >= _SECONDS_MAX:
            return
        if _wall(zone, found) != wall:
            if not shifts:
                continue
            found = _change(zone, round(wall.replace(tzinfo=zone, fold=1).timestamp()), found)
        if found > last:
            yield found
            last = found


def _literal(pattern: Pattern, zone: tzinfo, after: int) -> Iterator[int]:
    """Walk from one change of the clock to the next: between them it runs as any clock does."""
    at = after
    wall = _wall(zone, at)
    while True:
        offset = _offset(zone, at)
        for each in pattern.after(wall):
            found = round(each.replace(tzinfo=UTC).timestamp()) - offset
            if found >= _SECONDS_MAX:
                return
            change = _next_change(zone, at, found)
            if change is not None:
                break
            yield found
            at = found
        else:
            return
        at = change
        wall = _wall(zone, at) - timedelta(seconds=1)


def _next_change(zone: tzinfo, after: int, until: int) -> int | None:
    """Return when the clock changes first after one moment, up to another one; None: it does not.

    No zone changes its clock twice within a day.
    """
    offset, at = _offset(zone, after), after
    while at < until:
        step = min(at + _DAY_S, until)
        if _offset(zone, step) != offset:
            return _change(zone, at, step)
        at = step
    return None


def _change(zone: tzinfo, before: int, after: int) -> int:
    """Return the first moment after the change of the clock between two moments."""
    offset = _offset(zone, before)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(zone, middle) == offset:
            before = middle
        else:
            after = middle
    return after


def _first(zone: tzinfo, wall: datetime) -> int:
    return round(wall.replace(tzinfo=zone, fold=0).timestamp())


def _wall(zone: tzinfo, moment: int) -> datetime:
    """Return what the clock on the wall shows, without a fold."""
    return datetime.fromtimestamp(moment, zone).replace(tzinfo=None, fold=0)


def _offset(zone: tzinfo, moment: int) -> int:
    """Return by how many seconds the clock is ahead of UTC."""
    offset = datetime.fromtimestamp(moment, zone).utcoffset()
    assert offset is not None, "a time zone has an offset"
    return round(offset.total_seconds())
