"""One attempt of an activity, as the activity itself sees it (``activity.info()`` and so on)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from processor.activities.threads import Call
from processor.activity import ActivityInfo
from processor.config import Settings
from processor.core.data.payloads import Payloads
from processor.core.inputs import ActivityReport
from processor.core.records.effects import ActivityTask
from processor.errors import PayloadTooLarge

__all__ = ("Attempt", "Report")

Report = Callable[[ActivityReport], None]

_NEVER: Final = float("-inf")

_SHARE_OF_TIMEOUT = 0.5
"""How much of the heartbeat time-out may pass between two heartbeats that are sent."""


class Attempt:
    """Implements ``ActivityContext``; its methods may be called from the activity's thread.

    ``running`` is its asyncio task until it is over. ``entered``: that task has begun.
    ``function_began``: so has the activity's function, which may wait for a thread.
    ``announces``: its shard is told when the function begins. ``call``: it runs in a thread.
    ``limit`` is the time-out that it runs under. ``ended_by``: what ended the attempt while its
    function ran, which is a kind of time-out, or "cancelled"; empty until then. ``overdue`` comes
    when the function does not end in spite of that.
    """

    __slots__ = (
        "_beat_at",
        "_began_ms",
        "_bytes_max",
        "_loop",
        "_payloads",
        "_send_heartbeat",
        "_sent_at",
        "_throttle_s",
        "_unsent",
        "_waits",
        "announces",
        "announcing",
        "call",
        "details",
        "ended_by",
        "entered",
        "function_began",
        "limit",
        "overdue",
        "report",
        "running",
        "task",
        "watchdog",
    )

    def __init__(
        self,
        task: ActivityTask,
        report: Report,
        payloads: Payloads,
        settings: Settings,
        send_heartbeat: Callable[[Attempt, bytes | None], None],
        loop: asyncio.AbstractEventLoop,
        announces: bool,
    ) -> None:
        self.task = task
        self.report = report
        self.announces = announces
        self.entered = False
        self.function_began = False
        self.ended_by = ""
        self.call: Call | None = None
        self.running: asyncio.Task[None] | None = None
        self.announcing: asyncio.TimerHandle | None = None
        self.watchdog: asyncio.TimerHandle | None = None
        self.limit: asyncio.TimerHandle | None = None
        self.overdue: asyncio.TimerHandle | None = None
        self.details = task.heartbeat_details
        self._began_ms = task.scheduled_ms
        self._payloads = payloads
        self._send_heartbeat = send_heartbeat
        self._loop = loop
        self._beat_at = 0.0
        self._sent_at = _NEVER
        self._throttle_s = settings.heartbeat_throttle_s
        self._bytes_max = settings.payload_bytes_max
        self._unsent: deque[bytes | None] | None = None
        self._waits = False
        if task.heartbeat_ms is not None:
            self._throttle_s = min(self._throttle_s, task.heartbeat_ms / 1000 * _SHARE_OF_TIMEOUT)

    def begins(self, now_ms: int) -> None:
        """Note that the function begins; may be called from its thread."""
        self._began_ms = now_ms
        self._beat_at = self._loop.time()
        self.function_began = True

    @property
    def is_timed(self) -> bool:
        """Whether something has to be done on the loop when the function begins."""
        task = self.task
        return self.announces or not task.start_to_close_ms is task.heartbeat_ms is None

    @property
    def info(self) -> ActivityInfo:
        task = self.task
        deadline_ms = task.deadline_ms
        if task.start_to_close_ms is not None:
            close_ms = self._began_ms + task.start_to_close_ms
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
        )

    def heartbeat(self, details: Any) -> None:
        payload = None if details is None else self._payloads.encode(details)
        if payload is not None and len(payload) > self._bytes_max:
            raise PayloadTooLarge(
                f"activity.heartbeat: the details in activity {self.task.name!r} have "
                f"{len(payload):,} bytes; the limit is {self._bytes_max:,}. Keep the value "
                "elsewhere and give where it is"
            )
        self._beat_at = self._loop.time()
        self.details = payload
        if self._unsent is None:
            self._unsent = deque(maxlen=1)
        self._unsent.append(payload)
        self._loop.call_soon_threadsafe(self._beat)

    def silent_s(self) -> float:
        """Return for how long no heartbeat came."""
        return self._loop.time() - self._beat_at

    def is_cancelled(self) -> bool:
        """A function in a thread may outlive its attempt: nobody takes what it returns then."""
        return bool(self.ended_by) or self.running is None

    def decode(self, payload: bytes, type: Any) -> Any:
        return self._payloads.decoder(type)(payload)

    def send_unsent(self) -> None:
        """Send the details that the throttle still holds back: the next attempt begins with them.

        Nothing happens where there are none.
        """
        if self._unsent:
            self._sent_at = self._loop.time()
            self._send_heartbeat(self, self._unsent.popleft())

    def _beat(self) -> None:
        """Send now, or once for all that come within the throttle time."""
        wait_s = self._sent_at + self._throttle_s - self._loop.time()
        if self.running is None or self._waits or not self._unsent:
            return
        if wait_s <= 0:
            self.send_unsent()
        else:
            self._waits = True
            self._loop.call_later(wait_s, self._flush)

    def _flush(self) -> None:
        self._waits = False
        if self.running is not None:
            self.send_unsent()


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
