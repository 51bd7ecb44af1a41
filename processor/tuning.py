"""What a process sets for itself whose only work is to serve workflows. No library does that."""

from __future__ import annotations

import faulthandler
import gc
from typing import Final

__all__ = ("tune_process",)

_COLLECT_AFTER: Final = 50_000
_STDERR: Final = 2


def tune_process() -> None:
    """Spare the garbage collector work that finds nothing, and let SIGABRT show where threads are.

    What is loaded by now stays for good. A burst of turns makes more objects at once than the
    collector's own threshold of 700 assumes; whoever has set a higher one, or none, knows better.
    """
    gc.collect()
    gc.freeze()
    young, *older = gc.get_threshold()
    if 0 < young < _COLLECT_AFTER:
        gc.set_threshold(_COLLECT_AFTER, *older)
    if not faulthandler.is_enabled():
        faulthandler.enable(_STDERR)
