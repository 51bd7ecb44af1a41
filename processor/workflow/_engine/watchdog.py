"""Ends code of users that does not give control back: one thread looks at all that run code.

So it is with workflow code, and with the functions of tables.

What counts is the CPU time of the code's own thread (see ``_cpu_clock``), so that a paused process,
a slow disk or a busy machine is no reason. After each ``INTERRUPT_S`` an exception is raised in
that thread. It has to land in the code and nowhere else, so both sides keep an order:

    the watchdog   says that it sends, then looks whether the code still runs, then sends
    the code       is over, then looks whether something is sent; then it waits for the watchdog,
                   and takes back what has not landed

What cannot be interrupted (it catches everything, or is in C) ends the process after ``END_S``.
C code that holds Python's lock stops the watchdog's thread, too. Some of it handles signals
meanwhile, as regular expressions and arithmetic of large numbers do: see ``look_by_signal``.
What waits without working (for a lock, say) is not interrupted, since a paused process or a slow
import looks the same: after ``SAY_S`` it is said.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, Final, NamedTuple, Protocol, TypeVar
from weakref import WeakSet

from processor.core.runner import CodeError, NeverEnds
from processor.workflow._frames import boundary, is_boundary, is_library, is_ours, where_of
from processor.workflow._interrupts import interrupt, take_back

__all__ = (
    "WORKFLOWS",
    "Advice",
    "NeverEnds",
    "Watched",
    "here",
    "look_by_signal",
    "watching",
)

R = TypeVar("R")

_log = logging.getLogger("processor.workflow")

INTERRUPT_S: Final = 2.0
END_S: Final = 10.0
SAY_S: Final = 10.0
SAY_AGAIN_S: Final = 60.0
LOOK_EVERY_S: Final = 0.25
LOOK_BY_SIGNAL_S: Final = 1.0
"""Of the process's CPU time."""
_LAST_WORDS_S: Final = 2.0


class Advice(NamedTuple):
    """What is said of a kind of code: its name, and what to do where it does not end."""

    code: str
    computes: str
    waits: str
    stuck: str


WORKFLOWS: Final = Advice(
    "workflow code",
    "Nothing else of its shard runs meanwhile, so it was interrupted. Await something in the loop, "
    "or do the work in an activity. A loop that waits for the clock never ends: time stands still "
    "within a turn, so await workflow.sleep() instead",
    "no other run of its shard goes on meanwhile. Do not wait for a thread, a lock, a queue or a "
    "socket in workflow code: await workflow.sleep(), an event or an activity. A slow import can "
    "be the reason, too: import it before the worker starts",
    "Terminate the run, or deploy code that ends",
)


class Running(Protocol):
    """What runs code of the user's; ``turn`` is another number at each call of it."""

    @property
    def whose(self) -> str:
        """Name it, for people."""
        ...

    @property
    def advice(self) -> Advice: ...

    @property
    def turn(self) -> int: ...


class Watched:
    """One thread that runs workflow code: ``running`` is set exactly while it does.

    ``sent`` says why the code was interrupted; whoever ends the run takes it.
    """

    __slots__ = (
        *("__weakref__", "_clock", "_looked", "_say_at", "_seen", "_send_at", "_since", "_thread"),
        *("_waited", "running", "sent"),
    )

    def __init__(self) -> None:
        self.running: Running | None = None
        self.sent: CodeError | None = None
        self._thread = threading.get_ident()
        self._clock = _cpu_clock(self._thread)
        self._seen: tuple[Running, int] | None = None
        self._since = self._looked = self._waited = 0.0
        self._send_at = self._say_at = 0.0

    def over(self) -> None:
        """Note that the code does not run any more: nothing lands in its thread from now on."""
        self.running = None
        if self.sent is not None:
            with _lock:
                take_back()

    def taken(self) -> CodeError | None:
        """Return why the code that is over was interrupted, if it was; once."""
        sent, self.sent = self.sent, None
        self.running = self._seen = None
        return sent

    # --- the watchdog's thread ----------------------------------------------------------------

    def look(self) -> None:
        """Interrupt the code, or end the process, where it has run for too long."""
        run = self.running
        if run is None:
            self._seen = None
            return
        now, seen = self._clock(), (run, run.turn)
        looked, self._looked = self._looked, time.monotonic()
        if seen != self._seen:
            self._seen, self._since = seen, now
            self._waited, self._send_at, self._say_at = 0.0, INTERRUPT_S, SAY_S
            return
        lasted = now - self._since
        # While the process is paused, nobody looks: that counts as one look.
        self._waited += min(self._looked - looked, 2 * LOOK_EVERY_S)
        if self._waited >= self._say_at:
            self._say_at += SAY_AGAIN_S
            _say(run, self._waited, sys._current_frames().get(self._thread))
        if lasted >= END_S:
            _end_process(run, lasted, sys._current_frames().get(self._thread))
        elif lasted >= self._send_at:
            self._send_at = lasted + INTERRUPT_S
            self._interrupt(run, lasted)

    def _interrupt(self, run: Running, lasted: float) -> None:
        error = _error(run, lasted, sys._current_frames().get(self._thread))
        with _lock:
            before = self.sent  # one task may have been interrupted, and another one goes on
            self.sent = before or error
            if (self.running, run.turn) == self._seen:
                if threading.get_ident() == self._thread:  # within a signal's handler
                    raise NeverEnds
                interrupt(self._thread, NeverEnds)
            else:
                self.sent = before


