"""The shards of one process: takes them over, runs their loops on one asyncio loop, gives them up.

Errors are classed by what they demand, in ``shard.reactions``: give up the shard and claim it
again, wipe its tables and rebuild, wait and try again, or stop and say why.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any, NoReturn, Protocol, TypeVar

from processor.config import Settings
from processor.core.data.shown import is_a, shown
from processor.core.runner import Runners
from processor.errors import ProcessorError, ShardUnavailable
from processor.failures import trace_of
from processor.readable import readable
from processor.shard.loop import Shard
from processor.shard.ports import Clock, ShardPorts
from processor.shard.reactions import reaction_to
from processor.shard.recovery.takeover import Taken, Takeover

__all__ = ("Node", "PortsFactory", "ShardStatus")

_log = logging.getLogger("processor.node")

_RETRY_FIRST_S = 0.1
_RETRY_MAX_S = 5.0
_TRIES_AT_START = 3
_SAY_STOPPED_EVERY_S = 30.0
_TAKEOVER_THREADS = 4
_CLOCKS_APART_S = 5.0
_WAIT_S = 0.001
"""How long an idle loop waits for an acknowledgement; a thread that wakes it takes longer."""

_R = TypeVar("_R")


class PortsFactory(Protocol):
    """Connects shards; one for each kind of runtime."""

    def open(self, partition: int, wake: Callable[[], None]) -> ShardPorts:
        """Return fresh ports. Blocks. Raises ``StoreCorrupt`` where the tables cannot be read.

        ``wake`` may be called from any thread when something has arrived.
        """

    def wipe(self, partition: int) -> None:
        """Delete the state directory of a shard that is not open. Blocks."""

    def may_own(self, partition: int) -> bool:
        """Return whether this process is (still) the one that should own the shard. Blocks."""

    def begin_pass(self) -> None:
        """Take in what has arrived for the open shards."""

    def end_pass(self) -> bool:
        """Send on its way what they have appended and sent; return whether more has arrived."""

    def wait(self, timeout_s: float) -> bool:
        """Wait for an acknowledgement, if one is due; return whether it came."""

    def watch(self) -> None:
        """Call ``wake`` when something arrives: no pass follows at once."""


@dataclass(slots=True)
class ShardStatus:
    """What can be seen of a shard from outside. ``state``: "taking over", "running", "stopped"."""

    partition: int
    state: str = "taking over"
    epoch: int = -1
    takeover_s: float = 0.0
    turns_folded: int = 0
    error: str | None = None
    since: float = field(default_factory=monotonic)


class Node:
    def __init__(
        self,
        ports: PortsFactory,
        runners: Runners,
        settings: Settings,
        owner: str,
        clock: Clock,
    ) -> None:
        self._ports = ports
        self._runners = runners
        self._settings = settings
        self._owner = owner
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(_TAKEOVER_THREADS, thread_name_prefix="takeover")
        self._owners: dict[int, asyncio.Task[None]] = {}
        self._running: dict[int, tuple[Shard, asyncio.Future[None]]] = {}
        self._takeovers: dict[int, asyncio.Event] = {}
        self._pass_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_ms: int | None = None
        self._stopped: asyncio.Future[ProcessorError] = self._loop.create_future()
        self._errors: dict[int, deque[str]] = {}
        self.shards: dict[int, ShardStatus] = {}

    # --- called by whoever decides which shards are ours ---------------------------------------

    def assign(self, partition: int) -> None:
        """Begin to take over a shard."""
        if partition not in self._owners:
            task = self._loop.create_task(self._own(partition), name=f"shard {partition}")
            self._owners[partition] = task
            task.add_done_callback(partial(self._ended, partition))

    async def revoke(self, partition: int) -> None:
        """Give a shard up at once; what is not confirmed is dropped."""
        task = self._owners.pop(partition, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def drain(self, timeout_s: float) -> bool:
        """Wait until everything decided is confirmed and delivered; False when time is up."""
        deadline = monotonic() + timeout_s
        while not all(shard.idle for shard, _ in self._running.values()):
            if monotonic() > deadline:
                return False
            await asyncio.sleep(0.005)
        for shard, lost in list(self._running.values()):
            try:
                shard.flush()
            except Exception as error:  # handed to the ladder in _own
                lost.set_exception(error)
        return True

    async def close(self) -> None:
        for partition in list(self._owners):
            await self.revoke(partition)
        if self._timer is not None:
            self._timer.cancel()
        self._threads.shutdown(wait=False)

    async def wait_running(self) -> None:
        """Return when every assigned shard runs; raise when one keeps failing."""
        while any(status.state == "taking over" for status in self.shards.values()):
            for partition, errors in self._errors.items():
                if len(errors) >= _TRIES_AT_START:
                    raise ShardUnavailable(
                        f"shard {partition} cannot be taken over ({errors[-1]}). Correct the "
                        "cause and start again; nothing was lost"
                    )
            await asyncio.sleep(0.01)

    async def wait_stopped(self) -> None:
        """Raise the error of the last shard to stop, when all of this process are stopped."""
        raise await self._stopped

    def stop(self, error: ProcessorError) -> None:
        """Let ``wait_stopped`` raise this: no shard of this process can go on."""
        if not self._stopped.done():
            self._stopped.set_result(error)

    def wake(self) -> None:
        """Run a pass soon. From the loop's own thread."""
        if not self._pass_scheduled:
            self._pass_scheduled = True
            self._loop.call_soon(self._pass)

    def wake_threadsafe(self) -> None:
        """Run a pass soon. From any thread."""
        if not self._pass_scheduled:
            self._pass_scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._pass)
            except RuntimeError:  # the loop is closed: nobody is left to wake
                return

    # --- one shard's life ---------------------------------------------------------------------

    async def _own(self, partition: int) -> None:
        try:
            await self._keep(partition)
        finally:
            self.shards.pop(partition, None)

    def _ended(self, partition: int, task: asyncio.Task[None]) -> None:
        """Stop where a shard has no owner any more though nobody gave it up: never in silence."""
        if self._owners.get(partition) is not task:
            return
        error = None if task.cancelled() else task.exception()
        why = "it was cancelled" if error is None else shown(error).words
        text = f"shard {partition} is not kept any more ({why}). Start this process again"
        if error is not None:
            _log.critical("%s; nothing is lost\n%s", readable(text), trace_of(error))
        self.stop(ShardUnavailable(f"{text}; nothing is lost"))

    async def _keep(self, partition: int) -> NoReturn:
        """Own the shard until cancelled, whatever happens to it. The one ladder of errors."""
        delay_s = _RETRY_FIRST_S
        while True:
            status = self.shards[partition] = ShardStatus(partition)
            try:
                await self._run(partition, status)
            except Exception as error:  # classed by what it demands
                await self._react(partition, status, error, delay_s)
            if monotonic() - status.since > 60:
                delay_s = _RETRY_FIRST_S
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, _RETRY_MAX_S)
            while not await self._may_own(partition):
                await asyncio.sleep(delay_s)

    async def _may_own(self, partition: int) -> bool:
        try:
            return await self._blocking(self._ports.may_own, partition)
        except Exception as error:
            text = "shard %d: it is not known whether it is ours (%s); asking again"
            _log.error(text, partition, readable(shown(error).words))
            return False

    async def _react(
        self, partition: int, status: ShardStatus, error: Exception, delay_s: float
    ) -> None:
        """Do what an error demands before the shard is claimed again, if it ever is."""
        try:
            await self._do(partition, status, error, delay_s)
        except Exception as another:  # of tables that cannot be wiped, say
            self._failed(partition, status, another, delay_s)

    async def _do(
        self, partition: int, status: ShardStatus, error: Exception, delay_s: float
    ) -> None:
        match reaction_to(error):
            case "claim again":
                _log.warning("%s; dropped what was not confirmed", error)
            case "rebuild":
                _log.warning("shard %d: %s; rebuilding it from the log", partition, error)
                await self._blocking(self._ports.wipe, partition)
            case "leave":
                assert isinstance(error, ProcessorError)
                _log.error("this process leaves: %s", error)
                self.stop(error)
                await self._stand_still(partition, error)
            case "stop":
                status.state, status.error = "stopped", str(error)
                assert isinstance(error, ProcessorError)
                await self._stand_still(partition, error)
            case "try again":
                self._failed(partition, status, error, delay_s)

    def _failed(
        self, partition: int, status: ShardStatus, error: Exception, delay_s: float
    ) -> None:
        told = shown(error)
        status.error = f"{told.type}: {told.message}"
        self._errors.setdefault(partition, deque(maxlen=_TRIES_AT_START)).append(status.error)
        trace = "" if is_a(error, OSError) else f"\n{trace_of(error)}"
        text = "shard %d failed (%s); trying again in %.1f s%s"
        _log.error(text, partition, readable(told.message), delay_s, trace)

    async def _stand_still(self, partition: int, error: ProcessorError) -> NoReturn:
        """Say again and again why the shard is stopped; the process ends once all its shards are.

        One lost partition must not end the workers of all others, one after the other.
        """
        while True:
            _log.error("shard %d is stopped: %s", partition, error)
            states = [self.shards[each].state for each in self._owners if each in self.shards]
            if states.count("stopped") == len(self._owners):
                self.stop(error)
            await asyncio.sleep(_SAY_STOPPED_EVERY_S)

    async def _run(self, partition: int, status: ShardStatus) -> None:
        ports = await self._opened(partition)
        shard: Shard | None = None
        try:
            taken = await self._take_over(partition, ports)
            _check_clock(partition, taken, ports.clock.now_ms())
            shard = await self._blocking(self._begin, partition, ports, taken)
            status.takeover_s = monotonic() - status.since
            status.state, status.epoch = "running", taken.epoch
            status.turns_folded = taken.turns
            _log.info(
                "shard %d is ours: epoch %d, %d turns folded in %.2f s",
                partition,
                taken.epoch,
                taken.turns,
                status.takeover_s,
            )
            lost = self._loop.create_future()
            self._running[partition] = (shard, lost)
            self.wake()
            await lost
        finally:
            self._running.pop(partition, None)
            if shard is not None:
                shard.close()
            else:
                _close_ports(ports)

    async def _opened(self, partition: int) -> ShardPorts:
        """Open the ports; what is opened after we were told to give the shard up is closed again.

        Left open, the state directory would be held by this process until it ends.
        """
        opening = asyncio.ensure_future(
            self._blocking(self._ports.open, partition, self.wake_threadsafe)
        )
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_late)
            raise

    async def _take_over(self, partition: int, ports: ShardPorts) -> Taken:
        takeover = Takeover(
            partition,
            ports.log,
            ports.tables,
            self._owner,
            ports.tombstones_ms,
            keeps_tasks=ports.keeps_tasks,
            topic=ports.log_topic,
        )
        await self._blocking(takeover.survey)
        nonce = uuid.uuid4().hex
        takeover.begin(nonce, ports.clock.now_ms())
        arrived = self._takeovers[partition] = asyncio.Event()
        self.wake()  # the clients may be parked since a pass that left nothing to wait for
        try:
            while (epoch := takeover.claimed(nonce, ports.clock.now_ms())) is None:
                arrived.clear()
                await arrived.wait()
        finally:
            del self._takeovers[partition]
        published = await self._blocking(ports.outbox.published)
        return await self._blocking(takeover.fold, epoch, published)

    def _begin(self, partition: int, ports: ShardPorts, taken: Taken) -> Shard:
        return Shard(partition, ports, self._runners, self._settings, taken, self.wake)

    async def _blocking(self, function: Callable[..., _R], *args: Any) -> _R:
        """Call in a thread. Who is cancelled waits for it: what it works on must not be closed."""
        called = self._loop.run_in_executor(self._threads, function, *args)
        try:
            return await asyncio.shield(called)
        except asyncio.CancelledError:
            await asyncio.wait((called,))
            raise

    # --- the passes -----------------------------------------------------------------------------

    def _pass(self) -> None:
        """Step every shard once. A plain callback, so that no task of the host is current."""
        self._pass_scheduled = False
        self._ports.begin_pass()
        more = False
        next_ms: int | None = None
        now_ms = self._clock.now_ms()
        for shard, lost in list(self._running.values()):
            if lost.done():
                continue
            try:
                if shard.has_work(now_ms):
                    more |= shard.step()
                due_ms = shard.next_timer_ms()
                next_ms = due_ms if next_ms is None else min(next_ms, due_ms)
            except Exception as error:  # handed to the ladder in _own
                lost.set_exception(error)
        for arrived in self._takeovers.values():
            arrived.set()
        if self._ports.end_pass() or more or (self._is_quiet() and self._ports.wait(_WAIT_S)):
            self.wake()
            return
        self._ports.watch()
        if next_ms is not None:
            self._wake_at(next_ms, now_ms)

    def _is_quiet(self) -> bool:
        """Return whether nothing is ready on the loop; False where a loop does not tell."""
        return not (self._pass_scheduled or getattr(self._loop, "_ready", True))

    def _wake_at(self, due_ms: int, now_ms: int) -> None:
        if self._timer_due_ms == due_ms:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due_ms = due_ms
        self._timer = self._loop.call_later(max(due_ms - now_ms, 0) / 1000, self._due)

    def _due(self) -> None:
        self._timer_due_ms = None
        self.wake()


def _check_clock(partition: int, taken: Taken, now_ms: int) -> None:
    """Say so when timers will be late because the owner before us had another clock."""
    ahead_s = (taken.time_ms - now_ms) / 1000
    if ahead_s > _CLOCKS_APART_S:
        _log.warning(
            "shard %d: its last owner's clock is %.0f s ahead of this process's. What it waits for "
            "may be late by that much; set the clocks of the workers to the same time",
            partition,
            ahead_s,
        )


def _close_late(opening: asyncio.Future[ShardPorts]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        _close_ports(opening.result())


def _close_ports(ports: ShardPorts) -> None:
    ports.inbox.close()
    ports.outbox.close()
    ports.tables.close()
