"""One attempt of an activity, as the activity itself sees it (``activity.info()`` and so on)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from processor.activities.heartbeats import Heartbeats
from processor.activities.threads import ThreadCall
from processor.activity import ActivityInfo
from processor.config import Settings
from processor.core.data.payloads import Payloads
from processor.core.inputs import ActivityReport
from processor.core.records.effects import ActivityTask
from processor.errors import PayloadTooLarge

__all__ = ("Attempt", "Home", "Report")

Report = Callable[[ActivityReport], None]


class Home(NamedTuple):
    """What all attempts of a process have in common."""

    payloads: Payloads
    settings: Settings
    loop: asyncio.AbstractEventLoop
    namespace: str


class Attempt:
    """Implements ``ActivityContext``; its methods may be called from the activity's thread.

    ``running`` is its asyncio task until it is over. ``entered``: that task has begun. ``began_ms``
    is when the activity's function began, which may wait for a thread. ``announces``: its shard is
    told then. ``call``: it runs in a thread. ``timers`` are those of ``Timeouts``, by name.
    ``ended_by``: what ended the attempt while its function ran, which is a kind of time-out,
    "cancelled", or "stopped" before it began; empty until then. ``stops``: it was asked to stop,
    and its run waits for what comes of it.
    """

    __slots__ = (
        "_heartbeats",
        "_home",
        "_send_heartbeat",
        "announces",
        "began_ms",
        "call",
        "ended_by",
        "entered",
        "report",
        "running",
        "stops",
        "task",
        "timers",
    )

    def __init__(
        self,
        task: ActivityTask,
        report: Report,
        home: Home,
        send_heartbeat: Callable[[Attempt, bytes | None], None],
        announces: bool,
    ) -> None:
        self.task = task
        self.report = report
        self.announces = announces
        self.entered = False
        self.ended_by = ""
        self.stops = False
        self.began_ms: int | None = None
        self.call: ThreadCall | None = None
        self.running: asyncio.Task[None] | None = None
        self.timers: dict[str, asyncio.TimerHandle] = {}
        self._heartbeats: Heartbeats | None = None
        self._home = home
        self._send_heartbeat = send_heartbeat

    def begins(self, now_ms: int) -> None:
        """Note that the function begins; may be called from its thread."""
        self.began_ms = now_ms
        if self.task.heartbeat_ms is not None:
            self._beats()

    @property
    def why(self) -> str:
        """What ended it, or that it was asked to stop; empty where neither is so."""
        return self.ended_by or ("stopped" if self.stops else "")

    @property
    def is_timed(self) -> bool:
        """Whether something has to be done on the loop when the function begins."""
        task = self.task
        return self.announces or not task.start_to_close_ms is task.heartbeat_ms is None

    @property
    def details(self) -> bytes | None:
        """Those of the last heartbeat of any attempt."""
        beats = self._heartbeats
        return self.task.heartbeat_details if beats is None else beats.details

    @property
    def info(self) -> ActivityInfo:
        task = self.task
        deadline_ms = task.deadline_ms
        if task.start_to_close_ms is not None:
            began_ms = task.scheduled_ms if self.began_ms is None else self.began_ms
            close_ms = began_ms + task.start_to_close_ms
            deadline_ms = close_ms if deadline_ms is None else min(deadline_ms, close_ms)
        return ActivityInfo(
            workflow_id=task.workflow_id,
            run_id=task.run_id,
            id=task.id,
            attempt=task.attempt,
            name=task.name,
            heartbeat_details=task.heartbeat_details,
            deadline=None if deadline_ms is None else _time(deadline_ms),
            headers=dict(task.headers),
            workflow=task.workflow,
            queue=task.queue,
            namespace=self._home.namespace,
            scheduled=_time(task.scheduled_ms),
            started=_time(task.scheduled_ms if self.began_ms is None else self.began_ms),
            start_to_close=_duration(task.start_to_close_ms),
            heartbeat=_duration(task.heartbeat_ms),
        )

    def heartbeat(self, details: Any) -> None:
        payload = None if details is None else self._home.payloads.encode(details)
        limit = self._home.settings.payload_bytes_max
        if payload is not None and len(payload) > limit:
            raise PayloadTooLarge(
                f"activity.heartbeat: the details in activity {self.task.name!r} have "
                f"{len(payload):,} bytes; the limit is {limit:,}. Keep the value elsewhere and "
                "give where it is"
            )
        self._beats().take(payload, self._home.loop.time())
        self._home.loop.call_soon_threadsafe(self._beat)

    def silent_s(self) -> float:
        """Return for how long no heartbeat came."""
        return self._beats().silent_s(self._home.loop.time())

    def is_cancelled(self) -> bool:
        """A function in a thread may outlive its attempt: nobody takes what it returns then."""
        if self.call is not None:
            self.call.asks = True
        return bool(self.ended_by) or self.stops or self.running is None

    def shield(self) -> AbstractContextManager[None]:
        return nullcontext() if self.call is None else self.call.shielded()

    def decode(self, payload: bytes, type: Any) -> Any:
        return self._home.payloads.decoder(type)(payload)

    def send_unsent(self) -> None:
        """Send the details that the throttle still holds back: the next attempt begins with them.

        Nothing happens where there are none.
        """
        beats = self._heartbeats
        if beats is not None and beats.unsent:
            self._send_heartbeat(self, beats.sent(self._home.loop.time()))

    def _beats(self) -> Heartbeats:
        """Return the heartbeats, from the first one on or from when the function begins."""
        beats = self._heartbeats
        if beats is None:
            throttle_s = self._home.settings.heartbeat_throttle_s
            beats = Heartbeats(self._home.loop.time(), throttle_s, self.task.heartbeat_ms)
            beats.details = self.task.heartbeat_details
            self._heartbeats = beats
        return beats

    def _beat(self) -> None:
        """Send now, or once for all that come within the throttle time."""
        beats = self._beats()
        if self.running is None or beats.waits:
            return
        wait_s = beats.wait_s(self._home.loop.time())
        if wait_s <= 0:
            self.send_unsent()
        elif beats.unsent:
            beats.waits = True
            self._home.loop.call_later(wait_s, self._flush)

    def _flush(self) -> None:
        self._beats().waits = False
        if self.running is not None:
            self.send_unsent()


def _duration(ms: int | None) -> timedelta | None:
    return None if ms is None else timedelta(milliseconds=ms)


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
