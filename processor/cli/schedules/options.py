"""The options that name the times of a schedule, and what it does with them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import wraps
from typing import Annotated, Any, Final

import typer

from processor import checks
from processor.cli.options import TIME_FORMATS, checked
from processor.errors import InvalidArgument
from processor.policy import ATTEMPTS_MAX, RetryPolicy
from processor.schedules import Calendar
from processor.schedules.calendar import WhenClocksChange
from processor.schedules.spec import Overlap

__all__ = ("SCHEDULE_OPTIONS", "TIME_OPTIONS", "Moment", "collected")

Moment = Annotated[datetime | None, typer.Option(metavar="TIME", formats=TIME_FORMATS)]
_Seconds = Annotated[
    float | None, typer.Option(metavar="SECONDS", callback=checked(checks.seconds))
]


def _calendars(given: list[str] | None) -> list[str] | None:
    for each in given or ():
        try:
            _calendar(each)
        except InvalidArgument as error:
            raise typer.BadParameter(str(error)) from error
    return given


def _calendar(text: str) -> Calendar:
    """Return the calendar that ``hour=9 weekday=MON-FRI`` names."""
    fields = dict(each.partition("=")[::2] for each in text.split())
    if not fields or not fields.keys() <= Calendar.ranges.keys():
        raise InvalidArgument(
            f"{checks.shown(text)} is no calendar: write fields as 'hour=9 weekday=MON-FRI'; there "
            f"are {', '.join(Calendar.ranges)}"
        )
    return Calendar(**fields)


TIME_OPTIONS: Final[Mapping[str, Any]] = {
    "cron": Annotated[
        list[str] | None,
        typer.Option(metavar="TIMES", help="'30 6 * * MON-FRI' or '@daily'; several together."),
    ],
    "every": Annotated[
        float | None,
        typer.Option(metavar="SECONDS", callback=checked(checks.seconds), help="An interval."),
    ],
    "offset": Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            callback=checked(checks.seconds),
            help="How long after 1970 the intervals begin.",
        ),
    ],
    "calendar": Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELDS",
            callback=_calendars,
            help="'hour=9 minute=30 weekday=MON-FRI'; several together.",
        ),
    ],
    "time": Annotated[
        list[datetime] | None,
        typer.Option(metavar="TIME", formats=TIME_FORMATS, help="2027-01-31T09:00+01:00; several."),
    ],
    "tz": Annotated[
        str | None, typer.Option(metavar="ZONE", help="The time zone, as Europe/Berlin; else UTC.")
    ],
    "dst": Annotated[
        WhenClocksChange | None, typer.Option(help="What becomes of times where clocks change.")
    ],
    "jitter": Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", callback=checked(checks.seconds), help="Begin up to so much later."
        ),
    ],
    "start": Annotated[
        datetime | None, typer.Option(metavar="TIME", formats=TIME_FORMATS, help="The first time.")
    ],
    "end": Annotated[
        datetime | None,
        typer.Option(metavar="TIME", formats=TIME_FORMATS, help="No time from then on."),
    ],
}
SCHEDULE_OPTIONS: Final[Mapping[str, Any]] = {
    **TIME_OPTIONS,
    "overlap": Annotated[
        Overlap | None, typer.Option(help="What happens while the run before goes on; else skip.")
    ],
    "catch_up": Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            callback=checked(checks.seconds),
            help="What was due before that is not made up for; else a year.",
        ),
    ],
    "pause_on_failure": Annotated[
        bool | None,
        typer.Option("--pause-on-failure/--no-pause-on-failure", help="Pause when a run fails."),
    ],
    "limit": Annotated[int | None, typer.Option(min=1, help="So many runs at the most.")],
    "execution_timeout": Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            callback=checked(checks.duration_ms),
            help="How long a run may take in all.",
        ),
    ],
    "attempts": Annotated[
        int | None,
        typer.Option(min=1, max=ATTEMPTS_MAX, help="How often a run that fails is tried."),
    ],
}


def collected(options: Mapping[str, Any]) -> Callable[[Callable[..., None]], Any]:
    """Give a command these options in place of its ``how``, which holds those that are given."""

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def with_how(**given: Any) -> None:
            found = {name: given.pop(name) for name in options}
            command(how=_how(found), **given)

        signature = inspect.signature(command, eval_str=True)
        own = [each for each in signature.parameters.values() if each.name != "how"]
        first = [each for each in own if each.default is each.empty]
        kind = inspect.Parameter.KEYWORD_ONLY
        more = [
            inspect.Parameter(name, kind, default=None, annotation=each)
            for name, each in options.items()
        ]
        rest = [each.replace(kind=kind) for each in own if each.default is not each.empty]
        taken = signature.replace(parameters=[*first, *rest, *more])
        with_how.__signature__ = taken  # type: ignore[attr-defined]  # what Typer reads
        return with_how

    return with_options


def _how(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is given, as ``ScheduleOptions`` has it."""
    how = {name: each for name, each in given.items() if each not in (None, [])}
    if "calendar" in how:
        how["calendars"] = [_calendar(each) for each in how.pop("calendar")]
    if "time" in how:
        how["times"] = how.pop("time")
    if "attempts" in how:
        how["retry"] = RetryPolicy(maximum_attempts=how.pop("attempts"))
    return how
