"""The threads of plain activities: daemon threads, and one that hangs is replaced.

Not ``ThreadPoolExecutor``: its threads cannot be replaced, and a process waits for them at its end,
for ever where one hangs.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Lock, Thread, get_ident
from typing import Any, TypeVar

from processor.workflow._interrupts import interrupt, take_back

__all__ = ("ActivityThreads", "ThreadCall")

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class ThreadCall:
    """A function that runs in a thread. ``left``: nobody waits for it any more.

    ``asks``: it looks itself whether it should stop, and is not interrupted. ``shields`` hold an
    interruption back, which is ``pending`` then.
    """

    name: str
    lock: Lock
    thread: int = field(default_factory=get_ident)
    running: bool = True
    left: bool = False
    asks: bool = False
    interrupted: bool = False
    pending: bool = False
    shields: int = 0

    def interrupt(self) -> None:
        """Raise ``CancelledError`` in the function, once, at its next instruction of Python."""
        with self.lock:
            if not self.running or self.asks or self.interrupted:
                return
            self.interrupted = True
            if self.shields:
                self.pending = True
            else:
                interrupt(self.thread, CancelledError)

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Hold an interruption back until the end of the block. Used in the function's thread."""
        with self.lock:
            self.shields += 1
        try:
            yield
        finally:
            with self.lock:
                self.shields -= 1
                raises = self.pending and not self.shields
                self.pending = self.pending and not raises
        if raises:
            raise CancelledError


@dataclass(slots=True, eq=False)
class _Job:
    future: Future[Any]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.function(*self.arguments)
        except BaseException as error:  # whoever waits hears of it, as of any executor
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class ActivityThreads(Executor):
    """Up to ``most`` threads, and one more for each call that was left and has not ended.

    ``left`` counts these by name. All methods may be called from any thread.
    """

    def __init__(self, most: int) -> None:
        self.left: Counter[str] = Counter()
        self._most = most
        self._alive = 0
        self._idle = 0
        self._waiting = 0
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = Lock()
        self._closed = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call a function in a thread, as soon as one is free. Takes no keyword arguments."""
        assert not kwargs, "the executor of activities gives none"
        job = _Job(Future(), fn, args)
        with self._lock:
            if self._closed:
                raise RuntimeError("the threads of plain activities have ended: the worker stops")
            self._jobs.put(job)
            self._waiting += 1
            self._serve_one_more()
        return job.future

    def begun(self, name: str) -> ThreadCall:
        """Note that a function begins in this thread; ``ended`` has to follow."""
        return ThreadCall(name, self._lock)

    def ended(self, call: ThreadCall) -> None:
        """Note that a function has ended. May be interrupted itself; then it has to come again."""
        with self._lock:
            call.running = False
            if call.interrupted:
                take_back()
            if call.left:
                call.left = False
                self.left[call.name] -= 1
                self._most -= 1

    def leave(self, call: ThreadCall) -> bool:
        """Wait no more for a call; return whether it goes on. Its thread is replaced then."""
        with self._lock:
            if not call.running or call.left:
                return False
            call.left = True
            self.left[call.name] += 1
            self._most += 1
            self._serve_one_more()
            return True

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Begin nothing more. Waits for nothing: what runs goes on until the process ends."""
        with self._lock:
            self._closed = True
        with suppress(Empty):
            while (job := self._jobs.get_nowait()) is not None:
                job.future.cancel()
        self._jobs.put(None)

    def _serve_one_more(self) -> None:
        """Begin a thread where those that wait are too few for the jobs that do."""
        if self._idle < self._waiting and self._alive < self._most:
            try:
                Thread(target=self._serve, name="activity", daemon=True).start()
            except RuntimeError:  # the system has no more; those that are there take it
                if self._alive == 0:
                    self._waiting -= 1
                    self._jobs.get()
                    raise
            else:
                self._alive += 1

    def _serve(self) -> None:
        while (job := self._next()) is not None:
            job.run()
            del job  # else a thread that waits holds what its last function returned

    def _next(self) -> _Job | None:
        """Return the next job; None ends this thread, of which there is one too many."""
        with self._lock:
            if self._alive > self._most or self._closed:
                self._alive -= 1
                return None
            self._idle += 1
        job = self._jobs.get()
        with self._lock:
            self._idle -= 1
            if job is not None:
                self._waiting -= 1
                return job
            self._alive -= 1
        self._jobs.put(None)  # for the others
        return None
