"""What names times of a clock on the wall: cron strings and calendars. No time zone is in here.

The library ``cronsim`` reckons the times of cron strings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import date, datetime, time, timedelta
from functools import cached_property
from typing import Any, ClassVar, Final

from processor.checks import shown
from processor.errors import InvalidArgument

__all__ = ("NICKNAMES", "Calendar", "Cron", "Pattern")

NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_CRON_CHARACTERS_MAX: Final = 1_000
_PREFIXES: Final = ("CRON_TZ=", "TZ=")
_YEARS_MAX: Final = 50
"""What names no time in so many years names none."""


class Pattern(ABC):
    """Names times of a clock on the wall.

    ``zone`` is the name of its own time zone, None where it has none. ``is_fixed``: it names times
    of a day, and no frequency: neither its minutes nor its hours begin with a star.
    """

    zone: str | None = None
    is_fixed: bool

    @abstractmethod
    def after(self, wall: datetime) -> Iterator[datetime]:
        """Yield the times after one, in order. They have no time zone, and neither has ``wall``."""


class Cron(Pattern):
    """A cron string: five fields, or six with the seconds in front. Raises ``ValueError``."""

    def __init__(self, text: str) -> None:
        from cronsim import CronSim, CronSimError  # not for those who only name what is in here

        if len(text) > _CRON_CHARACTERS_MAX:
            raise ValueError(f"it has {len(text):,} characters")
        words = text.split()
        for prefix in _PREFIXES:
            if words and words[0].startswith(prefix):
                self.zone = words.pop(0).removeprefix(prefix)
                break
        if len(words) == 1 and words[0] in NICKNAMES:
            words = NICKNAMES[words[0]].split()
        if len(words) not in (5, 6):
            raise ValueError(f"it has {len(words)} fields")
        self.is_fixed = not any(each.startswith("*") for each in words[-5:-3])
        self._fields = " ".join(words)
        self._times = CronSim
        try:
            CronSim(self._fields, datetime(2000, 1, 1))
        except CronSimError as error:
            raise ValueError(str(error)) from None

    def after(self, wall: datetime) -> Iterator[datetime]:
        try:
            yield from self._times(self._fields, wall)
        except OverflowError:  # the year 10000
            return


@dataclass(frozen=True)
class Calendar(Pattern):
    """Times of a clock on the wall, field by field; all of them have to fit.

    Each field is a number, or text as in a cron string: ``"MON-FRI"``, ``"1,15"``, ``"*/10"``,
    ``"*"``. ``weekday`` is 0 to 7 or a name (0 and 7: Sunday). Raises ``InvalidArgument``.
    """

    hour: int | str = 0
    minute: int | str = 0
    second: int | str = 0
    day: int | str = "*"
    month: int | str = "*"
    weekday: int | str = "*"
    year: int | str = "*"

    ranges: ClassVar = {
        "hour": (0, 23),
        "minute": (0, 59),
        "second": (0, 59),
        "day": (1, 31),
        "month": (1, 12),
        "weekday": (0, 7),
        "year": (1970, 9998),
    }

    def __post_init__(self) -> None:
        for each in fields(self):
            _numbers(each.name, getattr(self, each.name))

    def __str__(self) -> str:
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        words = [f"{name}={value}" for name, value in given.items()]
        return f"calendar {' '.join(words)}"

    @property
    def is_fixed(self) -> bool:  # type: ignore[override]  # it follows from the fields
        return not any(str(each).startswith("*") for each in (self.minute, self.hour))

    @cached_property
    def _of_day(self) -> list[time]:
        hours, minutes, seconds = (
            sorted(_numbers(name, getattr(self, name))) for name in ("hour", "minute", "second")
        )
        return [time(h, m, s) for h in hours for m in minutes for s in seconds]

    @cached_property
    def _last_year(self) -> int:
        return max(_numbers("year", self.year))

    @cached_property
    def _dates(self) -> tuple[frozenset[int], ...]:
        names = ("year", "month", "day", "weekday")
        year, month, day, weekday = (_numbers(name, getattr(self, name)) for name in names)
        return year, month, day, frozenset(each % 7 for each in weekday)

    def after(self, wall: datetime) -> Iterator[datetime]:
        at, times = wall.date(), self._of_day
        first = bisect_right(times, wall.time().replace(microsecond=0))
        quiet_from = at.year + _YEARS_MAX
        while at.year <= quiet_from:
            if self._fits(at):
                quiet_from = at.year + _YEARS_MAX
                for each in times[first:]:
                    yield datetime.combine(at, each)
            first = 0
            if at.year > self._last_year:
                return
            at += timedelta(days=1)

    def _fits(self, at: date) -> bool:
        years, months, days, weekdays = self._dates
        fits = at.day in days and at.month in months and at.year in years
        return fits and at.isoweekday() % 7 in weekdays


_NAMES: Final = {
    "month": ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    "weekday": ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
}


def _numbers(field: str, given: Any) -> frozenset[int]:
    """Return the numbers that a field of a calendar names."""
    least, most = Calendar.ranges[field]
    try:
        if isinstance(given, bool) or not isinstance(given, int | str):
            raise ValueError("give a number or text")
        parts = str(given).upper().split(",")
        return frozenset(number for part in parts for number in _part(field, part, least, most))
    except ValueError as error:
        why = str(error) if "give" in str(error) else "it cannot be read"
        raise InvalidArgument(
            f"Calendar: {field}: {shown(given)}: {why}. A field is a number from {least} to "
            f'{most:,}, or text as "1,15", "2-6", "*/10", "*"'
        ) from None


def _part(field: str, text: str, least: int, most: int) -> range:
    span, _, step = text.partition("/")
    first, dash, last = span.partition("-")
    if span == "*":
        low, high = least, most
    else:
        low = _number(field, first)
        high = _number(field, last) if dash else (most if step else low)
    by = int(step) if step else 1
    if not least <= low <= high <= most or by < 1 or text.endswith("/"):
        raise ValueError(f"give {least} to {most:,}, the lower one first")
    return range(low, high + 1, by)


def _number(field: str, text: str) -> int:
    names = _NAMES.get(field, [])
    if text in names:
        return names.index(text) + (field == "month")
    if not (text.isascii() and text.isdigit()):
        raise ValueError("it is no number")
    return int(text)
