"""What is set for a whole process that belongs to a worker: nobody else sets any of it.

`processor worker` does, and what measures workers. ``Worker`` in somebody's own process leaves the
garbage collector as it is. What each brings: ``docs/decisions/0011-tuning.md``.
"""

from __future__ import annotations

import gc
from typing import Final

__all__ = ("tune",)

_COLLECT_AFTER: Final = 20_000
"""New objects until the garbage collector looks at them."""


def tune() -> None:
    """Call it once, when what stays for good is loaded."""
    young, *older = gc.get_threshold()
    if 0 < young < _COLLECT_AFTER:  # whoever has set a higher one, or none, knows better
        gc.set_threshold(_COLLECT_AFTER, *older)
    gc.collect()
    gc.freeze()
