"""Cron strings of starts: when the next run of a chain begins."""

from __future__ import annotations

from typing import Any

from processor.checks import shown
from processor.errors import InvalidArgument
from processor.schedules.calendar import When
from processor.schedules.patterns import NICKNAMES

__all__ = ("check", "next_ms")


def check(value: Any, what: str) -> str:
    """Return a cron string. Raises ``InvalidArgument``; ``what`` names the argument in it."""
    if not isinstance(value, str):
        raise InvalidArgument(f"{what}: give a cron string, as '0 6 * * *', not {shown(value)}")
    given = str.__str__(value)
    try:
        if next_ms(given, 0) is None:
            raise ValueError("there is no such time")
    except ValueError as error:
        raise InvalidArgument(
            f"{what}: {shown(given)}: {error}. A cron string has five fields (minute, hour, day of "
            "month, month, day of week), as '30 6 * * MON-FRI', or six with the second in front, "
            f"or is one of {', '.join(NICKNAMES)}; 'CRON_TZ=Europe/Berlin ' in front names a time "
            "zone (else UTC)"
        ) from None
    return given


def next_ms(cron: str, after_ms: int) -> int | None:
    """Return the first time after one (ms since the epoch); None: there is none in 50 years.

    Raises ``ValueError`` for what is no cron string.
    """
    return next(When((cron,)).after(after_ms), None)
