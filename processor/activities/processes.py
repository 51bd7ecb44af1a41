"""The processes of activities that need a processor of their own (``pool="processes"``).

Not ``ProcessPoolExecutor``: one process of that cannot be ended without the others, and nothing can
be asked of it meanwhile. Each process has a pipe; a thread here serves it for one call at a time.
"""

from __future__ import annotations

import asyncio
import atexit
import multiprocessing
import os
import pickle
import signal
import weakref
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any, Final, Protocol

from processor.activities.attempt import Attempt
from processor.activities.child import serve
from processor.activities.threads import ActivityThreads
from processor.activities.timeouts import Timeouts
from processor.activities.traveling import (
    Raised,
    dumped,
    job_of,
    loaded,
    received_error,
    sent_error,
)
from processor.activity import ActivityDefinition
from processor.core.data.payloads import Payloads
from processor.errors import ActivityTimedOut, SchemaMismatch

__all__ = ("ActivityProcesses", "PoolProcess")

_CLEAN_UP_S: Final = 0.8
"""How long a function may go on that is asked to stop; a little less than ``left.CLEAN_UP_S``."""

_JOIN_S: Final = 5.0

_LOOK_S: Final = 0.5
"""How often to look whether a process that says nothing is there: what it has forked may keep its
end of the pipe open."""


class PoolProcess(Protocol):
    """One process, as its worker has it."""

    def send(self, kind: str, data: bytes = b"") -> None: ...

    def receive(self) -> tuple[str, bytes]:
        """Return what it says next. Raises ``EOFError`` or ``OSError`` where it has ended."""

    def kill(self) -> None:
        """Kill it, and what its function has started in its group."""

    def end(self) -> int | None:
        """Make sure that it has ended, and return its exit code."""


class _Process:
    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection: Connection
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), name="activity")
        self._sending = Lock()
        self._process.start()
        theirs.close()

    def send(self, kind: str, data: bytes = b"") -> None:
        with self._sending:
            self._connection.send((kind, data))

    def receive(self) -> tuple[str, bytes]:
        while not self._connection.poll(_LOOK_S):
            if self._process.exitcode is not None and not self._connection.poll():
                raise EOFError
        kind, data = self._connection.recv()
        return kind, data

    def kill(self) -> None:
        with suppress(ValueError):  # it is closed
            pid = self._process.pid
            if pid is not None and self._process.exitcode is None and os.name == "posix":
                with suppress(OSError):  # it has no group yet, or none any more
                    os.killpg(pid, signal.SIGKILL)
            self._process.kill()

    def end(self) -> int | None:
        self._connection.close()  # which ends it
        self._process.join(_JOIN_S)
        self._process.kill()
        return self._process.exitcode


class _Call:
    """A function that is to run, or runs, in a process. ``over``: nobody waits for it any more."""

    def __init__(
        self, attempt: Attempt, definition: ActivityDefinition, arguments: tuple[Any, ...]
    ) -> None:
        self.attempt = attempt
        self.definition = definition
        self.arguments = arguments
        self.process: PoolProcess | None = None
        self.lock = Lock()
        self.begun = False
        self.stopped = False
        self.over = False

    def stop(self) -> None:
        """Ask the function to stop; one that has not begun does not begin."""
        with self.lock:
            self.stopped = True
            if self.begun and self.process is not None:
                with suppress(OSError):  # it has ended
                    self.process.send("stop")

    def give_up(self) -> None:
        """End the process that the function is in."""
        with self.lock:
            self.over = True
            if self.process is not None:
                self.process.kill()


