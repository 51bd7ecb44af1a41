"""Keeps several worker processes alive, each in a slot of its own.

A child that is started again has a static member id of one that has ended, and so its shards back
at once. Children are spawned, never forked: librdkafka does not survive a fork. Each
child holds the other end of a pipe as its stdin: when this process dies, however it dies, the
pipe closes, and the child stops (``stop_with_parent`` in ``cli/commands/worker.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from time import monotonic

from processor.cli.faults import FAILED, USAGE

__all__ = ("Supervisor",)

_log = logging.getLogger("processor.supervisor")

BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 15.0
HEALTHY_AFTER_S = 30.0
"""A child that lived this long starts again without delay when it dies."""
STOP_GRACE_S = 5.0
"""How much longer than its own shutdown time a child gets before it is killed."""


class Supervisor:
    """``command(slot)`` is how a child is started. ``run`` returns the exit code.

    A child that ends with "wrong usage" would end so again: then all are stopped.
    """

    def __init__(
        self, command: Callable[[int], Sequence[str]], processes: int, *, shutdown_s: float
    ) -> None:
        self._command = command
        self._processes = processes
        self._shutdown_s = shutdown_s
        self._children: dict[int, Process] = {}
        self._stopping = asyncio.Event()
        self._code = 0

    async def run(self) -> int:
        """Serve until a signal comes, then stop the children; a second signal kills them."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        try:
            async with asyncio.TaskGroup() as slots:
                for slot in range(self._processes):
                    slots.create_task(self._keep(slot), name=f"slot {slot}")
        finally:
            self._kill()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        return self._code

    def _signalled(self, number: signal.Signals) -> None:
        if self._stopping.is_set():
            _log.warning("%s again: killing %d processes", number.name, len(self._children))
            self._code = FAILED
            self._kill()
        else:
            _log.info("%s: stopping %d processes", number.name, len(self._children))
            self._stop()

    def _stop(self) -> None:
        self._stopping.set()
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                child.terminate()

    def _kill(self) -> None:
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                child.kill()

    async def _keep(self, slot: int) -> None:
        """Start the child of a slot again and again, until all are to stop."""
        delay_s = BACKOFF_FIRST_S
        while not self._stopping.is_set():
            started = monotonic()
            code = await self._live(slot)
            if self._stopping.is_set():
                self._code = self._code or (FAILED if code else 0)
                return
            if code == USAGE:
                _log.error("process %d cannot start (see above): stopping all", slot)
                self._code = USAGE
                self._stop()
                return
            lived_s = monotonic() - started
            delay_s = BACKOFF_FIRST_S if lived_s > HEALTHY_AFTER_S else delay_s
            _log.warning(
                "process %d %s after %.1f s; starting it again in %.1f s",
                slot,
                how_it_ended(code),
                lived_s,
                delay_s,
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)
            delay_s = min(delay_s * 2, BACKOFF_MAX_S)

    async def _live(self, slot: int) -> int:
        """Run one child from its start to its end, and return its exit code."""
        # A session of its own: Ctrl-C is for this process, which then asks each child once.
        child = await asyncio.create_subprocess_exec(
            *self._command(slot), stdin=PIPE, start_new_session=True
        )
        self._children[slot] = child
        _log.info("process %d runs as pid %d", slot, child.pid)
        if self._stopping.is_set():  # a signal came while the child was being started
            child.terminate()
        try:
            return await self._ended(child)
        finally:
            self._children.pop(slot, None)

    async def _ended(self, child: Process) -> int:
        ended = asyncio.ensure_future(child.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
            limit_s = self._shutdown_s + STOP_GRACE_S
            done, _ = await asyncio.wait((ended,), timeout=None if ended.done() else limit_s)
            if not done:
                _log.error("pid %d did not stop within %.0f s: killing it", child.pid, limit_s)
                child.kill()
            return await ended
        finally:
            stopping.cancel()


def how_it_ended(code: int) -> str:
    """Return an exit code in words."""
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"
