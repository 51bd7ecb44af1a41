"""Errors that are raised in another thread, and taken back where that has not happened yet."""

from __future__ import annotations

import ctypes
import threading
from typing import NoReturn

__all__ = ("interrupt", "take_back")

_set = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set.argtypes = (ctypes.c_ulong, ctypes.py_object)


class _TakenBack(BaseException):
    """Goes in the place of what is taken back."""


def interrupt(thread: int, error: type[BaseException]) -> None:
    """Raise an error in a thread, as soon as it runs Python's code."""
    _set(thread, error)


def take_back() -> None:
    """Let an error that was sent to the thread which calls never be raised there.

    Another error is sent, and caught here. To send none, as C's function can, would let CPython
    look for it at each call of a function from now on; and 3.11 never comes back from there where
    a profiler or a debugger is set.
    """
    other: BaseException | None = None
    try:
        try:
            _catch()
        except _TakenBack:
            raise
        except BaseException as error:  # what a signal raises comes first, and ours is still sent
            other = error
            _catch()
    except _TakenBack:
        pass
    if other is not None:
        raise other


def _catch() -> NoReturn:
    """Wait for an error of ours. Whatever was sent to this thread before is replaced by it."""
    interrupt(threading.get_ident(), _TakenBack)
    while True:
        pass
