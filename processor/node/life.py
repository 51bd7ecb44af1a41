"""The life of one shard in a process, from its assignment on: what is to be done next.

    open · survey · claim · wait for the claim · ask what is published · fold · begin · run
      an error, at any of them: close · react · pause · ask whose the shard is · and again

``Life.steps`` yields what is to be done, and is sent what came of it, or thrown the error that did.
So it needs no thread, loop or socket, and is as easily driven by a simulation. Its ``close`` gives
the shard up, at any step.

What an error demands is decided in ``shard.reactions``.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

from processor.codec.records import LEVEL
from processor.config import Settings
from processor.core.data.shown import is_a, shown
from processor.core.runner import Runners
from processor.errors import ProcessorError, StateDirectoryInUse
from processor.failures import trace_of
from processor.readable import readable
from processor.shard.loop import Shard
from processor.shard.ports import ShardPorts
from processor.shard.reactions import reaction_to
from processor.shard.recovery.takeover import Taken, Takeover

__all__ = (
    "TRIES_AT_START",
    "Blocking",
    "Leave",
    "Life",
    "Owner",
    "Serve",
    "ShardOpener",
    "ShardStatus",
    "Step",
    "Steps",
    "Stopped",
    "Until",
    "Wait",
)

_log = logging.getLogger("processor.node")

TRIES_AT_START: Final = 3
"""So many failures of a shard are kept: after them, a process that begins gives up."""

_RETRY_FIRST_S = 0.1
_RETRY_MAX_S = 5.0
_CALM_S: Final = 60.0
"""A shard that failed after so long is tried again as fast as at first."""

_SAY_STOPPED_EVERY_S: Final = 30.0
_CLOCKS_APART_S: Final = 5.0


class ShardOpener(Protocol):
    """Connects shards; one for each kind of runtime."""

    def open(self, partition: int, wake: Callable[[], None]) -> ShardPorts:
        """Return fresh ports. Blocks. Raises ``StoreCorrupt`` where the tables cannot be read.

        ``wake`` may be called from any thread when something has arrived.
        """

    def wipe(self, partition: int) -> None:
        """Delete the state directory of a shard that is not open. Blocks."""

    def may_own(self, partition: int) -> bool:
        """Return whether this process is (still) the one that should own the shard. Blocks."""


@dataclass(frozen=True, slots=True)
class Owner:
    """What the shards of a process have in common.

    ``wake`` has the shards of the process stepped soon; ``wake_threadsafe`` the same from any
    thread. ``now`` is monotonic, in seconds; ``nonce`` makes a claim unlike all others; ``level``
    is the highest one that the release knows.
    """

    name: str
    runners: Runners
    settings: Settings
    wake: Callable[[], None]
    wake_threadsafe: Callable[[], None]
    nonce: Callable[[], str]
    now: Callable[[], float]
    level: int = LEVEL


@dataclass(slots=True)
class ShardStatus:
    """What can be seen of a shard from outside. ``state``: "taking over", "running", "stopped"."""

    partition: int
    since: float
    state: str = "taking over"
    epoch: int = -1
    takeover_s: float = 0.0
    turns_folded: int = 0
    error: str | None = None


# --- what is to be done next ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Blocking:
    """Blocking it and go on with what it returns. It may block, unless ``at_once``.

    ``late`` takes what it returns after the shard was given up; without it, whoever gives the shard
    up waits for the call: what it works on must not be closed.
    """

    function: Callable[[], Any]
    at_once: bool = False
    late: Callable[[Any], None] | None = None


@dataclass(frozen=True, slots=True)
class Until:
    """Look each time that something may have arrived, until there is something to go on with."""

    look: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Serve:
    """Step the shard, until an error ends that."""

    shard: Shard


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait. ``is_ours``: False where the shard is not ours; it may be called off when it is."""

    seconds: float
    is_ours: bool = True


@dataclass(frozen=True, slots=True)
class Leave:
    """End the process: others have to take its shards."""

    error: ProcessorError


@dataclass(frozen=True, slots=True)
class Stopped:
    """The shard stands still for good. End the process once all of its shards do.

    One lost partition must not end the workers of all others, one after the other.
    """

    error: ProcessorError


Step: TypeAlias = Blocking | Until | Serve | Wait | Leave | Stopped
Steps: TypeAlias = Generator[Step, Any, Any]


