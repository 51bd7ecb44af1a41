"""Counts what was checked."""

from __future__ import annotations

from collections import Counter
from typing import Any

__all__ = ("Checked",)


class Checked:
    """Counts what was checked, by invariant."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def that(self, invariant: str, holds: bool, *what: Any) -> None:
        self.counts[invariant] += 1
        assert holds, f"{invariant}: {' '.join(map(str, what))}"
