"""Cron strings: the times that they name, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from processor.errors import InvalidArgument
from processor.schedules.cron import check, next_ms


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
    ("fields", "expected"),
    [
        ("30 2 * * *", "10-26 01:30"),
        ("15 2 * * *", "10-26 01:15"),
        ("0,30 2 * * *", "10-26 01:00"),
        ("30 2-3 * * *", "10-25 02:30"),
        ("*/30 2 * * *", "10-25 01:30"),
        ("*/30 * * * *", "10-25 01:30"),
        ("30 * * * *", "10-25 01:30"),
    ],
)
def test_a_run_that_ends_in_the_hour_that_comes_twice_is_followed(
    fields: str, expected: str
) -> None:
    """It is 2:15 in Berlin for the second time: what is fixed to that hour has had its turn."""
    ends = datetime(2026, 10, 25, 1, 15, tzinfo=UTC)
    assert times(f"CRON_TZ=Europe/Berlin {fields}", ends, 1) == [expected]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize(
    "fields", ["30 1 * * *", "30 2 * * *", "0,45 1-2 * * *", "*/20 2 * * *", "5 * * * *", "@daily"]
)
def test_the_next_time_is_later_whenever_a_run_ends(zone: str, fields: str) -> None:
    """A run may end in any minute of the days on which clocks change."""
    for month, day in ((3, 8), (3, 29), (4, 5), (10, 4), (10, 25), (11, 1)):
        for minute in range(-720, 1_440, 17):
            ends = datetime(2026, month, day, tzinfo=UTC) + timedelta(minutes=minute)
            times(f"CRON_TZ={zone} {fields}", ends, 1)


@pytest.mark.parametrize(
    ("cron", "text"),
    [
        ("61 * * * *", "Bad minute"),
        ("* * * *", "it has 4 fields"),
        ("0 0 0 * * * *", "it has 7 fields"),
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
