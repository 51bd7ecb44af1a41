"""The calendar against a walk over every quarter of an hour of ten years, in six zones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from zoneinfo import ZoneInfo

import numpy
import numpy.typing
import pytest

from processor.errors import InvalidArgument
from processor.schedules import Calendar
from processor.schedules.calendar import DST, When

ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # by half an hour
    "America/Santiago",  # at midnight
    "Africa/Casablanca",  # for Ramadan
    "Asia/Kolkata",  # never
)
QUARTER_S = 900
FIRST, LAST = (
    int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) // QUARTER_S for year in (2021, 2031)
)
Ints = numpy.typing.NDArray[numpy.int64]
Booleans = numpy.typing.NDArray[numpy.bool_]

_QUARTERS = numpy.arange(FIRST, LAST)


@cache
def walked(zone: str) -> tuple[Ints, Ints]:
    """Return what the clock on the wall shows in each quarter of UTC, and the latest it has shown.

    Both are in quarters of an hour since 1970: no zone changes its clock within one.
    """
    info = ZoneInfo(zone)
    at = (datetime.fromtimestamp(QUARTER_S * each, info).utcoffset() for each in range(FIRST, LAST))
    offsets = [each.total_seconds() // QUARTER_S for each in at if each is not None]
    shown = _QUARTERS + numpy.array(offsets, dtype=numpy.int64)
    return shown, numpy.maximum.accumulate(shown)


def fits(walls: Ints, calendar: Calendar) -> Booleans:
    """Return which quarters of a clock on the wall fit; fields are spelled out by hand."""
    hours, minutes, days, weekdays = FIELDS[calendar]
    days_of_epoch = walls // 96
    found: Booleans = numpy.isin(walls // 4 % 24, list(hours))
    found &= numpy.isin(walls % 4 * 15, list(minutes))
    found &= numpy.isin((days_of_epoch + 4) % 7, list(weekdays))  # 1970 began on a Thursday
    dates = days_of_epoch.astype("datetime64[D]")
    of_month = dates - dates.astype("datetime64[M]").astype("datetime64[D]")
    return found & numpy.isin(of_month.astype(numpy.int64) + 1, list(days))


Fields = tuple[Iterable[int], Iterable[int], Iterable[int], Iterable[int]]
"""Hours, minutes, days of the month, and of the week from Sunday on."""

DAYS, WEEK = range(1, 32), range(7)
FIELDS: dict[Calendar, Fields] = {
    Calendar(hour=2, minute=30): ({2}, {30}, DAYS, WEEK),
    Calendar(hour="0-3", minute="0,45", weekday=0): (range(4), {0, 45}, DAYS, {0}),
    Calendar(hour=9, weekday="MON-FRI"): ({9}, {0}, DAYS, range(1, 6)),
    Calendar(hour=1, minute="15-30/15", weekday="7"): ({1}, {15, 30}, DAYS, {0}),
    Calendar(day="1,29-31"): ({0}, {0}, {1, 29, 30, 31}, WEEK),
    Calendar(hour=2, minute=15, day="8-14", weekday="SUN"): ({2}, {15}, range(8, 15), {0}),
    Calendar(hour="*/2", minute=15, weekday="SAT,SUN"): (range(0, 24, 2), {15}, DAYS, {0, 6}),
    Calendar(hour=2, minute="*/15", weekday=0): ({2}, {0, 15, 30, 45}, DAYS, {0}),
}
CRONS = (
    "30 2 * * *",
    "0 0,45 0-3 * * SUN",
    "0 9 * * MON-FRI",
    "15,30 1 * * SUN",
    "0 0 1,29-31 * *",
    None,  # a cron string takes one of both, the day of the month or that of the week
    "15 */2 * * SAT,SUN",
    "*/15 2 * * SUN",
)


def expected(zone: str, calendar: Calendar, dst: str) -> list[int]:
    shown, latest = walked(zone)
    if dst == "literal" or "*" in f"{calendar.hour} {calendar.minute}":
        return [*_QUARTERS[fits(shown, calendar)].tolist()]
    walls = numpy.arange(shown[0], latest[-1] + 1)
    walls = walls[fits(walls, calendar)]
    first = numpy.searchsorted(latest, walls)  # when the clock shows it for once, or more
    if dst == "skip":
        first = first[shown[first] == walls]
    return [*_QUARTERS[numpy.unique(first)].tolist()]


@pytest.mark.parametrize("dst", DST)
@pytest.mark.parametrize("zone", ZONES)
def test_ten_years_quarter_by_quarter(zone: str, dst: str) -> None:
    step_ms = QUARTER_S * 1000
    for calendar, cron in zip(FIELDS, CRONS, strict=True):
        named = When(calendars=[calendar], tz=zone, dst=dst, end_ms=LAST * step_ms)
        wanted = expected(zone, calendar, dst)
        assert [each // step_ms for each in named.after(FIRST * step_ms - 1)] == wanted, calendar
        if cron is not None:
            same = replace(named, calendars=(), crons=[cron])
            assert [each // step_ms for each in same.after(FIRST * step_ms - 1)] == wanted, cron


def shown(when: When, after: datetime, count: int = 3) -> list[str]:
    found = islice(when.after(round(after.timestamp() * 1000)), count)
    return [f"{datetime.fromtimestamp(each / 1000, UTC):%m-%d %H:%M:%S}" for each in found]


MARCH = datetime(2026, 3, 28, 12, tzinfo=UTC)
OCTOBER = datetime(2026, 10, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("dst", "spring", "autumn"),
    [
        ("shift-once", ["03-29 01:00:00", "03-30 00:30:00"], ["10-25 00:30:00", "10-26 01:30:00"]),
        ("skip", ["03-30 00:30:00", "03-31 00:30:00"], ["10-25 00:30:00", "10-26 01:30:00"]),
        ("literal", ["03-30 00:30:00", "03-31 00:30:00"], ["10-25 00:30:00", "10-25 01:30:00"]),
    ],
)
def test_where_clocks_change(dst: str, spring: list[str], autumn: list[str]) -> None:
    when = When(["30 2 * * *"], tz="Europe/Berlin", dst=dst)
    assert shown(when, MARCH, 2) == spring
    assert shown(when, OCTOBER, 2) == autumn


@pytest.mark.parametrize(
    ("when", "times"),
    [
        (When(["*/20 0 12 * * *"]), ["03-28 12:00:20", "03-28 12:00:40", "03-29 12:00:00"]),
        (When(["0 13 * * *", "@hourly"]), ["03-28 13:00:00", "03-28 14:00:00", "03-28 15:00:00"]),
        (
            When(["0 13 * * *", "CRON_TZ=Europe/Rome 0 13 * * *"]),
            ["03-28 13:00:00", "03-29 11:00:00", "03-29 13:00:00"],
        ),
        (
            When(every_ms=86_400_000, offset_ms=3_600_000),
            ["03-29 01:00:00", "03-30 01:00:00", "03-31 01:00:00"],
        ),
        (When(times_ms=[1_774_800_000_000, 0, 1_774_800_000_000]), ["03-29 16:00:00"]),
        (When(calendars=[Calendar(month="FEB", day=29, year=2028)]), ["02-29 00:00:00"]),
        (When(calendars=[Calendar(month=2, day=30)]), []),
        (
            When(["@daily"], start_ms=1_775_001_600_000, end_ms=1_775_174_400_000),
            ["04-01 00:00:00", "04-02 00:00:00"],
        ),
    ],
)
def test_what_a_schedule_may_have(when: When, times: list[str]) -> None:
    assert shown(when, MARCH) == times
    assert shown(When.of(asdict(when)), MARCH) == times


def test_jitter_is_the_same_for_the_same_moment_and_before_the_next() -> None:
    when = When(["* * * * *"], jitter_ms=3_600_000)
    due = [*islice(when.due("one", 0), 500)]
    assert due[100:] == [*islice(when.due("one", due[99][0]), 400)]
    late = [at_ms - moment_ms for moment_ms, at_ms in due]
    assert all(0 <= each < 60_000 for each in late) and len({*late}) > 400
    others = islice(when.due("other", 0), 500)
    assert [at_ms for _, at_ms in others] != [at_ms for _, at_ms in due]
    assert sorted(at_ms for _, at_ms in due) == [at_ms for _, at_ms in due]


def test_without_jitter_a_schedule_acts_at_its_moments() -> None:
    assert [*islice(When(["@daily"]).due("one", 0), 2)] == [(86_400_000,) * 2, (172_800_000,) * 2]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"hour": 24}, "hour: 24: give 0 to 23"),
        ({"hour": "5-2"}, "hour: '5-2': give 0 to 23, the lower one first"),
        ({"minute": "*/0"}, "minute: '\\*/0': give 0 to 59"),
        ({"minute": "1,"}, "minute: '1,': it cannot be read"),
        ({"weekday": "MO"}, "weekday: 'MO': it cannot be read"),
        ({"month": 0}, "month: 0: give 1 to 12"),
        ({"day": True}, "day: True: give a number or text"),
        ({"year": 1.5}, "year: 1.5: give a number or text"),
    ],
)
def test_a_field_that_is_none_is_refused(fields: dict[str, int], text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        Calendar(**fields)


def test_time_ends_with_the_year_9999() -> None:
    late = round(datetime(9999, 12, 30, tzinfo=UTC).timestamp() * 1000)
    for cron in ("@daily", "@hourly"):
        for zone in ("UTC", "Asia/Tokyo", "America/New_York"):
            assert len([*islice(When([cron], tz=zone).after(late), 60)]) < 60
