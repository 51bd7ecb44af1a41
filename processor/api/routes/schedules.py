"""Routes of schedules."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from processor.api.calls import HttpCall
from processor.api.routes.messages import Changed
from processor.api.routes.starts import RetryOfRuns
from processor.api.routing import HttpAnswer, route
from processor.attributes import of_plain
from processor.client import ScheduleDescription, ScheduleHandle, ScheduleSummary
from processor.errors import InvalidArgument
from processor.schedules import Calendar
from processor.schedules.calendar import WhenClocksChange
from processor.schedules.spec import Overlap

__all__ = ("ENDPOINTS",)

_SEEN: Final = ("id", "workflow", "when", "paused", "next", "declared")
"""What whoever may not read payloads sees of a schedule."""

_LISTED_MAX: Final = 1_000


class TimesOfSchedule(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """When a schedule acts, as ``client.schedules.create`` takes it. Durations are seconds."""

    cron: str | list[str] | None = None
    every: float | None = None
    offset: float | None = None
    calendars: list[dict[str, Any]] | None = None
    times: list[datetime] | None = None
    tz: str | None = None
    dst: WhenClocksChange | None = None
    jitter: float | None = None
    start: datetime | None = None
    end: datetime | None = None


class ScheduleChanges(TimesOfSchedule, frozen=True):
    """What a schedule is told."""

    workflow: str | None = None
    arguments: list[Any] | None = None
    overlap: Overlap | None = None
    catch_up: float | None = None
    pause_on_failure: bool | None = None
    limit: int | None = None
    execution_timeout: float | None = None
    retry: RetryOfRuns | None = None
    memo: Any = None
    attributes: dict[str, Any] | None = None

    @property
    def how(self) -> dict[str, Any]:
        """The options that are given."""
        names = {*ScheduleChanges.__struct_fields__} - {"workflow", "arguments"}
        found = {name: getattr(self, name) for name in names}
        if self.retry is not None:
            found["retry"] = self.retry.policy
        if self.calendars is not None:
            found["calendars"] = [_calendar(each) for each in self.calendars]
        if self.attributes is not None:
            found["attributes"] = of_plain(self.attributes)
        return {name: each for name, each in found.items() if each is not None}


class ScheduleBody(ScheduleChanges, frozen=True):
    """A new schedule: ``id``, ``workflow``, and when it starts that."""

    id: str = ""
    paused: bool = False
    note: str = ""


class NoteBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    note: str = ""


class TriggerBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    overlap: Overlap | None = None


class BackfillBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    start: datetime
    end: datetime
    overlap: Overlap = "buffer-all"
    again: bool = False


class ScheduleMade(msgspec.Struct, frozen=True):
    id: str


class TriggeredRun(msgspec.Struct, frozen=True):
    id: str


class BackfilledRuns(msgspec.Struct, frozen=True):
    runs: int


class SchedulePage(msgspec.Struct, frozen=True):
    """``more``: there are more than could be listed."""

    items: list[ScheduleSummary]
    more: bool


def _calendar(fields: dict[str, Any]) -> Calendar:
    try:
        return Calendar(**fields)
    except TypeError:
        known = ", ".join(Calendar.__dataclass_fields__)
        raise InvalidArgument(f"calendars: a calendar has fields of {known}") from None


def _schedule(call: HttpCall) -> ScheduleHandle:
    return call.client.schedules.handle(call.path["schedule"])


@route("POST", "/schedules", "admin", body=ScheduleBody, answers={201: ScheduleMade})
async def create(call: HttpCall) -> HttpAnswer:
    """Let a workflow be started again and again."""
    body = call.body
    if not body.workflow:
        raise InvalidArgument("workflow: name the workflow that is to be started")
    made = await call.client.schedules.create(
        body.workflow,
        *(body.arguments or ()),
        id=body.id,
        paused=body.paused,
        note=body.note,
        **body.how,
    )
    return HttpAnswer(ScheduleMade(made.id), 201, {"location": call.url("schedules", made.id)})


@route("GET", "/schedules", "view", answers={200: SchedulePage})
async def list_schedules(call: HttpCall) -> HttpAnswer:
    """List the schedules of the namespace."""
    found: list[Any] = []
    async for each in call.client.schedules.list():
        if len(found) == _LISTED_MAX:
            return HttpAnswer({"items": found, "more": True})
        found.append(_view(call, each))
    return HttpAnswer({"items": found, "more": False})


@route("GET", "/schedules/{schedule}", "view", answers={200: ScheduleDescription})
async def describe_schedule(call: HttpCall) -> HttpAnswer:
    """Describe a schedule: its next times, and its last runs."""
    return HttpAnswer(_view(call, await _schedule(call).describe()))


def _view(call: HttpCall, found: ScheduleDescription | ScheduleSummary) -> Any:
    if call.may("read"):
        return found
    return {name: getattr(found, name) for name in _SEEN if hasattr(found, name)}


@route("PUT", "/schedules/{schedule}", "admin", body=ScheduleChanges, answers={200: Changed})
async def change(call: HttpCall) -> HttpAnswer:
    """Change what is given of what a schedule was told."""
    body = call.body
    await _schedule(call).update(workflow=body.workflow, args=body.arguments, **body.how)
    return HttpAnswer(Changed(True))


@route("POST", "/schedules/{schedule}/pause", "control", body=NoteBody, answers={202: Changed})
async def pause_schedule(call: HttpCall) -> HttpAnswer:
    """Let times pass without runs."""
    return HttpAnswer(Changed(await _schedule(call).pause(call.body.note)), 202)


@route("POST", "/schedules/{schedule}/resume", "control", body=NoteBody, answers={202: Changed})
async def resume_schedule(call: HttpCall) -> HttpAnswer:
    """Let a schedule go on."""
    return HttpAnswer(Changed(await _schedule(call).resume(call.body.note)), 202)


@route(
    "POST",
    "/schedules/{schedule}/trigger",
    "control",
    body=TriggerBody,
    answers={202: TriggeredRun},
)
async def trigger(call: HttpCall) -> HttpAnswer:
    """Let a run begin now."""
    found = await _schedule(call).trigger(overlap=call.body.overlap)
    place = {"location": call.url("instances", found.id)}
    return HttpAnswer(TriggeredRun(found.id), 202, place)


@route(
    "POST",
    "/schedules/{schedule}/backfill",
    "control",
    body=BackfillBody,
    answers={202: BackfilledRuns},
)
async def backfill(call: HttpCall) -> HttpAnswer:
    """Let runs begin for times that have passed."""
    body = call.body
    runs = await _schedule(call).backfill(
        body.start, body.end, overlap=body.overlap, again=body.again
    )
    return HttpAnswer(BackfilledRuns(runs), 202)


@route("DELETE", "/schedules/{schedule}", "admin", answers={200: Changed})
async def delete(call: HttpCall) -> HttpAnswer:
    """End a schedule; its runs go on."""
    return HttpAnswer(Changed(await _schedule(call).delete()))


ENDPOINTS = (
    create,
    list_schedules,
    describe_schedule,
    change,
    pause_schedule,
    resume_schedule,
    trigger,
    backfill,
    delete,
)
