"""The workflow that a schedule is: it waits for its next time, and starts a run then.

Its argument holds what it was told and where it stands, as plain values. A run of it is short: it
goes on as a new one after some actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from itertools import islice, takewhile
from typing import Any, Final

from processor import workflow
from processor.errors import ApplicationError, InvalidArgument
from processor.schedules.calendar import When
from processor.schedules.runs import WAITING_MAX, StartsRuns
from processor.schedules.spec import CATCH_UP_MS, REFUSED, SCHEDULE, checked_when, merged

__all__ = ("Schedule",)

_LOOK_MAX: Final = 1_000
"""Times that are reckoned at once."""

_LOOK_AGAIN_MS: Final = 7 * 86_400_000
"""The next time is reckoned again after a week: the data of time zones may have changed."""

_EVENTS_MAX: Final = 250


@workflow.define(name=SCHEDULE)
class Schedule(StartsRuns):
    """One schedule. Its handlers return at once: what takes time is done by tasks."""

    @workflow.run
    async def run(self, config: dict[str, Any], state: dict[str, Any]) -> None:
        for id in list(self.running):  # a run of this schedule before this one has started them
            self._watch(id, workflow.handle(id).result())
        while True:
            if workflow.info().history_events >= _EVENTS_MAX:
                workflow.continue_as_new(self.config, self.state)
            self._act_on_time()
            self.is_changed = False
            with suppress(TimeoutError):
                await workflow.wait_until(lambda: self.is_changed, timeout=self._rest())

    # --- what it is told ----------------------------------------------------------------------

    @workflow.update
    def change(self, changes: dict[str, Any], whole: bool) -> None:
        """Take changes, or all that it is to be told (``whole``)."""
        changed = _changed(self.config, changes, whole)
        if why := workflow.side_effect(lambda: _why_not(changed["when"]), str):
            raise _refused(why)
        self._act_on_time()
        before, self.config = self.config, changed
        limit = self.config.get("limit")
        if limit != before.get("limit") or ("limit" in changes and not whole):
            self.state["remaining"] = limit
        if self.config["workflow"] != before["workflow"]:
            self.state["last_result"] = None
        if self.config["when"] != before["when"]:
            self._look_anew()
        self._told()

    @workflow.update
    def pause(self, note: str) -> bool:
        self._act_on_time()
        was = bool(self.state["paused"])
        self._told(note, paused=True)
        return not was

    @workflow.update
    def resume(self, note: str) -> bool:
        was = bool(self.state["paused"])
        self._told(note, paused=False)
        if was:
            self._look_anew()
            self._start_waiting()
        return was

    @workflow.update
    def trigger(self, overlap: str | None) -> str:
        nominal_ms = max(self._now_ms(), self.state["triggered_ms"] + 1)
        self.state["triggered_ms"] = nominal_ms
        return self._ask(nominal_ms, "trigger", overlap)

    @workflow.update
    def backfill(self, start_ms: int, end_ms: int, overlap: str, again: bool) -> int:
        when, room = self.config["when"], WAITING_MAX - len(self.waiting)
        found = workflow.side_effect(lambda: _between(when, start_ms, end_ms, room + 1), list[int])
        if len(found) > room:
            raise _refused(
                f"backfill: there are more than {room:,} times from start to end, and no more can "
                "wait for their turn: take a shorter span, and the rest when those have run"
            )
        for nominal_ms in found:
            self._ask(nominal_ms, "backfill", overlap, again=again)
        return len(found)

    @workflow.query
    def describe(self) -> dict[str, Any]:
        return {"config": self.config, "state": self.state}

    # --- time ---------------------------------------------------------------------------------

    def _act_on_time(self) -> None:
        """Do what is due, and find the next time. What is far behind is done in several turns."""
        state, now_ms = self.state, self._now_ms()
        if state["after_ms"] is None:
            state["after_ms"] = now_ms
        for _ in range(2):  # what the first look finds is due, and then there is a next time
            if not self._waits_for_time:
                return
            if self._has_to_look(now_ms):
                self._look(now_ms)
            while state["upcoming"] and state["upcoming"][0][1] <= now_ms and self._waits_for_time:
                nominal_ms, at_ms = state["upcoming"].pop(0)
                state["after_ms"] = nominal_ms
                if now_ms - at_ms > self.config.get("catch_up_ms", CATCH_UP_MS):
                    state["counts"]["missed"] += 1
                else:
                    self._ask(nominal_ms, "schedule", None)

    @property
    def _waits_for_time(self) -> bool:
        state = self.state
        return not state["paused"] and state["remaining"] != 0 and not state["over"]

    def _has_to_look(self, now_ms: int) -> bool:
        upcoming = self.state["upcoming"]
        if not upcoming:
            return True
        return bool(upcoming[0][1] > now_ms and now_ms - self.state["looked_ms"] >= _LOOK_AGAIN_MS)

    def _look(self, now_ms: int) -> None:
        when, after_ms, id = self.config["when"], self.state["after_ms"], self.id
        found = workflow.side_effect(lambda: _due(when, id, after_ms, now_ms), list[list[int]])
        self.state |= {"upcoming": found, "looked_ms": now_ms, "over": not found}

    def _look_anew(self) -> None:
        """Forget the next time: it is paused no more, or has other times."""
        self.state |= {"after_ms": self._now_ms(), "upcoming": [], "over": False}

    def _rest(self) -> timedelta | None:
        """Return for how long there is nothing to do, None: until it is told something."""
        if not self._waits_for_time:
            return None
        upcoming, wait_ms = self.state["upcoming"], 1
        if upcoming:
            wait_ms = max(min(upcoming[0][1] - self._now_ms(), _LOOK_AGAIN_MS), 1)
        return timedelta(milliseconds=wait_ms)


def _changed(config: Mapping[str, Any], changes: dict[str, Any], whole: bool) -> dict[str, Any]:
    return changes if whole else merged(config, changes)


def _why_not(when: Mapping[str, Any]) -> str:
    """Return why nobody can have such times; "" where they are right."""
    try:
        checked_when(When.of(when), "update")
    except InvalidArgument as error:
        return str(error)
    return ""


def _refused(why: str) -> ApplicationError:
    """Return what fails an update, and not the schedule; who asked for it is told REFUSED."""
    return ApplicationError(why, type=REFUSED, retryable=False)


def _due(when: Mapping[str, Any], id: str, after_ms: int, now_ms: int) -> list[tuple[int, int]]:
    """Return the times that are due after one, and the next one, each with when to act."""
    found = []
    for nominal_ms, at_ms in islice(When.of(when).due(id, after_ms), _LOOK_MAX):
        found.append((nominal_ms, at_ms))
        if nominal_ms > now_ms:
            break
    return found


def _between(when: Mapping[str, Any], start_ms: int, end_ms: int, most: int) -> list[int]:
    """Return the times from one on, before another one, as many as may be."""
    times = takewhile(lambda each: each < end_ms, When.of(when).after(start_ms - 1))
    return [*islice(times, most)]
