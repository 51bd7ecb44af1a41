"""The one scheduler of a simulated world: what happens next, decided by a seed and nothing else.

Everything that happens is a step. Steps that are ready run one at a time, in an order that the
seed draws; virtual time stands still meanwhile and jumps to the next step that waits for a time
when none is ready. The trace is a hash over all of it: the same seed gives the same trace.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable
from hashlib import blake2b
from random import Random
from typing import Final

from processor.simulation.faults import Faults

__all__ = ("RECENT_STEPS", "START_MS", "Channel", "Scheduler", "Step", "Ways")

START_MS: Final = 1_767_225_600_000
"""The first moment of a simulated world: 2026-01-01T00:00:00Z."""

RECENT_STEPS: Final = 200


class Step:
    """Something that will happen, unless it is cancelled before."""

    __slots__ = ("name", "run")

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self.name = name
        self.run: Callable[[], None] | None = run

    def cancel(self) -> None:
        self.run = None


class Scheduler:
    """``random`` is the source of every choice; ``recent`` are the last steps, for people.

    ``injected`` counts the faults by kind. ``before_step`` is called before each step: it may let
    something befall the world.
    """

    def __init__(self, seed: int, now_ms: int = START_MS) -> None:
        self.random = Random(seed)
        self.now_ms = now_ms
        self.steps = 0
        self.recent: deque[str] = deque(maxlen=RECENT_STEPS)
        self.injected: Counter[str] = Counter()
        self.before_step: Callable[[], None] | None = None
        self._ready: list[Step] = []
        self._later: list[tuple[int, int, Step]] = []
        self._number = 0
        self._hash = blake2b(digest_size=12)

    def soon(self, name: str, run: Callable[[], None]) -> Step:
        """Let something happen at this moment of virtual time, before or after what else does."""
        step = Step(name, run)
        self._ready.append(step)
        return step

    def at(self, due_ms: int, name: str, run: Callable[[], None]) -> Step:
        """Let something happen at a time, or now where that is past."""
        if due_ms <= self.now_ms:
            return self.soon(name, run)
        step = Step(name, run)
        self._number += 1
        heapq.heappush(self._later, (due_ms, self._number, step))
        return step

    def after(self, delay_ms: int, name: str, run: Callable[[], None]) -> Step:
        return self.at(self.now_ms + delay_ms, name, run)

    def strikes(self, faults: Faults, kind: str) -> bool:
        """Decide whether a fault happens now, and count it."""
        probability: float = getattr(faults, kind)
        if probability <= 0 or self.random.random() >= probability:
            return False
        self.injected[kind] += 1
        return True

    @property
    def next_ms(self) -> int | None:
        """When something happens next: now, at a later time, or (None) never."""
        ready = self._ready
        while ready and ready[-1].run is None:
            ready.pop()
        if ready:
            return self.now_ms
        later = self._later
        while later and later[0][2].run is None:
            heapq.heappop(later)
        return later[0][0] if later else None

    def step(self, until_ms: int | None = None) -> bool:
        """Let one thing happen; False where nothing does (up to ``until_ms``)."""
        if self.before_step is not None:
            self.before_step()
        while (next_ms := self.next_ms) is not None:
            if next_ms > self.now_ms:
                if until_ms is not None and next_ms > until_ms:
                    return False
                self.skip_to(next_ms)
            ready = self._ready
            index = int(self.random.random() * len(ready))
            ready[index], ready[-1] = ready[-1], ready[index]
            step = ready.pop()
            run, step.run = step.run, None
            if run is not None:
                self.steps += 1
                self.trace(step.name)
                run()
                return True
        return False

    def skip_to(self, now_ms: int) -> None:
        """Move virtual time on and make what is due by then ready."""
        assert now_ms >= self.now_ms, f"time goes from {self.now_ms} to {now_ms}"
        self.now_ms = now_ms
        later = self._later
        while later and later[0][0] <= now_ms:
            self._ready.append(heapq.heappop(later)[2])

    def trace(self, what: str) -> None:
        """Make a fact part of the trace."""
        line = f"{self.now_ms - START_MS} {what}"
        self._hash.update(line.encode())
        self.recent.append(line)

    @property
    def trace_hash(self) -> str:
        return self._hash.hexdigest()


class Channel:
    """A connection: what is sent arrives in that order, each at a moment of the scheduler's.

    ``open``: its sender is there. ``late`` names the fault by which it stands still.
    """

    def __init__(self, scheduler: Scheduler, name: str, faults: Faults, late: str = "late") -> None:
        self._scheduler = scheduler
        self._name = name
        self._faults = faults
        self._under_way: deque[Callable[[], None]] = deque()
        self._stands_until_ms = 0
        self._late = late
        self.open = True

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._under_way

    def send(self, arrive: Callable[[], None]) -> None:
        scheduler, faults = self._scheduler, self._faults
        if scheduler.strikes(faults, self._late):
            self._stand(faults.late_ms_max)
        self._under_way.append(arrive)
        scheduler.at(self._stands_until_ms, self._name, self._arrive)

    def cut(self) -> None:
        """End the connection at its sender's: some of what is under way still arrives, in order."""
        scheduler = self._scheduler
        self.open = False
        kept = scheduler.random.randint(0, len(self._under_way))
        while len(self._under_way) > kept:
            self._under_way.pop()
        if kept and scheduler.strikes(self._faults, "stray"):
            self._stand(self._faults.pause_ms_max)

    def _stand(self, ms_max: int) -> None:
        until_ms = self._scheduler.now_ms + self._scheduler.random.randint(1, max(ms_max, 1))
        self._stands_until_ms = max(self._stands_until_ms, until_ms)

    def _arrive(self) -> None:
        if not self._under_way:
            return
        if not self.open and self._scheduler.now_ms < self._stands_until_ms:
            self._scheduler.at(self._stands_until_ms, self._name, self._arrive)
            return
        self._under_way.popleft()()


class Ways:
    """Connections of one sender to several partitions: each keeps its order, none another's."""

    def __init__(self, scheduler: Scheduler, name: str, faults: Faults) -> None:
        self._scheduler = scheduler
        self._name = name
        self._faults = faults
        self._channels: dict[str, Channel] = {}

    @property
    def idle(self) -> bool:
        return all(channel.idle for channel in self._channels.values())

    def send(self, to: str, arrive: Callable[[], None]) -> None:
        channel = self._channels.get(to)
        if channel is None:
            channel = Channel(self._scheduler, f"{self._name} to {to}", self._faults)
            self._channels[to] = channel
        channel.send(arrive)

    def cut(self) -> None:
        for channel in self._channels.values():
            channel.cut()
