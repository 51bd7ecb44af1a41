"""Cron strings: when the next run of a chain begins. The library ``cronsim`` reckons the times.

Where clocks change, a fixed time that does not exist is the first moment after the gap, one that
exists twice counts once, and ``*/30`` goes on through both hours.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from processor.checks import shown
from processor.errors import InvalidArgument

__all__ = ("check", "next_ms")

_BYTES_MAX: Final = 1_000
_PREFIXES: Final = ("CRON_TZ=", "TZ=")
_NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


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
            "month, month, day of week), as '30 6 * * MON-FRI', or is one of "
            f"{', '.join(_NICKNAMES)}; 'CRON_TZ=Europe/Berlin ' in front names a time zone (else "
            "UTC)"
        ) from None
    return given


def next_ms(cron: str, after_ms: int) -> int | None:
    """Return the first time after one (ms since the epoch); None: there is none in 50 years.

    Raises ``ValueError`` for what is no cron string.
    """
    from cronsim import CronSim, CronSimError  # not for those who only name what is in here

    zone, fields = _parts(cron)
    after = datetime.fromtimestamp(after_ms / 1000, UTC).astimezone(zone)
    try:
        times = (round(found.timestamp() * 1000) for found in CronSim(fields, after))
        # A fixed time that exists twice comes again where ``after`` is between the two.
        return next((time_ms for time_ms in times if time_ms > after_ms), None)
    except CronSimError as error:
        raise ValueError(str(error)) from None


def _parts(cron: str) -> tuple[tzinfo, str]:
    """Return the time zone and the five fields of a cron string."""
    if len(cron) > _BYTES_MAX:
        raise ValueError(f"it has {len(cron):,} characters")
    words, zone = cron.split(), "UTC"
    for prefix in _PREFIXES:
        if words and words[0].startswith(prefix):
            zone = words.pop(0).removeprefix(prefix)
            break
    if len(words) == 1 and words[0] in _NICKNAMES:
        words = _NICKNAMES[words[0]].split()
    if len(words) != 5:
        raise ValueError(f"it has {len(words)} fields")
    return _zone(zone), " ".join(words)


def _zone(name: str) -> tzinfo:
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ValueError(f"there is no time zone {shown(name)}") from None