class ActivityProcesses:
    """Up to ``most`` processes (0: one for each core), made when they are needed.

    One that dies or is killed is replaced by the next call. They end with ``shutdown``, with this
    object, and with the process that they belong to. ``made`` makes one.
    """

    def __init__(self, most: int, payloads: Payloads, timeouts: Timeouts) -> None:
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise RuntimeError(
                "a process for activities imports the main module of its worker, and that module "
                "starts a worker when it is imported. Put what starts it under `if __name__ == "
                '"__main__":`'
            )
        self.made: Callable[[], PoolProcess] = _Process
        self._threads = ActivityThreads(most or _cores())
        self._payloads = payloads
        self._timeouts = timeouts
        self._lock = Lock()
        self._idle: list[PoolProcess] = []
        self._all: set[PoolProcess] = set()
        self._closed = False
        self._kill = weakref.finalize(self, _kill, self._all)
        self._kill.atexit = False  # that would be after multiprocessing waits for its processes

    async def call(
        self, attempt: Attempt, definition: ActivityDefinition, arguments: tuple[Any, ...]
    ) -> Any:
        """Return what a function returns in a process.

        Raises ``Raised`` with what it raises, with ``SchemaMismatch`` for what cannot be pickled,
        and with ``ActivityTimedOut`` (lost) where the process ends. Cancelled, it has a short time
        to end.
        """
        call = _Call(attempt, definition, arguments)
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, self._run, loop, call)
        try:
            while not running.done():
                try:
                    await asyncio.wait((running,))
                except asyncio.CancelledError:
                    waits = attempt.stops and not attempt.ended_by and not call.stopped
                    call.stop()
                    if not waits:
                        await asyncio.wait((running,), timeout=_CLEAN_UP_S)
                        raise
        finally:
            if not running.done():
                call.give_up()
                running.cancel()
        outcome = running.result()
        if isinstance(outcome, Raised):
            raise outcome
        return outcome[0]

    def shutdown(self) -> None:
        """End all processes, and begin none any more."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        self._threads.shutdown()
        _kill(self._all)
        for process in idle:
            self._drop(process)
        atexit.unregister(self._kill)

    def _run(self, loop: asyncio.AbstractEventLoop, call: _Call) -> tuple[Any] | Raised:
        """Run a call in a process; return what it returns, in a tuple, or raises."""
        try:
            job = job_of(call.definition, call.arguments)
        except SchemaMismatch as error:
            return Raised(error)
        while not call.over:
            process, is_new = self._taken()
            try:
                outcome = self._talk(loop, call, job, process)
            except (EOFError, OSError):
                code = self._drop(process)
                if call.over:
                    break
                if call.begun or is_new:
                    return self._lost(call, code)
            except BaseException:
                self._drop(process)
                raise
            else:
                self._give_back(process)
                return outcome
        return Raised(asyncio.CancelledError())

    def _talk(
        self, loop: asyncio.AbstractEventLoop, call: _Call, job: bytes, process: PoolProcess
    ) -> tuple[Any] | Raised:
        """Run a call in this process. Raises ``EOFError`` or ``OSError`` where that ends."""
        with call.lock:
            call.process = process
            if call.over:
                return Raised(asyncio.CancelledError())
        try:
            process.send("job", job)
            return self._heard(loop, call, process)
        finally:
            with call.lock:  # from here on the process may be another call's
                call.process = None

    def _heard(
        self, loop: asyncio.AbstractEventLoop, call: _Call, process: PoolProcess
    ) -> tuple[Any] | Raised:
        """Answer the process until it says what the function came to."""
        while True:
            kind, data = process.receive()
            if kind == "ready":
                if not self._begins(loop, call, process):
                    return Raised(asyncio.CancelledError())
            elif kind == "returned":
                what = f"activity {call.definition.name!r} runs in a process: the result"
                try:
                    return (loaded(data, what),)
                except SchemaMismatch as error:
                    return Raised(error)
            elif kind == "raised":
                return Raised(received_error(data))
            else:
                self._answer(call.attempt, process, kind, data)

    def _begins(self, loop: asyncio.AbstractEventLoop, call: _Call, process: PoolProcess) -> bool:
        """Let the function begin, unless its attempt is over."""
        attempt = call.attempt
        with call.lock:
            if call.stopped or call.over or attempt.why or attempt.running is None:
                process.send("answer")
                return False
            self._timeouts.begin(attempt)
            if attempt.is_timed:
                loop.call_soon_threadsafe(self._timeouts.function_began, attempt)
            process.send("answer", pickle.dumps(attempt.info))
            call.begun = True
            return True

    def _answer(self, attempt: Attempt, process: PoolProcess, kind: str, data: bytes) -> None:
        """Do for the function what only the worker can do."""
        try:
            answer = b""
            if kind == "heartbeat":
                attempt.heartbeat(loaded(data, "activity.heartbeat: the details"))
            else:
                payload, type = loaded(data, "activity.heartbeat_details: the type")
                value = attempt.decode(payload, type)
                answer = dumped(value, "activity.heartbeat_details: the value")
        except Exception as error:  # the function is told
            process.send("error", sent_error(error))
        else:
            process.send("answer", answer)

    def _taken(self) -> tuple[PoolProcess, bool]:
        """Return a process, and whether it is a new one."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the processes of activities have ended: the worker stops")
            if self._idle:
                return self._idle.pop(), False
        process = self.made()
        with self._lock:
            if not self._all:
                atexit.register(self._kill)
            self._all.add(process)
        return process, True

    def _give_back(self, process: PoolProcess) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(process)
                return
        self._drop(process)

    def _drop(self, process: PoolProcess) -> int | None:
        """End a process, and return its exit code."""
        code = process.end()
        with self._lock:
            self._all.discard(process)
        return code

    def _lost(self, call: _Call, code: int | None) -> Raised:
        task = call.attempt.task
        ended = f"ended with exit code {code}"
        if code is not None and code < 0:
            ended = f"was killed by signal {-code} (9 may be want of memory)"
        message = f"activity {task.name!r}: the process of attempt {task.attempt} {ended}"
        if not call.begun:
            message += (
                " before the function began. Look at what the worker wrote to stderr: a module "
                "that cannot be imported again, or a main module without `if __name__ == "
                '"__main__":` around what starts the worker'
            )
        details = call.attempt.details
        error = ActivityTimedOut(
            message,
            activity=task.name,
            attempts=task.attempt,
            kind="lost",
            details=None if details is None else self._payloads.decoder(Any)(details),
        )
        return Raised(error)


def _kill(processes: set[PoolProcess]) -> None:
    for each in list(processes):
        each.kill()


def _cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on all systems
        return os.cpu_count() or 1
