"""Has a group decide once more after a process that was killed has come back into it.

Cooperative members give partitions up in one generation and get them in the next one, for which
whoever gave them up asks. A static member that dies between the two, and is back before its
session times out, is let in without a new generation (KIP-345). What it had given up would be
nobody's until the next process comes or goes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final, Literal

__all__ = ("Comeback",)

_log = logging.getLogger("processor.kafka")

_AFTER_S: Final = 3.0


class Comeback:
    """Asks once for a generation, a while after the first one. Nothing that is given moves by it.

    ``subscribe`` subscribes the member. All is called by the thread that polls its consumer. One
    that has not come back asks for nothing.
    """

    def __init__(self, topic: str, subscribe: Callable[[str], None], came_back: bool) -> None:
        self._topic = topic
        self._subscribe = subscribe
        self._due = 0.0
        self._state: Literal["joins", "waits", "asked", "answered", "over"]
        self._state = "joins" if came_back else "over"

    def generation(self) -> None:
        """Note that a generation has begun."""
        if self._state == "joins":
            self._due, self._state = monotonic() + _AFTER_S, "waits"
        elif self._state == "asked":
            self._state = "answered"

    def poll(self) -> None:
        """Ask for a generation when it is time."""
        if self._state == "waits" and monotonic() >= self._due:
            self._state = "asked"
            _log.info("%s: this process was killed, and its group decides once more", self._topic)
            # librdkafka joins again where what is subscribed looks new. This pattern does, and
            # means the same topic.
            self._subscribe(f"^{self._topic.replace('.', '[.]')}$")
        elif self._state == "answered":
            self._state = "over"
            self._subscribe(self._topic)
