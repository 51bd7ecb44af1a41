"""How long to wait before something is tried again."""

from __future__ import annotations

__all__ = ("Backoff",)

_FIRST_S = 0.1
_MAX_S = 5.0


class Backoff:
    """0.1 s, then twice as long each time, 5 s at the most; after ``reset`` from the start."""

    def __init__(self) -> None:
        self._delay_s = _FIRST_S

    def next_s(self) -> float:
        delay_s = self._delay_s
        self._delay_s = min(delay_s * 2, _MAX_S)
        return delay_s

    def reset(self) -> None:
        self._delay_s = _FIRST_S