class Life:
    """``status`` is what can be seen of it; ``errors`` are those that were tried again."""

    def __init__(self, partition: int, opener: ShardOpener, owner: Owner) -> None:
        self.partition = partition
        self.status = ShardStatus(partition, owner.now())
        self.errors: deque[str] = deque(maxlen=TRIES_AT_START)
        self._opener = opener
        self._owner = owner
        self._delay_s = _RETRY_FIRST_S

    def steps(self) -> Steps:
        """Own the shard until closed, whatever happens to it. The one ladder of errors."""
        now = self._owner.now
        while True:
            self.status = ShardStatus(self.partition, now())
            try:
                yield from self._run()
            except Exception as error:  # classed by what it demands
                yield from self._react(error)
            if now() - self.status.since > _CALM_S:
                self._delay_s = _RETRY_FIRST_S
            yield Wait(self._delay_s)
            self._delay_s = min(self._delay_s * 2, _RETRY_MAX_S)
            while not (yield from self._may_own()):
                yield Wait(self._delay_s, is_ours=False)

    # --- from one opening of the ports to their closing -------------------------------------------

    def _run(self) -> Steps:
        owner = self._owner
        ports: ShardPorts = yield Blocking(
            partial(self._opener.open, self.partition, owner.wake_threadsafe), late=_close_ports
        )
        shard: Shard | None = None
        try:
            taken: Taken = yield from self._take_over(ports)
            self._check_clock(taken, ports.clock.now_ms())
            shard = yield Blocking(
                lambda: Shard(
                    self.partition, ports, owner.runners, owner.settings, taken, owner.wake
                )
            )
            assert shard is not None, "it was made"
            self._runs(taken)
            yield Serve(shard)
        finally:
            if shard is not None:
                shard.close()
            else:
                _close_ports(ports)

    def _take_over(self, ports: ShardPorts) -> Steps:
        clock, nonce = ports.clock, self._owner.nonce()
        takeover: Takeover = yield Blocking(lambda: self._surveyed(ports))
        yield Blocking(lambda: takeover.begin(nonce, clock.now_ms()), at_once=True)
        epoch = yield Until(lambda: takeover.claimed(nonce, clock.now_ms()))
        published = yield Blocking(ports.outbox.published)
        return (yield Blocking(lambda: takeover.fold(epoch, published)))

    def _surveyed(self, ports: ShardPorts) -> Takeover:
        takeover = Takeover(
            self.partition,
            ports.log,
            ports.tables,
            self._owner.name,
            ports.tombstones_ms,
            self._owner.level,
            keeps_tasks=ports.keeps_tasks,
            topic=ports.log_topic,
            border=ports.border,
        )
        takeover.survey()
        return takeover

    def _runs(self, taken: Taken) -> None:
        status = self.status
        status.takeover_s = self._owner.now() - status.since
        status.state, status.epoch = "running", taken.epoch
        status.turns_folded = taken.turns
        _log.info(
            "shard %d is ours: epoch %d, %d turns folded in %.2f s",
            self.partition,
            taken.epoch,
            taken.turns,
            status.takeover_s,
        )

    def _check_clock(self, taken: Taken, now_ms: int) -> None:
        """Say so when timers will be late because the owner before us had another clock."""
        ahead_s = (taken.time_ms - now_ms) / 1000
        if ahead_s > _CLOCKS_APART_S:
            _log.warning(
                "shard %d: its last owner's clock is %.0f s ahead of this process's. What it waits "
                "for may be late by that much; set the clocks of the workers to the same time",
                self.partition,
                ahead_s,
            )

    # --- errors -----------------------------------------------------------------------------------

    def _react(self, error: Exception) -> Steps:
        """Do what an error demands before the shard is claimed again, if it ever is."""
        try:
            yield from self._do(error)
        except Exception as another:  # of tables that cannot be wiped, say
            self._failed(another)

    def _do(self, error: Exception) -> Steps:
        match reaction_to(error):
            case "claim again":
                _log.warning("%s; dropped what was not confirmed", error)
            case "rebuild":
                _log.warning("shard %d: %s; rebuilding it from the log", self.partition, error)
                yield Blocking(partial(self._opener.wipe, self.partition))
            case "leave":
                assert isinstance(error, ProcessorError)
                _log.error("this process leaves: %s", error)
                yield Leave(error)
                yield from self._stand_still(error)
            case "stop":
                assert isinstance(error, ProcessorError)
                self.status.state, self.status.error = "stopped", str(error)
                yield from self._stand_still(error)
            case "try again":
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        told = shown(error)
        self.status.error = f"{told.type}: {told.message}"
        self.errors.append(self.status.error)
        says_all = is_a(error, OSError) or is_a(error, StateDirectoryInUse)
        trace = "" if says_all else f"\n{trace_of(error)}"
        text = "shard %d failed (%s); trying again in %.1f s%s"
        _log.error(text, self.partition, readable(told.message), self._delay_s, trace)

    def _stand_still(self, error: ProcessorError) -> Steps:
        """Say again and again why the shard is stopped."""
        while True:
            _log.error("shard %d is stopped: %s", self.partition, error)
            yield Stopped(error)
            yield Wait(_SAY_STOPPED_EVERY_S)

    def _may_own(self) -> Steps:
        try:
            return (yield Blocking(partial(self._opener.may_own, self.partition)))
        except Exception as error:
            text = "shard %d: it is not known whether it is ours (%s); asking again"
            _log.error(text, self.partition, readable(shown(error).words))
            return False


def _close_ports(ports: ShardPorts) -> None:
    ports.inbox.close()
    ports.outbox.close()
    ports.tables.close()
