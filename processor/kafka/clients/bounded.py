"""Bounds a call of a client library that does not keep its own time-out."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any

__all__ = ("within",)


def within(timeout_s: float, call: Callable[[], Any]) -> None:
    """Make the call on a thread of its own; raise ``TimeoutError`` when it does not return.

    The thread is left to itself then, and what it holds lives until the call returns, if ever.
    """
    done: Future[None] = Future()

    def run() -> None:
        try:
            call()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    Thread(target=run, name="bounded call", daemon=True).start()
    done.result(timeout_s)
