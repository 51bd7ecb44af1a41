"""The heartbeats of one attempt: all are taken, few are sent, and the last one always is."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ("Heartbeats",)

_NEVER: Final = float("-inf")

_SHARE_OF_TIMEOUT: Final = 0.5
"""How much of the heartbeat time-out may pass between two heartbeats that are sent."""


class Heartbeats:
    """``details`` are those of the last one. ``take`` is called in the activity's thread.

    ``waits``: the next one is sent as soon as the throttle allows it.
    """

    __slots__ = ("_beat_at", "_sent_at", "_throttle_s", "_unsent", "details", "waits")

    def __init__(self, now_s: float, throttle_s: float, heartbeat_ms: int | None) -> None:
        if heartbeat_ms is not None:
            throttle_s = min(throttle_s, heartbeat_ms / 1000 * _SHARE_OF_TIMEOUT)
        self._throttle_s = throttle_s
        self._beat_at = now_s
        self._sent_at = _NEVER
        self._unsent: deque[bytes | None] = deque(maxlen=1)
        self.details: bytes | None = None
        self.waits = False

    @property
    def unsent(self) -> bool:
        return bool(self._unsent)

    def take(self, details: bytes | None, now_s: float) -> None:
        self._beat_at = now_s
        self.details = details
        self._unsent.append(details)

    def sent(self, now_s: float) -> bytes | None:
        """Return the details that are to be sent now."""
        self._sent_at = now_s
        return self._unsent.popleft()

    def wait_s(self, now_s: float) -> float:
        """Return how long the throttle holds the next one back; 0 or less where it does not."""
        return self._sent_at + self._throttle_s - now_s

    def silent_s(self, now_s: float) -> float:
        """Return for how long no heartbeat came."""
        return now_s - self._beat_at
