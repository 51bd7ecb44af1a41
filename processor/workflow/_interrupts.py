"""Errors that are raised in another thread, and taken back where that has not happened yet."""

from __future__ import annotations

import ctypes
import threading

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
    try:
        interrupt(threading.get_ident(), _TakenBack)
        while True:
            pass
    except _TakenBack:
        pass
