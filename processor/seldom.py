"""Saying the same thing seldom: what is wrong may be wrong for each of many records."""

from __future__ import annotations

from time import monotonic
from typing import Final

__all__ = ("Seldom",)

_SUBJECTS_MAX: Final = 1_000


class Seldom:
    """Says whether it is time to say the same thing again: once in ``every_s`` for each subject."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._said: dict[str, float] = {}

    def __call__(self, subject: str = "") -> bool:
        now = monotonic()
        if now - self._said.get(subject, float("-inf")) < self._every_s:
            return False
        if len(self._said) >= _SUBJECTS_MAX:
            self._said.clear()
        self._said[subject] = now
        return True
