"""Whether a KeyboardInterrupt is the user's Ctrl-C, or raised by code like any other error."""

from __future__ import annotations

import signal
import threading
from dis import opmap
from functools import partial
from typing import Any, Final

from processor.core.data.shown import entries_of, is_a, last_entry_of

__all__ = ("is_signal",)

_RAISE: Final = opmap["RAISE_VARARGS"]


def is_signal(error: BaseException) -> bool:
    """Return whether an error came of SIGINT: then the process has to end, not one run.

    The handler of the signal tells: one in Python, as asyncio's is, has left its frame in the
    traceback. Python's own is in C and raises anywhere but at a statement that raises.
    """
    if not is_a(error, KeyboardInterrupt):
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    handler: Any = signal.getsignal(signal.SIGINT)
    while isinstance(handler, partial):
        handler = handler.func
    if handler is signal.default_int_handler:
        last = last_entry_of(error)
        return last is not None and last.tb_frame.f_code.co_code[last.tb_lasti] != _RAISE
    code = getattr(handler, "__code__", None)
    return code is not None and any(frame.f_code is code for frame, _ in entries_of(error))
