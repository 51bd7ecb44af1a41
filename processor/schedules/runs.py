"""What a schedule starts: which runs begin, which wait for others, and what they come to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from processor import workflow
from processor.attributes import of_plain
from processor.errors import (
    ChildFailed,
    ProcessorError,
    SchemaMismatch,
    WorkflowAlreadyStarted,
    WorkflowCancelled,
    WorkflowError,
    WorkflowNotFound,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from processor.policy import RetryPolicy
from processor.schedules.spec import ID_PREFIX
from processor.workflow._context import current

__all__ = ("WAITING_MAX", "StartsRuns", "beginning", "memo_of", "run_id_of")

WAITING_MAX: Final = 1_000
"""Runs that wait for their turn, and times that one backfill makes up for, at the most."""

_RUNNING_MAX: Final = 1_000
"""Runs of one schedule that run at once at the most; then they wait for their turn."""

_RECENT: Final = 10
_LAST_RESULT_BYTES: Final = 100_000
_WHY_MAX: Final = 1_000
_FAILED: Final = ("failed", "timed_out", "not_started")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ENDS: Final[Mapping[type[WorkflowError], str]] = {
    WorkflowCancelled: "cancelled",
    WorkflowTerminated: "terminated",
    WorkflowTimedOut: "timed_out",
}


def beginning(*, paused: bool, note: str, limit: int | None) -> dict[str, Any]:
    """Return where a schedule stands before it begins."""
    return {
        "paused": paused,
        "note": note,
        "remaining": limit,
        "after_ms": None,
        "looked_ms": 0,
        "over": False,
        "triggered_ms": 0,
        "upcoming": [],
        "running": {},
        "waiting": [],
        "recent": [],
        "counts": {"actions": 0, "skipped": 0, "missed": 0, "dropped": 0},
        "last_result": None,
    }


def memo_of(config: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a list shows of a schedule."""
    return {
        "workflow": config["workflow"],
        "when": config["when"],
        "declared": config.get("declared"),
        "paused": state["paused"],
        "schedule_note": state["note"] or None,
    }


def run_id_of(id: str, nominal_ms: int) -> str:
    """Return the workflow id of a run: each time has one of its own."""
    at = datetime.fromtimestamp(nominal_ms / 1000, UTC)
    kind = "milliseconds" if nominal_ms % 1000 else "seconds"
    return f"{id}-{at.replace(tzinfo=None).isoformat(timespec=kind)}Z"


