"""Who serves a Kafka client: a thread of its own, or the event loop while that is busy.

A client's thread waits for what arrives. Beside a busy event loop it would be in the way: the
interpreter lock changes hands for every acknowledgement (``docs/performance.md``). So the thread
parks once it has woken the loop; the loop takes in the rest without waiting, and calls the thread
back before it sleeps.
"""

from __future__ import annotations

from threading import Event, Lock
from typing import Final, Self

__all__ = ("Serving",)

_PARKED_S: Final = 1.0
"""How long a thread leaves its client to the loop; only a loop that is stuck takes longer."""


class Serving:
    """One of the two serves at a time, so that what arrives keeps its order.

    As a context manager: the thread serves. A client that no loop ever asks for is its thread's.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._watched = Event()
        self._shared = False

    # --- the loop -----------------------------------------------------------------------------

    def begin(self) -> bool:
        """Return whether the loop may serve now; the thread may be at it. ``end`` afterwards."""
        self._shared = True
        self._watched.clear()
        return self._lock.acquire(blocking=False)

    def end(self) -> None:
        self._lock.release()

    def watch(self) -> None:
        """Call the thread back: the loop is about to sleep."""
        self._watched.set()

    # --- the thread ---------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def arrived(self) -> None:
        """Note that something came, before the loop is woken for it."""
        self._watched.clear()

    def park(self) -> None:
        """Leave the client to the loop until that sleeps."""
        if self._shared:
            self._watched.wait(_PARKED_S)

    def leave_to_thread(self) -> None:
        """The loop will not serve again."""
        self._shared = False
        self._watched.set()
