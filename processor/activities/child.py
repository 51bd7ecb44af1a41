"""A process of a worker in which plain activities run, one at a time (``pool="processes"``).

The main thread runs the functions, so that they may use signals and libraries that want it. Another
one listens to the worker: what ends that pipe, a ``kill -9`` of the worker too, ends this process.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import os
import pickle
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Final

from processor.activities.threads import ActivityThreads, ThreadCall
from processor.activities.traveling import (
    Job,
    dumped,
    function_of,
    loaded,
    received_error,
    sent_error,
)
from processor.activity import ActivityInfo, current

__all__ = ("serve",)

_PR_SET_PDEATHSIG: Final = 1
_NOTHING: Final = object()


def serve(connection: Connection) -> None:
    """Run what comes, until the worker goes. The entry of the process."""
    # Ctrl-C reaches all processes of a terminal, and systemd stops all of a unit: the worker says
    # what becomes of activities. What is ignored would be so in programs that they start, too.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: None)
    if os.name == "posix":
        os.setpgid(0, 0)  # what a function starts is killed with it
    _end_with_parent()
    line = _Line(connection)
    Thread(target=line.listen, name="worker", daemon=True).start()
    while True:
        line.run(line.jobs.get())


def _end_with_parent() -> None:
    """Let Linux kill this process with its worker, also while C code holds the interpreter."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _Line:
    """What goes to the worker and comes from it. ``call`` is what runs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.jobs: SimpleQueue[bytes] = SimpleQueue()
        self._answers: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
        self._asking = Lock()
        self._threads = ActivityThreads(1)
        self._call: ThreadCall | None = None
        self.is_stopped = False

    def listen(self) -> None:
        """Take what the worker sends; end this process when it is gone."""
        try:
            while True:
                kind, data = self._connection.recv()
                if kind == "job":
                    self.is_stopped = False
                    self.jobs.put(data)
                elif kind == "stop":
                    self.is_stopped = True
                    if (call := self._call) is not None:
                        call.interrupt()
                else:
                    self._answers.put((kind, data))
        except (EOFError, OSError):
            os._exit(0)

    def ask(self, kind: str, data: bytes, call: ThreadCall | None = None) -> bytes:
        """Return the answer of the worker, or raise the error that it gives.

        A thread of the function's may ask for longer than the ``call`` runs.
        """
        with self._asking:
            if call is not None and not call.running:
                raise RuntimeError(f"activity.{kind}: the function of {call.name!r} has ended")
            self._connection.send((kind, data))
            kind, answer = self._answers.get()
        if kind == "error":
            raise received_error(answer)
        return answer

    def run(self, data: bytes) -> None:
        """Run one job, and send what comes of it."""
        try:
            outcome = contextvars.Context().run(self._outcome, data)
            if outcome is not None:
                self._connection.send(outcome)
        except OSError:  # the worker is gone
            os._exit(0)

    def _outcome(self, data: bytes) -> tuple[str, bytes] | None:
        try:
            job: Job = loaded(data, "the arguments")
            function = function_of(job)
        except BaseException as error:  # of the user's module or classes
            return "raised", sent_error(error)
        begins = self.ask("ready", b"")
        if not begins:
            return None
        result = self._result(job, function, pickle.loads(begins))
        if isinstance(result, BaseException):
            return "raised", sent_error(result)
        try:
            what = f"activity {job.name!r} runs in a process: the result"
            return "returned", dumped(result[0], what)
        except BaseException as error:  # as above
            return "raised", sent_error(error)

    def _result(
        self, job: Job, function: Callable[..., Any], info: ActivityInfo
    ) -> tuple[Any] | BaseException:
        """Return what the function returns, in a tuple, or what it raises."""
        self._call = call = self._threads.begun(job.name)
        current.set(_Attempt(self, call, info))
        result: Any = _NOTHING
        try:
            try:
                if self.is_stopped:
                    call.interrupt()
                result = (function(*job.arguments),)
            except BaseException as error:  # all of it is the failure of the attempt
                result = error
            self._ended(call)
        except asyncio.CancelledError as error:  # it was interrupted when it had just ended
            result = error if result is _NOTHING else result
            self._ended(call)
        return result  # type: ignore[no-any-return]

    def _ended(self, call: ThreadCall) -> None:
        with self._asking:  # nobody waits for an answer any more
            self._threads.ended(call)
        self._call = None


class _Attempt:
    """Implements ``ActivityContext`` in the process; what needs the worker is asked of it."""

    def __init__(self, line: _Line, call: ThreadCall, info: ActivityInfo) -> None:
        self._line = line
        self._call = call
        self.info = info

    def heartbeat(self, details: Any) -> None:
        data = dumped(details, "activity.heartbeat: the details")
        self._line.ask("heartbeat", data, self._call)

    def is_cancelled(self) -> bool:
        self._call.asks = True
        return self._line.is_stopped

    def shield(self) -> AbstractContextManager[None]:
        return self._call.shielded()

    def decode(self, payload: bytes, type: Any) -> Any:
        asked = dumped((payload, type), "activity.heartbeat_details: the type")
        answer = self._line.ask("heartbeat_details", asked, self._call)
        return loaded(answer, "activity.heartbeat_details: the value")
