"""One attempt of an activity, as the activity itself sees it (``activity.info()`` and so on)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from processor.activity import ActivityInfo
from processor.core.effects import ActivityTask
from processor.core.inputs import ActivityReport
from processor.core.payloads import Payloads

__all__ = ("Attempt", "Report")

Report = Callable[[ActivityReport], None]

_NEVER: Final = float("-inf")

_SHARE_OF_TIMEOUT = 0.5
"""How much of the heartbeat time-out may pass between two heartbeats that are sent."""


class Attempt:
    """Implements ``ActivityContext``; its methods may be called from the activity's thread.

    ``running`` is its asyncio task until it is over.
    """

    __slots__ = (
        "_beat_at",
        "_begun_ms",
        "_loop",
        "_payloads",
        "_send_heartbeat",
        "_sent_at",
        "_throttle_s",
        "_unsent",
        "announcing",
        "begun",
        "cancelled",
        "details",
        "report",
        "running",
        "task",
    )

    def __init__(
        self,
        task: ActivityTask,
        report: Report,
        payloads: Payloads,
        throttle_s: float,
        send_heartbeat: Callable[[Attempt, bytes | None], None],
        loop: asyncio.AbstractEventLoop,
        begun_ms: int,
    ) -> None:
        self.task = task
        self.report = report
        self.begun = False
        self._begun_ms = begun_ms
        self.cancelled = False
        self.running: asyncio.Task[None] | None = None
        self.announcing: asyncio.TimerHandle | None = None
        self.details = task.heartbeat_details
        self._payloads = payloads
        self._send_heartbeat = send_heartbeat
        self._loop = loop
        self._beat_at = 0.0
        self._sent_at = _NEVER
        self._throttle_s = throttle_s
        self._unsent: tuple[bytes | None] | None = None
        if task.heartbeat_ms is not None:
            self._beat_at = loop.time()
            self._throttle_s = min(throttle_s, task.heartbeat_ms / 1000 * _SHARE_OF_TIMEOUT)

    @property
    def info(self) -> ActivityInfo:
        task = self.task
        deadline_ms = task.deadline_ms
        if task.start_to_close_ms is not None:
            close_ms = self._begun_ms + task.start_to_close_ms
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
        self._beat_at = self._loop.time()
        self.details = payload
        self._loop.call_soon_threadsafe(self._beat, payload)

    def silent_s(self) -> float:
        """Return for how long no heartbeat came."""
        return self._loop.time() - self._beat_at

    def is_cancelled(self) -> bool:
        return self.cancelled

    def decode(self, payload: bytes, type: Any) -> Any:
        return self._payloads.decoder(type)(payload)

    def _beat(self, payload: bytes | None) -> None:
        """Send now, or once for all that come within the throttle time."""
        wait_s = self._sent_at + self._throttle_s - self._loop.time()
        if wait_s <= 0:
            self._sent_at = self._loop.time()
            self._send_heartbeat(self, payload)
        elif self._unsent is None:
            self._unsent = (payload,)
            self._loop.call_later(wait_s, self._flush)
        else:
            self._unsent = (payload,)

    def _flush(self) -> None:
        if self._unsent is not None and self.running is not None:
            (payload,), self._unsent = self._unsent, None
            self._sent_at = self._loop.time()
            self._send_heartbeat(self, payload)


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
