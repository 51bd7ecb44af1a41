"""Schedules in the hands of a client: they start runs at the times of a calendar."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import islice
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack, overload

from processor import arguments as given
from processor import checks
from processor.client.calls import ClientCalls
from processor.client.descriptions import RunDescription
from processor.client.handle import Handle
from processor.errors import (
    ApplicationError,
    CommandRejected,
    InvalidArgument,
    QueryFailed,
    UpdateFailed,
    WorkflowAlreadyStarted,
    WorkflowNotFound,
)
from processor.schedules.calendar import When
from processor.schedules.runs import beginning, memo_of
from processor.schedules.spec import (
    ID_PREFIX,
    OVERLAPS,
    REFUSED,
    SCHEDULE,
    Overlap,
    ScheduleOptions,
    TimeOptions,
    checked_when,
    instance_of,
    merged,
    plain_options,
    summary,
)
from processor.schedules.zones import zone_named

__all__ = (
    "HasSchedules",
    "ScheduleAction",
    "ScheduleDescription",
    "ScheduleHandle",
    "ScheduleSummary",
    "Schedules",
    "previewed",
)

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

_NEXT: Final = 10
_PREVIEW_MAX: Final = 10_000
_CONFIG_BYTES_MAX: Final = 500_000


@dataclass(frozen=True)
class ScheduleAction:
    """A run that a schedule has started: ``by`` its "schedule", a "trigger" or a "backfill".

    ``status`` is that of the run, or "has_run" (its id is taken: it counts once), "not_started"
    (``why`` says why), "purged" (how it ended is not known any more).
    """

    workflow_id: str
    nominal: datetime
    by: str
    status: str
    begun: datetime
    ended: datetime | None
    why: str


@dataclass(frozen=True)
class ScheduleDescription:
    """A schedule: what it was told (``options``, as plain JSON), and where it stands.

    ``next`` are the next ten times, ``recent`` the last ten runs, ``running`` those that have not
    ended. ``waiting`` counts runs that wait for others to end. ``skipped`` times found another run,
    ``missed`` ones came too late to be made up for, ``dropped`` ones found too many that waited.
    ``remaining``: so many actions are left, None: no limit.
    """

    id: str
    workflow: str
    args: list[Any]
    when: str
    options: dict[str, Any]
    paused: bool
    note: str
    next: list[datetime]
    running: list[ScheduleAction]
    recent: list[ScheduleAction]
    waiting: int
    actions: int
    skipped: int
    missed: int
    dropped: int
    remaining: int | None
    last_result: Any


@dataclass(frozen=True)
class ScheduleSummary:
    """A schedule as lists show it. ``declared`` is the module that declares it, where one does."""

    id: str
    workflow: str
    when: str
    paused: bool
    note: str
    next: datetime | None
    declared: str | None


class ScheduleHandle:
    """One schedule, by its ``id``. All raise ``WorkflowNotFound`` where there is none."""

    def __init__(self, client: HasSchedules, id: str) -> None:
        self._client = client
        self.id = id

    def __repr__(self) -> str:
        return f"ScheduleHandle(id={self.id!r})"

    async def describe(self) -> ScheduleDescription:
        """Return what it was told, its next ten times and its last ten runs."""
        told = await self._asked("describe")
        return _description(self.id, told, self._client._calls.now_ms())

    async def update(
        self, *, workflow: Any = None, args: Any = None, **changes: Unpack[ScheduleOptions]
    ) -> None:
        """Change what is given: options as for ``create``, another workflow, its arguments.

        ``cron``, ``every`` with ``offset``, ``calendars`` and ``times`` are changed together: who
        gives one of them gives all anew. Times that are due already come first. ``limit`` counts
        from now on. Raises ``InvalidArgument``.
        """
        call = "update"
        plain = plain_options(call, changes)
        if workflow is not None:
            plain["workflow"] = given.named(call, workflow)[0]
        if args is not None:
            plain["args"] = checks.listed(args, f"{call}: args", "['Berlin']")
        if not plain:
            raise InvalidArgument(f"{call}: there is nothing to change: give an option")
        _check_size(self._client._calls, call, plain)
        await self._asked("change", plain, False)

    async def _set(self, config: Mapping[str, Any]) -> None:
        """Change all that it is told."""
        _check_size(self._client._calls, "apply", config)
        await self._asked("change", config, True)

    async def pause(self, note: str = "") -> bool:
        """Let times pass without runs, until ``resume``; False where it was paused already.

        Runs that wait for others to end wait on. ``note`` is for people: who paused it, and why.
        """
        found: bool = await self._asked("pause", checks.text(note, "pause: note"))
        return found

    async def resume(self, note: str = "") -> bool:
        """Let it go on with the next time from now on; False where it was not paused."""
        found: bool = await self._asked("resume", checks.text(note, "resume: note"))
        return found

    async def trigger(self, *, overlap: Overlap | None = None) -> Handle[Any]:
        """Let a run begin now, and return its handle.

        ``overlap`` stands in place of the policy of the schedule: where that skips the run, the
        handle finds none. A paused schedule is triggered, too.
        """
        how = None if overlap is None else checks.one_of(OVERLAPS, overlap, "trigger: overlap")
        return self._client._handle(await self._asked("trigger", how), None, Any)

    async def backfill(
        self,
        start: datetime,
        end: datetime,
        *,
        overlap: Overlap = "buffer-all",
        again: bool = False,
    ) -> int:
        """Let runs begin for the times from ``start`` on and before ``end``; return how many.

        They are 1,000 at the most. A time that has had its run has none again, unless ``again``.
        Raises ``InvalidArgument``.
        """
        span = [checks.time_ms(start, "backfill: start"), checks.time_ms(end, "backfill: end")]
        if span[0] >= span[1]:
            raise InvalidArgument("backfill: end is not after start, so that there is no time")
        if span[1] > self._client._calls.now_ms():
            raise InvalidArgument("backfill: end is in the future: those times come by themselves")
        how = checks.one_of(OVERLAPS, overlap, "backfill: overlap")
        more = checks.yes_or_no(again, "backfill: again")
        found: int = await self._asked("backfill", *span, how, more)
        return found

    async def delete(self) -> bool:
        """End the schedule; its runs go on. False where it had been deleted."""
        try:
            return await self._run().terminate("the schedule was deleted", recursive=False)
        except WorkflowNotFound:
            raise _not_found(self.id) from None

    def _run(self) -> Handle[Any]:
        return self._client._handle(instance_of(self.id), None, Any)

    async def _asked(self, name: str, *args: Any) -> Any:
        run = self._run()
        try:
            if name == "describe":
                return await run.query(name, reject="not-open")
            return await run.update(name, *args)
        except UpdateFailed as error:
            cause = error.__cause__
            if isinstance(cause, ApplicationError) and cause.type == REFUSED:
                raise InvalidArgument(str(cause)) from None
            raise
        except (WorkflowNotFound, QueryFailed, CommandRejected) as error:
            if isinstance(error, WorkflowNotFound) or not await self._is_open(run):
                raise _not_found(self.id) from None
            raise

    async def _is_open(self, run: Handle[Any]) -> bool:
        return (await run.describe()).status.is_open


def _not_found(id: str) -> WorkflowNotFound:
    return WorkflowNotFound(
        f"there is no schedule {id!r}, or it was deleted: client.schedules.list() has all"
    )


class Schedules:
    """The schedules of a namespace. Each is a workflow of ours, ``schedule:ID``."""

    def __init__(self, client: HasSchedules) -> None:
        self._client = client

    @overload
    async def create(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, Any]],
        *args: *Ts,
        id: str,
        paused: bool = False,
        note: str = "",
        **how: Unpack[ScheduleOptions],
    ) -> ScheduleHandle: ...

    @overload
    async def create(
        self,
        workflow: str,
        *args: Any,
        id: str,
        paused: bool = False,
        note: str = "",
        **how: Unpack[ScheduleOptions],
    ) -> ScheduleHandle: ...

    async def create(  # type: ignore[misc]  # mypy cannot match *Ts with *Any
        self,
        workflow: Any,
        *args: Any,
        id: str,
        paused: bool = False,
        note: str = "",
        **how: Any,
    ) -> ScheduleHandle:
        """Let a workflow be started again and again, durably, and return the schedule's handle.

        When: ``cron`` (a cron string or several), ``every`` so long (``offset`` after the epoch),
        ``calendars`` (``processor.schedules.Calendar``), ``times``; all of them together. Cron
        strings and calendars are in the time zone ``tz``, and ``dst`` says what becomes of times
        where clocks change ("shift-once", "skip", "literal"). Runs begin up to ``jitter`` later.
        ``start`` is the first time that may be one, ``end`` the first that may be none any more.

        Each run has the workflow id ``ID-TIME`` and counts once. ``overlap`` says what happens
        while the run before goes on ("skip", "buffer-one", "buffer-all", "cancel-other",
        "terminate-other", "allow-all"). What was due while no worker ran is made up for if it is
        not older than ``catch_up`` (default: a year). ``pause_on_failure`` pauses the schedule when
        a run fails. There are ``limit`` runs at the most (default: no limit), and
        ``execution_timeout``, ``retry``, ``memo`` and ``attributes`` are for each of them.
        ``workflow.info().last_result()`` is that of the last run that had one. Raises
        ``InvalidArgument``, ``WorkflowAlreadyStarted`` (the id is taken), ``SchemaMismatch``.
        """
        call = "create"
        id, plain = checks.name(id, f"{call}: id"), plain_options(call, how)
        config = merged({"workflow": given.named(call, workflow)[0], "args": [*args]}, plain)
        checked_when(When.of(config["when"]), call)
        is_paused = checks.yes_or_no(paused, f"{call}: paused")
        note = checks.text(note, f"{call}: note")
        return await self._created(call, id, workflow, config, paused=is_paused, note=note)

    async def _created(
        self,
        call: str,
        id: str,
        workflow: Any,
        config: dict[str, Any],
        *,
        paused: bool = False,
        note: str = "",
    ) -> ScheduleHandle:
        client = self._client
        checks.id_for(config["workflow"], id, f"{call}: id: it begins those of its runs")
        _check_size(client._calls, call, config)
        client._calls.encoded_arguments(workflow, config["workflow"], tuple(config["args"]))
        state = beginning(paused=paused, note=note, limit=config.get("limit"))
        start = {"id": instance_of(id), "memo": memo_of(config, state)}
        handle, body = client._prepared(call, SCHEDULE, (config, state), **start)
        try:
            handle._begun(await client._calls.accepted(handle.id, body))
        except WorkflowAlreadyStarted:
            raise WorkflowAlreadyStarted(
                f"there is a schedule {id!r} already: client.schedules.handle({id!r}).update(...) "
                "changes it"
            ) from None
        return self.handle(id)

    def handle(self, id: str) -> ScheduleHandle:
        """Return a handle on a schedule without asking anybody."""
        return ScheduleHandle(self._client, checks.name(id, "schedules.handle: id"))

    async def list(self) -> AsyncIterator[ScheduleSummary]:
        """Yield all schedules of the namespace, shard by shard."""
        now_ms = self._client._calls.now_ms()
        async for run in self._client.list(workflow=SCHEDULE):
            if run.status.is_open:
                yield _summary(run, now_ms)

    def preview(
        self, *, count: int = 10, after: datetime | None = None, **times: Unpack[TimeOptions]
    ) -> Sequence[datetime]:
        """Return the next times that a schedule would have, in its time zone; nobody is asked.

        They are ``count`` at the most, after a time (default: now). Raises ``InvalidArgument``.
        """
        return previewed(count, after or _time(self._client._calls.now_ms()), times)


class HasSchedules(ABC):
    """The part of a client that has schedules."""

    _calls: ClientCalls

    @abstractmethod
    def _prepared(self, *args: Any, **how: Any) -> tuple[Handle[Any], Any]: ...

    @abstractmethod
    def _handle(self, id: str, run_id: str | None, result_type: Any) -> Handle[Any]: ...

    @abstractmethod
    def list(self, *, workflow: str | None = None) -> AsyncIterator[RunDescription]: ...

    @property
    def schedules(self) -> Schedules:
        """The schedules of the namespace: ``create``, ``list``, ``handle``, ``preview``."""
        return Schedules(self)


def previewed(count: int, after: datetime | None, times: Mapping[str, Any]) -> Sequence[datetime]:
    """Return the next times that these options name, after one (None: now)."""
    count = checks.whole(count, "preview: count", 1)
    if count > _PREVIEW_MAX:
        raise InvalidArgument(f"preview: count: give {_PREVIEW_MAX:,} at the most")
    plain = plain_options("preview", times)
    when = checked_when(When.of(merged({}, plain)["when"]), "preview")
    after_ms = checks.time_ms(after or datetime.now(UTC), "preview: after")
    zone = zone_named(when.tz)
    return [_time(each, zone) for each in islice(when.after(after_ms), count)]


def _check_size(calls: ClientCalls, call: str, config: Mapping[str, Any]) -> None:
    size = len(calls.encoded(f"{call}: what the schedule is told", config) or b"")
    if size > _CONFIG_BYTES_MAX:
        raise InvalidArgument(
            f"{call}: what the schedule is told has {size:,} bytes, and {_CONFIG_BYTES_MAX:,} are "
            "the most: keep large values elsewhere, and pass where they are"
        )


def _time(ms: int, zone: tzinfo = UTC) -> datetime:
    return datetime.fromtimestamp(ms / 1000, zone)


def _next(when: When, state: Mapping[str, Any], now_ms: int, count: int) -> list[datetime]:
    """Return the next times: the first one as it was recorded."""
    if state["over"] or state["remaining"] == 0:
        return []
    if state["remaining"] is not None:
        count = min(count, state["remaining"])
    known = [nominal_ms for nominal_ms, _ in state["upcoming"][:count]]
    after_ms = known[-1] if known else state["after_ms"] or now_ms
    if state["paused"]:
        known, after_ms = [], now_ms
    zone = zone_named(when.tz)
    more = islice(when.after(after_ms), count - len(known))
    return [_time(each, zone) for each in (*known, *more)]


def _action(view: Mapping[str, Any]) -> ScheduleAction:
    ended_ms = view.get("ended_ms")
    return ScheduleAction(
        view["workflow_id"],
        _time(view["nominal_ms"]),
        view["by"],
        view["status"],
        _time(view["begun_ms"]),
        None if ended_ms is None else _time(ended_ms),
        view.get("why", ""),
    )


def _description(id: str, told: Mapping[str, Any], now_ms: int) -> ScheduleDescription:
    config, state = told["config"], told["state"]
    when = When.of(config["when"])
    return ScheduleDescription(
        id,
        config["workflow"],
        config["args"],
        summary(when),
        {name: each for name, each in config.items() if name not in ("workflow", "args")},
        state["paused"],
        state["note"],
        _next(when, state, now_ms, _NEXT),
        [_action(each) for each in state["running"].values()],
        [_action(each) for each in reversed(state["recent"])],
        len(state["waiting"]),
        **state["counts"],
        remaining=state["remaining"],
        last_result=state["last_result"],
    )


def _summary(run: RunDescription, now_ms: int) -> ScheduleSummary:
    memo = run.memo if isinstance(run.memo, dict) else {}  # these payloads cannot decode it
    when, paused = When.of(memo.get("when", {})), memo.get("paused", False)
    following = None if paused else next(when.after(now_ms), None)
    return ScheduleSummary(
        run.workflow_id.removeprefix(ID_PREFIX),
        memo.get("workflow", ""),
        summary(when) or "(encoded)",
        paused,
        memo.get("schedule_note") or "",
        None if following is None else _time(following, zone_named(when.tz)),
        memo.get("declared"),
    )
