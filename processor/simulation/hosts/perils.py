"""What may befall a process in the middle of a port call: its end, or a long standstill.

Every port call has two moments: before its effect, and after it. ``Perils`` counts the moments of
a world, so that a test can also let the process end at exactly one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from processor.simulation.faults import Faults
from processor.simulation.scheduler import Scheduler

__all__ = ("DAY_MS", "Crashed", "Peril", "Perils", "port_call")

DAY_MS = 24 * 3600 * 1000
_OUTAGE_DAYS_MAX = 9
"""Longer than ``delete.retention.ms``, so that some stores are older than the tombstones."""

P = ParamSpec("P")
R = TypeVar("R")


class Crashed(BaseException):
    """The process ends here. No ``Exception``, so that no handler of the process sees it."""


class PerilousProcess(Protocol):
    """A host, as far as this module needs it."""

    name: str
    alive: bool
    lives: int

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def crash(self) -> None: ...


class Perils:
    """``blows_left`` bounds what costs progress. ``crash_at`` is a moment at which to end.

    ``silent`` is called when a process has begun to stand still: the group may then give its
    shards to others.
    """

    def __init__(self, scheduler: Scheduler, faults: Faults) -> None:
        self.moments = 0
        self.crash_at: int | None = None
        self.blows_left = faults.blows_max
        self.silent: Callable[[str], None] = lambda host: None
        self._scheduler = scheduler
        self._faults = faults

    @property
    def idle(self) -> bool:
        """Whether nothing can happen in a port call, now or later."""
        faults = self._faults
        return not (faults.crash or faults.pause) and self.crash_at is None

    def blow(self, kind: str) -> bool:
        """Decide whether one of the blows happens that are bounded."""
        if self.blows_left <= 0 or not self._scheduler.strikes(self._faults, kind):
            return False
        self.blows_left -= 1
        return True

    def outage_ms(self) -> int:
        """Return for how long a process is gone, or stands still."""
        random = self._scheduler.random
        if self._scheduler.strikes(self._faults, "outage"):
            return random.randint(1, _OUTAGE_DAYS_MAX * DAY_MS)
        return random.randint(0, self._faults.pause_ms_max)

    def moment(self, process: PerilousProcess, call: str) -> None:
        """Let something happen, or not, at this moment of a port call."""
        self.moments += 1
        ends = self.moments == self.crash_at or self.blow("crash")
        if ends or (call == "send" and self.blow("crash_sending")):
            self._scheduler.trace(f"{process.name} ends in {call}")
            raise Crashed(f"{process.name} in {call}")
        if self.blow("pause"):
            self._stand_still(process, call)

    def _stand_still(self, process: PerilousProcess, call: str) -> None:
        """Let the rest of the world go on meanwhile, inside of this call."""
        scheduler, life = self._scheduler, process.lives
        over: list[bool] = []
        scheduler.trace(f"{process.name} stands still in {call}")
        process.pause()
        scheduler.after(
            self.outage_ms(), f"{process.name} goes on in {call}", lambda: over.append(True)
        )
        self.silent(process.name)
        while not over:
            scheduler.step()
        if not process.alive or process.lives != life:
            raise Crashed(f"{process.name} while it stood still in {call}")
        process.resume()


class Peril:
    """The perils of one process, for its ports."""

    def __init__(self, perils: Perils, process: PerilousProcess) -> None:
        self._perils = perils
        self._process = process

    def moment(self, call: str) -> None:
        if not self._perils.idle:
            self._perils.moment(self._process, call)

    def torn(self) -> None:
        """Let the process end, or not, while some of what it appends has arrived."""
        if self._perils.blow("torn"):
            self._process.crash()


def port_call(
    method: Callable[Concatenate[Any, P], R],
) -> Callable[Concatenate[Any, P], R]:
    """Give a method of an adapter its two moments. The adapter has a ``_peril``, or None."""
    before, after = method.__name__, f"{method.__name__}, after its effect"

    @wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        peril: Peril | None = self._peril
        if peril is None:
            return method(self, *args, **kwargs)
        peril.moment(before)
        result = method(self, *args, **kwargs)
        peril.moment(after)
        return result

    return call
