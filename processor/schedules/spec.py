"""What a schedule is told: its options, checked, as plain JSON.

A schedule is a workflow, and this is its argument: plain values, which any converter can encode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypedDict, get_args

from processor import checks
from processor.attributes import Attributes, decode, encoded, to_plain
from processor.errors import InvalidArgument
from processor.policy import RetryPolicy
from processor.schedules.calendar import DST, When, WhenClocksChange
from processor.schedules.patterns import Calendar

__all__ = (
    "ID_PREFIX",
    "OVERLAPS",
    "REFUSED",
    "SCHEDULE",
    "Overlap",
    "ScheduleOptions",
    "TimeOptions",
    "checked_when",
    "instance_of",
    "merged",
    "plain_options",
    "summary",
)

REFUSED: Final = "ScheduleRefused"
"""Type of the error with which a schedule refuses a change or a span of times."""

SCHEDULE: Final = checks.SCHEDULE_IDS.workflow
"""The name of the workflow that a schedule is."""

ID_PREFIX: Final = checks.SCHEDULE_IDS.prefix
"""So begins the workflow id of a schedule; its own id follows."""

Overlap = Literal[
    "skip", "buffer-one", "buffer-all", "cancel-other", "terminate-other", "allow-all"
]
OVERLAPS: Final[tuple[str, ...]] = get_args(Overlap)

CATCH_UP_MS: Final = 365 * 86_400_000
"""What was due so long ago is made up for, unless the schedule says otherwise."""

_PARTS_MAX: Final = 1_000
_PARTS: Final = ("crons", "every_ms", "offset_ms", "calendars", "times_ms")
"""What names moments: whoever gives one of them anew gives all of them anew."""

Duration = timedelta | float


class TimeOptions(TypedDict, total=False):
    """When a schedule acts. All parts count together; ``tz`` is for cron strings and calendars.

    ``cron`` is a cron string or several, ``every`` an interval, which begins ``offset`` after the
    epoch, ``start`` the first time that may be one, ``end`` the first that may be none.
    """

    cron: str | Sequence[str] | None
    every: Duration | None
    offset: Duration
    calendars: Sequence[Calendar]
    times: Sequence[datetime]
    tz: str
    dst: WhenClocksChange
    jitter: Duration
    start: datetime | None
    end: datetime | None


class ScheduleOptions(TimeOptions, total=False):
    """What a schedule is told beside the workflow that it starts, and its arguments.

    ``limit``: so many actions, None: no limit. ``execution_timeout``, ``retry``, ``memo`` and
    ``attributes`` are for each run.
    """

    overlap: Overlap
    catch_up: Duration
    pause_on_failure: bool
    limit: int | None
    execution_timeout: Duration | None
    retry: RetryPolicy | None
    memo: Any
    attributes: Attributes | None


def instance_of(id: str) -> str:
    """Return the workflow id of a schedule."""
    return ID_PREFIX + id


def plain_options(call: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as plain JSON: only what is given. Raises ``InvalidArgument``, ``TypeError``.

    ``call`` names the call in errors.
    """
    plain: dict[str, Any] = {}
    when: dict[str, Any] = {}
    for name, value in given.items():
        if name in _TIMES:
            key, check = _TIMES[name]
            when[key] = check(value, f"{call}: {name}")
        elif name in _OTHERS:
            key, check = _OTHERS[name]
            plain[key] = check(value, f"{call}: {name}")
        else:
            raise TypeError(f"{call}() got an unexpected keyword argument {name!r}")
    if when:
        plain["when"] = when
    return plain


