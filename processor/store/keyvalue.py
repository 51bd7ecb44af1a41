"""The little that the tables need of a store: ordered families of bytes, and atomic batches."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, Protocol, TypeAlias

__all__ = ("Durable", "KeyValue", "Memory", "Mutation")

_LOT: Final = 16
"""Keys that a scan looks up at once: most of them end after a few."""

Mutation: TypeAlias = tuple[str, bytes, bytes | None]
"""Family, key and value of a put; a delete where the value is None."""


class KeyValue(Protocol):
    def get(self, family: str, key: bytes) -> bytes | None: ...

    def write(self, mutations: Sequence[Mutation]) -> None:
        """Apply all of them or none, in order."""

    def scan(self, family: str, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values in key order, from ``first`` on."""

    def last(self, family: str) -> bytes | None:
        """Return the last key of a family."""

    def close(self) -> None: ...


class Durable(KeyValue, Protocol):
    def sync(self) -> None:
        """Make what was written survive a power cut, too. Blocks; from any thread."""


class Memory:
    """The store of the simulated runtime."""

    def __init__(self) -> None:
        self._values: defaultdict[str, dict[bytes, bytes]] = defaultdict(dict)
        self._order: defaultdict[str, list[bytes]] = defaultdict(list)

    def get(self, family: str, key: bytes) -> bytes | None:
        return self._values[family].get(key)

    def write(self, mutations: Sequence[Mutation]) -> None:
        for family, key, value in mutations:
            values, order = self._values[family], self._order[family]
            if value is not None:
                if key not in values:
                    insort(order, key)
                values[key] = value
            elif key in values:
                del values[key]
                del order[bisect_left(order, key)]

    def sync(self) -> None:
        """Memory survives nothing."""

    def scan(self, family: str, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        values, order = self._values[family], self._order[family]
        at = bisect_left(order, first)
        while lot := order[at : at + _LOT]:
            for key in lot:
                yield key, values[key]
            at = bisect_right(order, lot[-1])

    def last(self, family: str) -> bytes | None:
        order = self._order[family]
        return order[-1] if order else None

    def copy(self) -> Memory:
        """Return a store that holds the same and changes by itself."""
        other = Memory()
        other._values.update((family, dict(rows)) for family, rows in self._values.items())
        other._order.update((family, list(keys)) for family, keys in self._order.items())
        return other

    def close(self) -> None:
        pass
