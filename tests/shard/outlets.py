"""What publishers of these tests have in common: where records go, and how long they wait."""

from __future__ import annotations

from processor.node.publishing.undeliverable import Outlets

__all__ = ("OWN", "Delays")

OWN = Outlets("r", "d", "e", "g", "s", 2_000_000, lambda topic: False, len)


class Delays:
    def next_s(self) -> float:
        return 1.0

    def reset(self) -> None: ...