def merged(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a schedule is told, with changes.

    The parts of its times are changed together, and what is None is as if it were not told.
    """
    when = dict(config.get("when", {}))
    new = changes.get("when", {})
    if any(name in new for name in _PARTS):
        when = {name: each for name, each in when.items() if name not in _PARTS}
    when = {name: each for name, each in {**when, **new}.items() if each is not None}
    return {**config, **changes, "when": when}


def checked_when(when: When, call: str) -> When:
    """Refuse times that name no moment. Raises ``InvalidArgument``."""
    if not (when.crons or when.calendars or when.times_ms or when.every_ms is not None):
        raise InvalidArgument(
            f"{call}: it has no times: give cron, every, calendars or times, one or several of them"
        )
    if when.every_ms is None and when.offset_ms:
        raise InvalidArgument(f"{call}: offset is where intervals begin: give every, too")
    start_ms, end_ms = when.start_ms, when.end_ms
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise InvalidArgument(f"{call}: end is not after start, so that there is no time")
    try:
        first = next(when.after(0), None)
    except ValueError as error:
        names = ", ".join(map(repr, when.crons))
        of = f"cron {names}, tz {when.tz!r}" if when.crons else f"tz {when.tz!r}"
        raise InvalidArgument(
            f"{call}: {of}: {error}. A cron string has five fields (minute, hour, day of month, "
            "month, day of week), as '30 6 * * MON-FRI', or six with the second in front; a time "
            "zone has a name as Europe/Berlin"
        ) from None
    if first is None:
        raise InvalidArgument(f"{call}: there is no such time, not in 50 years")
    return when


def summary(when: When) -> str:
    """Return in words when a schedule acts."""
    parts = [f"cron {each!r}" for each in when.crons]
    if when.every_ms is not None:
        offset = f" from {timedelta(milliseconds=when.offset_ms)} on" if when.offset_ms else ""
        parts.append(f"every {timedelta(milliseconds=when.every_ms)}{offset}")
    parts += map(str, when.calendars)
    if when.times_ms:
        parts.append(f"{len(when.times_ms)} given time{'s' * (len(when.times_ms) > 1)}")
    zone = f" in {when.tz}" if when.crons or when.calendars else ""
    return "; ".join(parts) + zone


# --- one option each ------------------------------------------------------------------------------


def _crons(value: Any, what: str) -> list[str]:
    given = [value] if isinstance(value, str) else value
    if given is None:
        return []
    return [_cron(each, what) for each in _several(given, what, "['@daily', '0 12 * * SUN']")]


def _cron(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(
            f"{what}: give a cron string, as '0 6 * * *', not {checks.shown(value)}"
        )
    return str.__str__(value)


def _several(value: Any, what: str, example: str) -> list[Any]:
    found = checks.listed(value, what, example)
    if len(found) > _PARTS_MAX:
        raise InvalidArgument(f"{what}: give {_PARTS_MAX:,} at the most, not {len(found):,}")
    return found


def _calendars(value: Any, what: str) -> list[dict[str, Any]]:
    found = _several(value, what, "[Calendar(hour=9)]")
    for each in found:
        if not isinstance(each, Calendar):
            raise InvalidArgument(
                f"{what}: give Calendar(...) from processor.schedules, not {checks.shown(each)}"
            )
    return [asdict(each) for each in found]


def _times(value: Any, what: str) -> list[int]:
    return sorted({checks.time_ms(each, what) for each in _several(value, what, "[christmas]")})


def _zone(value: Any, what: str) -> str:
    return checks.name(value, what)


def _duration(value: Any, what: str) -> int | None:
    return None if value is None else checks.duration_ms(value, what)


def _seconds(value: Any, what: str) -> int:
    return round(checks.seconds(value, what) * 1000)


def _every(value: Any, what: str) -> int | None:
    if value is not None and checks.seconds(value, what) < 1:
        raise InvalidArgument(f"{what}: give 1 s or more, not {checks.shown(value)}")
    return _duration(value, what)


def _time(value: Any, what: str) -> int | None:
    return None if value is None else checks.time_ms(value, what)


def _clocks(value: Any, what: str) -> str:
    found: str = checks.one_of(DST, value, what)
    return found


def _overlap(value: Any, what: str) -> str:
    found: str = checks.one_of(OVERLAPS, value, what)
    return found


def _limit(value: Any, what: str) -> int | None:
    return None if value is None else checks.whole(value, what, 1)


def _retry(value: Any, what: str) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, RetryPolicy):
        raise InvalidArgument(f"{what}: give RetryPolicy(...), not {checks.shown(value)}")
    most = value.maximum_interval
    return {
        "initial_interval": checks.seconds(value.initial_interval, what),
        "coefficient": value.coefficient,
        "maximum_interval": None if most is None else checks.seconds(most, what),
        "maximum_attempts": value.maximum_attempts,
        "non_retryable": list(value.non_retryable_names),
    }


def _attributes(value: Any, what: str) -> dict[str, Any] | None:
    found = decode(encoded(value, what))
    return to_plain(found) if found else None


def _any(value: Any, what: str) -> Any:
    return value


_TIMES: Final[dict[str, tuple[str, Any]]] = {
    "cron": ("crons", _crons),
    "every": ("every_ms", _every),
    "offset": ("offset_ms", _seconds),
    "calendars": ("calendars", _calendars),
    "times": ("times_ms", _times),
    "tz": ("tz", _zone),
    "dst": ("dst", _clocks),
    "jitter": ("jitter_ms", _seconds),
    "start": ("start_ms", _time),
    "end": ("end_ms", _time),
}
_OTHERS: Final[dict[str, tuple[str, Any]]] = {
    "overlap": ("overlap", _overlap),
    "catch_up": ("catch_up_ms", _seconds),
    "pause_on_failure": ("pause_on_failure", checks.yes_or_no),
    "limit": ("limit", _limit),
    "execution_timeout": ("execution_timeout_ms", _duration),
    "retry": ("retry", _retry),
    "memo": ("memo", _any),
    "attributes": ("attributes", _attributes),
}
