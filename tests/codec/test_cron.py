"""Cron strings: the times that they name, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from processor.codec.cron import check, next_ms
from processor.errors import InvalidArgument


def times(cron: str, after: datetime, count: int) -> list[str]:
    found, at_ms = [], round(after.timestamp() * 1000)
    for _ in range(count):
        following = next_ms(cron, at_ms)
        assert following is not None and following > at_ms
        at_ms = following
        found.append(f"{datetime.fromtimestamp(at_ms / 1000, UTC):%m-%d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 6 * * *", ["03-28 06:00", "03-29 06:00"]),
        ("*/20 5 * * *", ["03-28 05:20", "03-28 05:40"]),
        ("@hourly", ["03-28 06:00", "03-28 07:00"]),
        ("@weekly", ["03-29 00:00", "04-05 00:00"]),
        ("30 9 * * MON-FRI", ["03-30 09:30", "03-31 09:30"]),
        ("CRON_TZ=Europe/Berlin 0 12 * * *", ["03-28 11:00", "03-29 10:00"]),
        ("TZ=America/New_York @daily", ["03-29 04:00", "03-30 04:00"]),
    ],
)
def test_the_times_of_a_cron_string(cron: str, expected: list[str]) -> None:
    assert times(cron, datetime(2026, 3, 28, 5, 10, tzinfo=UTC), 2) == expected


def test_where_clocks_change_a_fixed_time_counts_once_and_steps_go_on() -> None:
    """In Berlin 2:30 does not exist on March 29, and exists twice on October 25."""
    spring = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert times("CRON_TZ=Europe/Berlin 30 2 * * *", spring, 2) == ["03-29 01:00", "03-30 00:30"]
    autumn = datetime(2026, 10, 24, 12, tzinfo=UTC)
    assert times("CRON_TZ=Europe/Berlin 30 2 * * *", autumn, 2) == ["10-25 00:30", "10-26 01:30"]
    steps = times("CRON_TZ=Europe/Berlin */30 * * * *", autumn + timedelta(hours=12), 4)
    assert steps == ["10-25 00:30", "10-25 01:00", "10-25 01:30", "10-25 02:00"]


@pytest.mark.parametrize(
    ("cron", "text"),
    [
        ("61 * * * *", "Bad minute"),
        ("* * * *", "it has 4 fields"),
        ("0 0 * * * *", "it has 6 fields"),
        ("@every 5m", "it has 2 fields"),
        ("0 0 31 2 *", "Bad day-of-month"),
        ("CRON_TZ=Mars/Olympus @daily", "there is no time zone 'Mars/Olympus'"),
        ("TZ= @daily", "there is no time zone ''"),
        ("TZ=../../etc/passwd @daily", "there is no time zone"),
        ("* " * 2_000, "it has 4,000 characters"),
        (b"@daily", "give a cron string"),
    ],
)
def test_what_is_no_cron_string_is_refused_with_what_is_one(cron: str, text: str) -> None:
    with pytest.raises(InvalidArgument, match="start: cron: ") as raised:
        check(cron, "start: cron")
    assert text in str(raised.value)
