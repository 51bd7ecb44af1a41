"""How far the inputs have been read, and what holds them up.

An input that is buried goes to ``dead-letters``: until it is there, no turn is past it.
"""

from __future__ import annotations

from typing import Final

from processor.core.records.effects import DeadLetter
from processor.core.records.turn import Positions
from processor.shard.ports import Outbox

__all__ = ("LETTER", "Gate")

LETTER: Final = -1
"""The token of a dead letter in the outbox: which one it is, is not known."""

_LETTERS_MAX: Final = 1_000
_LETTERS_BYTES_MAX: Final = 8_000_000
"""How much may be on its way to ``dead-letters`` before more is buried."""


class Gate:
    """``positions`` are past everything that is in the log, or on its way there.

    ``failed``: an input waits for what is in flight, to be decided once more or to be answered;
    nothing may be decided before.
    """

    def __init__(self, positions: Positions, outbox: Outbox) -> None:
        self.positions = positions
        self.failed = False
        self._outbox = outbox
        self._buried: Positions | None = None
        self._letters = self._letters_bytes = 0

    @property
    def held(self) -> bool:
        """Whether an input is under way, so that none that is read may follow it."""
        return self._buried is not None or self.failed

    @property
    def takes_letters(self) -> bool:
        """Whether one more dead letter may be sent while others are on their way."""
        return not self.failed and (
            self._letters < _LETTERS_MAX and self._letters_bytes < _LETTERS_BYTES_MAX
        )

    @property
    def read(self) -> Positions:
        """The positions past all that has been read, buried or not."""
        return self.positions if self._buried is None else self._buried

    def passed(self, positions: Positions) -> None:
        """Note that an input has been read, if it is not held."""
        if not self.held:
            self.positions = positions

    def bury(self, letter: DeadLetter, positions: Positions) -> None:
        """Send to ``dead-letters``; until it is there no turn is past it, and only letters follow.

        Many are on their way together: one by one, 26,000 of them hold a shard up for 11 s.
        """
        self._buried = positions
        self._letters += 1
        self._letters_bytes += len(letter.key or b"") + len(letter.value or b"")
        self._outbox.send(letter, LETTER)

    def is_buried(self) -> None:
        """Note that a dead letter is there: which one of those on their way is not known."""
        assert self._buried is not None, "a dead letter is on its way"
        self._letters -= 1
        if not self._letters:
            self.positions, self._buried = self._buried, None
            self._letters_bytes = 0
