"""What an entity is asked for and has not begun, in order: calls, signals, requests for its lock.

Calls of the holder of the lock are before all others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import takewhile
from typing import TypeAlias

from processor.core.data.address import Caller
from processor.core.nouns.external import EventReceived
from processor.core.nouns.locks.granting import HolderCalled, LockRequested
from processor.core.nouns.update import UpdateAccepted

__all__ = ("Message", "Queue", "Waits")

Message: TypeAlias = UpdateAccepted | EventReceived
"""What asks for an operation: a call, or a signal."""

Waits: TypeAlias = Message | LockRequested
"""What waits in the queue."""


class Queue:
    """``bytes`` is what the waiting messages take."""

    __slots__ = ("_messages", "_undo", "bytes")

    def __init__(self, messages: Sequence[Waits]) -> None:
        self._messages = deque(messages)
        self._undo: list[Callable[[], object]] = []
        self.bytes = sum(each.size for each in messages)

    def __len__(self) -> int:
        return len(self._messages)

    def begin(self) -> None:
        """Begin an activation, which may be undone."""
        self._undo.clear()

    def undo(self) -> None:
        """Be as before the last activation."""
        while self._undo:
            self._undo.pop()()
        self.bytes = sum(each.size for each in self._messages)

    @property
    def all(self) -> Sequence[Waits]:
        """Those that wait now: it changes with the next activation."""
        return self._messages

    @property
    def signals(self) -> list[EventReceived]:
        return [each for each in self._messages if isinstance(each, EventReceived)]

    @property
    def next(self) -> Waits:
        return self._messages[0]

    def put(self, message: Waits) -> None:
        """Let a message wait: at the end, or behind the other calls of the holder."""
        messages = self._messages
        if isinstance(message, HolderCalled):
            at = sum(1 for _ in takewhile(lambda each: isinstance(each, HolderCalled), messages))
            messages.insert(at, message)
            self._undo.append(partial(messages.__delitem__, at))
        else:
            messages.append(message)
            self._undo.append(messages.pop)
        self.bytes += message.size

    def take(self) -> Waits:
        """Return the first message, which waits no more."""
        message = self._messages.popleft()
        self._undo.append(partial(self._messages.appendleft, message))
        self.bytes -= message.size
        return message

    def withdraw(self, caller: Caller) -> None:
        """Let a request for the lock wait no more."""
        messages, request = self._messages, LockRequested(caller)
        at = messages.index(request)
        del messages[at]
        self._undo.append(partial(messages.insert, at, request))
        self.bytes -= request.size
