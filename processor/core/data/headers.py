"""Headers: names and bytes that travel with starts, events, activities, calls and results."""

from __future__ import annotations

from typing import Final, TypeAlias

__all__ = ("BASES", "NO_HEADERS", "Headers")

# Pairs, because what holds them is hashed. A name stands in them once.
Headers: TypeAlias = tuple[tuple[str, bytes], ...]
"""Name and bytes of each header that travels along, for tracing and the like."""

BASES: Final = "processor-error-bases"
"""In a worker's report of a failure: the names of the classes that the error's is derived from."""

NO_HEADERS: Final[Headers] = ()