class StartsRuns:
    """The part of a schedule that starts runs. ``running`` and ``waiting`` are of its state.

    ``begins`` are runs whose start is asked for by a task of this turn, with what ends them then.
    """

    def __init__(self, config: dict[str, Any], state: dict[str, Any]) -> None:
        self.config = config
        self.state = state
        self.id = workflow.info().workflow_id.removeprefix(ID_PREFIX)
        self.running: dict[str, dict[str, Any]] = state["running"]
        self.waiting: list[dict[str, Any]] = state["waiting"]
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.begins: dict[str, asyncio.Handle | None] = {}
        self.is_changed = False

    def _now_ms(self) -> int:
        return (workflow.now() - _EPOCH) // timedelta(milliseconds=1)

    def _ask(self, nominal_ms: int, by: str, overlap: str | None, *, again: bool = False) -> str:
        """Let a run begin, now or later or never, as the policy for overlaps says."""
        how = overlap or self.config.get("overlap", "skip")
        asked = {
            "workflow_id": run_id_of(self.id, nominal_ms),
            "nominal_ms": nominal_ms,
            "by": by,
            "overlap": how,
            "again": again,
        }
        waiting = self.waiting
        if self._may_start(asked):
            self._start(asked)
        elif how == "skip" or (how == "buffer-one" and waiting):
            self.state["counts"]["skipped"] += 1
        elif how in ("cancel-other", "terminate-other"):
            for id in self.running:
                self._end(id, how)
            self.state["counts"]["skipped"] += len(waiting)
            waiting[:] = [asked]
        elif len(waiting) < WAITING_MAX:
            waiting.append(asked)
        else:
            self.state["counts"]["dropped"] += 1
        return str(asked["workflow_id"])

    def _may_start(self, asked: Mapping[str, Any]) -> bool:
        if asked["by"] == "schedule" and self.state["paused"]:
            return False
        most = _RUNNING_MAX if asked["overlap"] == "allow-all" else 1
        return len(self.running) < most and asked["workflow_id"] not in self.running

    def _start(self, asked: dict[str, Any]) -> None:
        state, id = self.state, asked["workflow_id"]
        if asked["by"] == "schedule" and state["remaining"] is not None:
            if state["remaining"] == 0:
                return
            state["remaining"] -= 1
        begun = {**asked, "begun_ms": self._now_ms(), "status": "running"}
        self.running[id] = begun
        self.begins[id] = None
        state["recent"] = [*state["recent"], begun][-_RECENT:]
        state["counts"]["actions"] += 1
        config, retry = self.config, self.config.get("retry")
        timeout_ms = config.get("execution_timeout_ms")
        self._watch(
            id,
            workflow.call_child(
                config["workflow"],
                *config["args"],
                id=id,
                reuse="allow" if asked["again"] else "reject",
                parent_close="abandon",
                cancellation="abandon",
                execution_timeout=None
                if timeout_ms is None
                else timedelta(milliseconds=timeout_ms),
                retry=None if retry is None else RetryPolicy(**retry),
                memo=config.get("memo"),
                attributes=of_plain(config.get("attributes") or {}),
                last_result=state["last_result"],
            ),
        )

    def _end(self, id: str, how: str) -> None:
        """End a run; one that begins in this turn is ended once, behind its start."""
        if id not in self.begins:
            self._ended(id, how)
        elif self.begins[id] is None:
            self.begins[id] = asyncio.get_running_loop().call_soon(self._ended, id, how)

    def _ended(self, id: str, how: str) -> None:
        one = workflow.InstanceHandle
        end = one.cancel if how == "cancel-other" else one.terminate
        end(workflow.handle(id), f"schedule {self.id!r} begins another run")

    def _watch(self, id: str, end: Awaitable[Any]) -> None:
        task = asyncio.get_running_loop().create_task(self._watched(id, end))
        self.tasks[id] = task  # asyncio keeps no task that nobody holds

    async def _watched(self, id: str, end: Awaitable[Any]) -> None:
        """Wait for the end of a run, and do what waits for it."""
        status, result, why = "completed", None, ""
        self.begins.pop(id, None)
        try:
            result = await end
        except WorkflowAlreadyStarted:
            status = "has_run"
            self.state["counts"]["actions"] -= 1
        except ChildFailed as error:
            status, why = error.kind, str(error)
        except WorkflowError as error:
            status, why = _ENDS.get(type(error), "failed"), str(error)
        except SchemaMismatch as error:
            why = str(error)
        except WorkflowNotFound:
            status = "purged"
        except ProcessorError as error:
            status, why = "not_started", str(error)
        begun = self.running.pop(id)
        del self.tasks[id]
        begun |= {"status": status, "why": why[:_WHY_MAX], "ended_ms": self._now_ms()}
        self.state["recent"] = [
            begun if (each["workflow_id"], each["begun_ms"]) == (id, begun["begun_ms"]) else each
            for each in self.state["recent"]
        ]
        if status == "completed" and not why:
            self._keep(result)
        if status in _FAILED and self.config.get("pause_on_failure") and not self.state["paused"]:
            self._told(f"{id}: {why}"[:_WHY_MAX], paused=True)
        self._start_waiting()

    def _keep(self, result: Any) -> None:
        """Let the next run have a result; what is too large is left out."""
        encoded = current("schedule").payloads.encode(result)
        small = len(encoded or b"") <= _LAST_RESULT_BYTES
        self.state["last_result"] = result if small else None

    def _start_waiting(self) -> None:
        for asked in list(self.waiting):
            if self._may_start(asked):
                self.waiting.remove(asked)
                self._start(asked)

    def _told(self, note: str | None = None, *, paused: bool | None = None) -> None:
        """Show what has changed, and let the code see it."""
        if note is not None:
            self.state["note"] = note
        if paused is not None:
            self.state["paused"] = paused
        workflow.upsert_memo(memo_of(self.config, self.state))
        self.is_changed = True
