"""How long to wait before something is tried again."""

from __future__ import annotations

from collections.abc import Callable
from random import uniform

__all__ = ("Backoff", "Pace", "Rounds")

_FIRST_S = 0.1
_MAX_S = 5.0
_JITTER = 0.2
"""What many wait for at once is not tried by all of them at one moment."""

_CALM_S = 10.0


class Backoff:
    """``first_s``, then twice as long each time, ``max_s`` at the most; after ``reset`` from start.

    Each delay is up to a fifth shorter than that, as ``draw`` says: a number between two others.
    """

    def __init__(
        self,
        first_s: float = _FIRST_S,
        max_s: float = _MAX_S,
        draw: Callable[[float, float], float] = uniform,
    ) -> None:
        self._first_s = self._delay_s = first_s
        self._max_s = max_s
        self._draw = draw

    def next_s(self) -> float:
        delay_s = self._delay_s
        self._delay_s = min(delay_s * 2, self._max_s)
        return delay_s * self._draw(1 - _JITTER, 1.0)

    def reset(self) -> None:
        self._delay_s = self._first_s


class Pace:
    """Bounds how often something is tried: at once after a calm time, then ever more seldom.

    Success is not asked for: what is tried again soon has not lasted. ``now`` is in seconds.
    """

    def __init__(
        self,
        first_s: float,
        max_s: float,
        calm_s: float = _CALM_S,
        draw: Callable[[float, float], float] = uniform,
    ) -> None:
        self._backoff = Backoff(first_s, max_s, draw)
        self._calm_s = calm_s
        self._next_at = 0.0

    def due(self, now: float) -> bool:
        """Return whether ``wait_s`` would be 0."""
        return now >= self._next_at

    def wait_s(self, now: float) -> float:
        """Return how long to wait before the try that is about to be made."""
        if now > self._next_at + self._calm_s:
            self._backoff.reset()
        begins = max(now, self._next_at)
        self._next_at = begins + self._backoff.next_s()
        return begins - now


class Rounds(Pace):
    """As ``Pace``, for many that are tried together: who asks before a round begins is in it."""

    def wait_s(self, now: float) -> float:
        if now >= self._next_at:
            if now > self._next_at + self._calm_s:
                self._backoff.reset()
            self._next_at = now + self._backoff.next_s()
        return self._next_at - now
