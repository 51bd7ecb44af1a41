"""The words of the language: what every run has, and the values that stand in a query."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from processor.attributes import FIELDS
from processor.policy import Status

__all__ = (
    "COLUMNS",
    "Column",
    "WrongValue",
    "column_of",
    "duration_ms",
    "micros",
    "moment",
    "prefix_end",
    "status_of",
    "time_us",
)


class WrongValue(Exception):
    """A text is no value of its kind. ``hint`` says what to write."""

    def __init__(self, says: str, hint: str) -> None:
        super().__init__(says)
        self.says = says
        self.hint = hint


class Column(NamedTuple):
    """A column of ``runs``. Times and durations are milliseconds there."""

    sql: str
    kind: str
    nullable: bool = False

    @property
    def example(self) -> str:
        return _EXAMPLES[self.kind]


_EXAMPLES: Final = {
    "text": "text in quotes: 'ada'",
    "status": "a status: 'running'",
    "number": "a number: 5",
    "time": "a time: '2027-01-31T09:00:00Z', or now() - '2h'",
    "duration": "a duration: '90s', '2h', '1h30m'",
}

COLUMNS: Final[Mapping[str, Column]] = {
    "workflow_id": Column("r.workflow_id", "text"),
    "run_id": Column("r.run_id", "text"),
    "first_run_id": Column("r.first_run_id", "text"),
    "workflow": Column("r.workflow", "text"),
    "status": Column("r.status", "status"),
    "started": Column("r.started_ms", "time"),
    "begins": Column("r.begins_ms", "time"),
    "closed": Column("r.closed_ms", "time", nullable=True),
    "duration": Column("r.duration_ms", "duration", nullable=True),
    "events": Column("r.events", "number"),
    "attempt": Column("r.attempt", "number"),
    "parent_workflow_id": Column("r.parent_workflow_id", "text", nullable=True),
    "parent_run_id": Column("r.parent_run_id", "text", nullable=True),
    "root_workflow_id": Column("r.root_workflow_id", "text", nullable=True),
    "root_run_id": Column("r.root_run_id", "text", nullable=True),
    "shard": Column("r.shard", "number"),
    "problem": Column("r.problem", "text", nullable=True),
}
"""What every run has by itself. Each name stands in ``attributes.FIELDS``, with Temporal's."""

_NAMES: Final = {
    **{name: name for name in FIELDS},
    **{alias: name for name, alias in FIELDS.items()},
}
_LOWER: Final = {name.lower(): name for name in _NAMES}
_STATUSES: Final = {
    **{status.value.replace("_", ""): status.value for status in Status},
    "canceled": Status.CANCELLED.value,
    "continuedasnew": Status.CONTINUED.value,
}
_UNITS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_DURATION: Final = re.compile(r"(?:\d{1,12}(?:\.\d{1,6})?(?:ms|[dhms]))+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")
_CLOCK: Final = re.compile(r"(\d{1,6}):([0-5]\d):([0-5]\d)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = chr(0x10FFFF)


def column_of(name: str, *, quoted: bool = False) -> Column | None:
    """Return the column of a name, ours or Temporal's; None for a search attribute.

    Raises ``WrongValue`` for a name that differs by its case alone. In back quotes, it is one of an
    attribute.
    """
    if name in _NAMES:
        return COLUMNS[_NAMES[name]]
    if not quoted and (meant := _LOWER.get(name.lower())):
        raise WrongValue(
            f"there is no {name}", f"write {meant}; an attribute of that name: `{name}`"
        )
    return None


def status_of(text: str) -> str:
    """Return the status of a name, ours or Temporal's."""
    found = _STATUSES.get(text.lower().replace("_", "").replace("-", ""))
    if found is None:
        raise WrongValue(f"there is no status {text[:40]!r}", f"there are {', '.join(Status)}")
    return found


def time_us(text: str) -> int:
    """Return a time of RFC 3339 as microseconds since the epoch."""
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return micros(found)
    except (ValueError, OverflowError) as error:
        raise WrongValue(f"{text[:40]!r} is no time", f"write {_EXAMPLES['time']}") from error
    raise WrongValue(f"{text[:40]!r} has no time zone", "end it with Z, or with +01:00")


def duration_ms(text: str) -> int:
    """Return a duration in milliseconds: 2d, 1h30m, 90s, 500ms, 01:30:00."""
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = map(int, clock.groups())
        return ((hours * 60 + minutes) * 60 + seconds) * 1_000
    if _DURATION.fullmatch(text) is None:
        raise WrongValue(f"{text[:40]!r} is no duration", f"write {_EXAMPLES['duration']}")
    total = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if total > 1e15:
        raise WrongValue(f"{text[:40]!r} is too long", f"write {_EXAMPLES['duration']}")
    return round(total)


def micros(time: datetime) -> int:
    """Return a time as microseconds since the epoch."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def moment(us: int) -> datetime:
    """Return the time of so many microseconds since the epoch, in UTC."""
    return _EPOCH + timedelta(microseconds=us)


def prefix_end(prefix: str) -> str | None:
    """Return the first text after all that begin with a prefix; None where there is none."""
    kept = prefix.rstrip(_LAST)
    if not kept:
        return None
    last = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if last == 0xD800 else last)
