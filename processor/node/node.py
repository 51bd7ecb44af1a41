"""The shards of one process: has each taken over, stepped and given up, on one asyncio loop.

What becomes of a shard is decided in ``processor.node.life``. What that asks for is done here, on
the loop or in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic
from typing import Any, Protocol, assert_never

from processor.config import Settings
from processor.core.data.shown import shown
from processor.core.runner import Runners
from processor.errors import ProcessorError, ShardUnavailable
from processor.failures import trace_of
from processor.node.life import (
    TRIES_AT_START,
    Blocking,
    Leave,
    Life,
    Owner,
    Serve,
    ShardOpener,
    ShardStatus,
    Step,
    Stopped,
    Until,
    Wait,
)
from processor.readable import readable
from processor.shard.loop import Shard
from processor.shard.ports import Clock

__all__ = ("Node", "PortsFactory", "is_quiet")

_log = logging.getLogger("processor.node")

_TAKEOVER_THREADS = 4
_WAIT_S = 0.001
"""How long an idle loop waits for an acknowledgement; a thread that wakes it takes longer."""


class PortsFactory(ShardOpener, Protocol):
    """Connects shards, and takes part in the passes of the loop."""

    def begin_pass(self) -> None:
        """Take in what has arrived for the open shards."""

    def end_pass(self) -> bool:
        """Send on its way what they have appended and sent; return whether more has arrived."""

    def wait(self, timeout_s: float) -> bool:
        """Wait for an acknowledgement, if one is due; return whether it came."""

    def watch(self) -> None:
        """Call ``wake`` when something arrives: no pass follows at once."""


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
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(_TAKEOVER_THREADS, thread_name_prefix="takeover")
        self._lives: dict[int, Life] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._running: dict[int, tuple[Shard, asyncio.Future[None]]] = {}
        self._passed: dict[int, asyncio.Event] = {}
        self._pass_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_ms: int | None = None
        self._stopped: asyncio.Future[ProcessorError] = self._loop.create_future()
        self._owner = Owner(
            owner,
            runners,
            settings,
            self.wake,
            self.wake_threadsafe,
            lambda: uuid.uuid4().hex,
            monotonic,
        )

    @property
    def shards(self) -> dict[int, ShardStatus]:
        """The shards that are assigned to this process."""
        return {partition: life.status for partition, life in self._lives.items()}

    # --- called by whoever decides which shards are ours ---------------------------------------

    def assign(self, partition: int) -> None:
        """Begin to take over a shard."""
        if partition not in self._tasks:
            life = self._lives[partition] = Life(partition, self._ports, self._owner)
            task = self._loop.create_task(self._keep(life), name=f"shard {partition}")
            self._tasks[partition] = task
            task.add_done_callback(partial(self._ended, partition))

    async def revoke(self, partition: int) -> None:
        """Give a shard up at once; what is not confirmed is dropped."""
        task = self._tasks.pop(partition, None)
        if task is not None:
            del self._lives[partition]
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
            except Exception as error:  # handed to the ladder of its life
                lost.set_exception(error)
        return True

    async def close(self) -> None:
        for partition in list(self._tasks):
            await self.revoke(partition)
        if self._timer is not None:
            self._timer.cancel()
        self._threads.shutdown(wait=False)

    async def wait_running(self) -> None:
        """Return when every assigned shard runs; raise when one keeps failing."""
        while any(status.state == "taking over" for status in self.shards.values()):
            for partition, life in self._lives.items():
                if len(life.errors) >= TRIES_AT_START:
                    raise ShardUnavailable(
                        f"shard {partition} cannot be taken over ({life.errors[-1]}). Correct the "
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

    async def _keep(self, life: Life) -> None:
        """Do what a life asks for, until the shard is given up."""
        steps = life.steps()
        try:
            step = next(steps)
            while True:
                try:
                    result = await self._do(life.partition, step)
                except Exception as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        finally:
            steps.close()

    def _ended(self, partition: int, task: asyncio.Task[None]) -> None:
        """Stop where a shard has no owner any more though nobody gave it up: never in silence."""
        if self._tasks.get(partition) is not task:
            return
        error = None if task.cancelled() else task.exception()
        why = "it was cancelled" if error is None else shown(error).words
        text = f"shard {partition} is not kept any more ({why}). Start this process again"
        if error is not None:
            _log.critical("%s; nothing is lost\n%s", readable(text), trace_of(error))
        self.stop(ShardUnavailable(f"{text}; nothing is lost"))

    async def _do(self, partition: int, step: Step) -> Any:
        match step:
            case Blocking():
                return await self._called(step)
            case Until():
                return await self._looked(partition, step)
            case Serve():
                await self._ran(partition, step.shard)
            case Wait():
                await asyncio.sleep(step.seconds)
            case Leave():
                self.stop(step.error)
            case Stopped():
                if all(life.status.state == "stopped" for life in self._lives.values()):
                    self.stop(step.error)
            case _:
                assert_never(step)
        return None

    async def _called(self, call: Blocking) -> Any:
        """Call in a thread. Who gives the shard up waits for it, or closes what it opened later."""
        if call.at_once:
            return call.function()
        called = self._loop.run_in_executor(self._threads, call.function)
        try:
            return await asyncio.shield(called)
        except asyncio.CancelledError:
            if call.late is None:
                await asyncio.gather(called, return_exceptions=True)
            else:
                called.add_done_callback(partial(_take_late, call.late))
            raise

    async def _looked(self, partition: int, until: Until) -> Any:
        passed = self._passed[partition] = asyncio.Event()
        self.wake()  # the clients may be parked since a pass that left nothing to wait for
        try:
            while (found := until.look()) is None:
                passed.clear()
                await passed.wait()
        finally:
            del self._passed[partition]
        return found

    async def _ran(self, partition: int, shard: Shard) -> None:
        lost = self._loop.create_future()
        self._running[partition] = (shard, lost)
        self.wake()
        try:
            await lost
        finally:
            del self._running[partition]

    # --- the passes -----------------------------------------------------------------------------

    def _pass(self) -> None:
        """Step every shard, twice where nothing else is ready on the loop. A plain callback, so
        that no task of the host is current.
        """
        self._pass_scheduled = False
        if self._step() and (not is_quiet(self._loop) or self._step()):
            self.wake()

    def _step(self) -> bool:
        """Step every shard once; return whether more can be done at once."""
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
            except Exception as error:  # handed to the ladder of its life
                lost.set_exception(error)
        for passed in self._passed.values():
            passed.set()
        if self._ports.end_pass() or more or (is_quiet(self._loop) and self._ports.wait(_WAIT_S)):
            return True
        self._ports.watch()
        if next_ms is not None:
            self._wake_at(next_ms, now_ms)
        return False

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


def is_quiet(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether nothing is ready on a loop; False where a loop does not tell."""
    return not getattr(loop, "_ready", True)


def _take_late(late: Callable[[Any], None], called: asyncio.Future[Any]) -> None:
    if not called.cancelled() and called.exception() is None:
        late(called.result())