_lock = threading.Lock()
_local = threading.local()
_watched: WeakSet[Watched] = WeakSet()
_threads: list[threading.Thread] = []


def here() -> Watched:
    """Return what watches the thread that calls."""
    try:
        return _local.watched  # type: ignore[no-any-return]
    except AttributeError:
        watched = _local.watched = Watched()
        with _lock:
            _watched.add(watched)
            if not _threads:
                _threads.append(threading.Thread(target=_watch, name="watchdog", daemon=True))
                _threads[0].start()
        return watched


def look_by_signal() -> None:
    """Let a signal, SIGVTALRM, make the main thread look at the code that it runs.

    C code that holds Python's lock may handle signals meanwhile, in the main thread only. It is a
    process's own to say what its signals do, so no library calls this.
    """
    watched = here()
    # Nothing is locked by this thread while code runs: the handler may wait for a lock then.
    signal.signal(signal.SIGVTALRM, lambda *_: None if watched.running is None else watched.look())
    signal.siginterrupt(signal.SIGVTALRM, False)
    signal.setitimer(signal.ITIMER_VIRTUAL, LOOK_BY_SIGNAL_S, LOOK_BY_SIGNAL_S)
    # Python takes handlers away before it ends, and then the signal would end the process.
    atexit.register(signal.setitimer, signal.ITIMER_VIRTUAL, 0)


@boundary
def watching(run: Running, function: Callable[..., R], *args: Any) -> R:
    """Call a function that may run code of the user's outside of an activation's.

    Raises ``CodeError`` where that was interrupted, whatever the function made of it.
    """
    watched = here()
    try:
        try:
            watched.running = run
            return function(*args)
        finally:
            watched.running = None  # as ``over`` does, which costs a call
            if watched.sent is not None:
                watched.over()
    finally:
        if watched.sent is not None:
            error = watched.taken()
            if error is not None:
                raise error from None


def _cpu_clock(thread: int) -> Callable[[], float]:
    """Return a clock of a thread's CPU time, in seconds."""
    if hasattr(time, "pthread_getcpuclockid"):
        return partial(time.clock_gettime, time.pthread_getcpuclockid(thread))
    return _process_clock()


def _process_clock() -> Callable[[], float]:
    """Return a clock for where threads have none (macOS, Windows).

    It goes on by the process's CPU time, and not faster than time itself: a paused process is no
    reason there either, but the work of other threads counts.
    """
    total, cpu, real = 0.0, time.process_time(), time.monotonic()

    def now() -> float:
        nonlocal total, cpu, real
        cpu_now, real_now = time.process_time(), time.monotonic()
        total += min(cpu_now - cpu, real_now - real)
        cpu, real = cpu_now, real_now
        return total

    return now


def _watch() -> None:
    while True:
        time.sleep(LOOK_EVERY_S)
        with _lock:
            every = list(_watched)
        for watched in every:
            try:
                watched.look()
            except OSError:  # the thread has ended, and its clock with it
                continue
        del every


def _error(run: Running, lasted: float, frame: FrameType | None) -> CodeError:
    where, stack = _stack_of(frame)
    at = f", at {where}" if where else ""
    return CodeError(
        "never_ends",
        f"{run.advice.code} did not give control back for {lasted:.1f} s of CPU time{at}. "
        f"{run.advice.computes}",
        where,
        stack,
    )


def _stack_of(frame: FrameType | None) -> tuple[str, str]:
    """Return the user's line, and the stack from the workflow code on."""
    frames: list[tuple[FrameType, int]] = []
    line = ""
    while frame is not None and not is_boundary(frame):
        module = frame.f_globals.get("__name__")
        if not line and not is_library(module):
            line = where_of(frame)
        if not is_ours(module):
            frames.append((frame, frame.f_lineno))
        frame = frame.f_back
    return line, "".join(traceback.StackSummary.extract(reversed(frames)).format())


def _say(run: Running, waited: float, frame: FrameType | None) -> None:
    """Say which code holds its thread. By another one: a log handler may be what it waits for."""
    where, stack = _stack_of(frame)
    text = (
        "%s: its code has not given control back for %.0f s, at %s. It does not work but wait, and "
        "%s\n%s"
    )
    values = (run.whose, waited, where or "an unknown line", run.advice.waits, stack)
    threading.Thread(target=_log.warning, args=(text, *values), daemon=True).start()


def _end_process(run: Running, lasted: float, frame: FrameType | None) -> None:
    """Say which code it is, and end: whoever takes the shards up goes on with all else."""
    where, stack = _stack_of(frame)
    text = (
        "%s: its code does not give control back (%.1f s of CPU time), and cannot be interrupted: "
        "it catches everything, or is in C code. This process ends, since nothing else can run in "
        "it. %s; it is at %s\n%s"
    )
    values = (run.whose, lasted, run.advice.stuck, where or "an unknown line", stack)
    # By another thread: the one that hangs may hold a lock of a log handler.
    last_words = threading.Thread(target=_log.critical, args=(text, *values), daemon=True)
    last_words.start()
    last_words.join(_LAST_WORDS_S)
    os._exit(1)
