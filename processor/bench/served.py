"""What a worker of the benchmark serves."""

from __future__ import annotations

from typing import Any, Final

from processor.bench.asking import ASKED
from processor.bench.entities import Tally
from processor.bench.workloads import ACTIVITIES, WORKFLOWS

__all__ = ("SERVED",)

SERVED: Final[dict[str, Any]] = {
    "workflows": (*WORKFLOWS, *ASKED),
    "activities": ACTIVITIES,
    "entities": (Tally,),
}
"""For ``Worker``, by its parameters."""
