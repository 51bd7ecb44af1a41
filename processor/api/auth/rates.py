"""How many requests each caller may make: a bucket of tokens for each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Final

__all__ = ("Rates",)

_CALLERS_MAX: Final = 10_000


class Rates:
    """A caller may make ``burst`` requests at once, and ``per_second`` for ever."""

    def __init__(
        self, per_second: float, burst: int, clock: Callable[[], float] = monotonic
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str) -> float:
        """Count a request; return 0 where it may go on, or else when the next one may."""
        now = self._clock()
        left, since = self._left.pop(caller, (float(self._burst), now))
        left = min(left + (now - since) * self._per_second, float(self._burst))
        waits = 0.0 if left >= 1 else (1 - left) / self._per_second
        self._left[caller] = (left if waits else left - 1, now)
        if len(self._left) > _CALLERS_MAX:
            self._left.popitem(last=False)
        return waits
