"""What an entity is asked for and has not begun: calls and signals, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from processor.core.nouns.external import EventReceived
from processor.core.nouns.update import UpdateAccepted

__all__ = ("Message", "Queue")

Message: TypeAlias = UpdateAccepted | EventReceived
"""What asks for an operation: a call, or a signal."""


class Queue:
    """``bytes`` is what the waiting messages take."""

    __slots__ = ("_came", "_messages", "_taken", "bytes")

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = deque(messages)
        self._came = 0
        self._taken: list[Message] = []
        self.bytes = sum(each.size for each in messages)

    def __len__(self) -> int:
        return len(self._messages)

    def begin(self) -> None:
        """Begin an activation, which may be undone."""
        self._came = 0
        self._taken.clear()

    def undo(self) -> None:
        """Be as before the last activation."""
        self._messages.extendleft(reversed(self._taken))
        for _ in range(self._came):
            self._messages.pop()
        self.bytes = sum(each.size for each in self._messages)
        self.begin()

    @property
    def all(self) -> Sequence[Message]:
        """Those that wait now: it changes with the next activation."""
        return self._messages

    @property
    def signals(self) -> list[EventReceived]:
        return [each for each in self._messages if isinstance(each, EventReceived)]

    @property
    def next(self) -> Message:
        return self._messages[0]

    def put(self, message: Message) -> None:
        self._messages.append(message)
        self._came += 1
        self.bytes += message.size

    def take(self) -> Message:
        """Return the first message, which waits no more."""
        message = self._messages.popleft()
        self._taken.append(message)
        self.bytes -= message.size
        return message
