"""What befalls the native producer in a simulated world, decided by a seed."""

from __future__ import annotations

from collections import Counter
from random import Random

__all__ = ("Chances",)


class Chances:
    """``calm``: nothing befalls it any more. ``injected`` counts what did, by kind."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.injected: Counter[str] = Counter()
        self.calm = False
        self._roughness = random.choice((0.3, 1.0, 3.0))

    def strike(self, kind: str, probability: float) -> bool:
        if self.calm or self.random.random() >= probability * self._roughness:
            return False
        self.injected[f"producer: {kind}"] += 1
        return True
