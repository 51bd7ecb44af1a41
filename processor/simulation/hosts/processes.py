"""A process of activities in virtual time: its functions run in place."""

from __future__ import annotations

import contextvars
import pickle
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

from processor.activities.traveling import Job, dumped, function_of, loaded, sent_error
from processor.activity import ActivityInfo, current

__all__ = ("ProcessEnded", "VirtualProcess")


class ProcessEnded(BaseException):
    """What a function raises that ends the process it is in."""


class VirtualProcess:
    """Says what a real one says, in the same order. It runs one function at a time, in no time."""

    def __init__(self) -> None:
        self._job: bytes | None = None
        self._begins: bytes | None = None
        self._is_ended = False

    def send(self, kind: str, data: bytes = b"") -> None:
        if self._is_ended:
            raise BrokenPipeError
        if kind == "job":
            self._job, self._begins = data, None
        else:
            self._begins = data

    def receive(self) -> tuple[str, bytes]:
        assert self._job is not None, "it is asked for something"
        if self._begins is None:
            return "ready", b""
        try:
            return contextvars.Context().run(self._run, self._job, self._begins)
        except ProcessEnded:
            self._is_ended = True
            raise EOFError from None

    def kill(self) -> None:
        self._is_ended = True

    def end(self) -> int | None:
        self._is_ended = True
        return 1

    def _run(self, data: bytes, begins: bytes) -> tuple[str, bytes]:
        try:
            job: Job = loaded(data, "the arguments")
            current.set(_Attempt(pickle.loads(begins)))
            return "returned", dumped(function_of(job)(*job.arguments), "the result")
        except Exception as error:  # of the user's function
            return "raised", sent_error(error)


class _Attempt:
    """Implements ``ActivityContext`` for a function that takes no time."""

    def __init__(self, info: ActivityInfo) -> None:
        self.info = info

    def heartbeat(self, details: Any) -> None:
        """A function that takes no time says nothing meanwhile."""

    def is_cancelled(self) -> bool:
        return False

    def shield(self) -> AbstractContextManager[None]:
        return nullcontext()

    def decode(self, payload: bytes, type: Any) -> NoReturn:
        raise NotImplementedError("no heartbeat of a function in a process has details here")
