"""Headers: names and bytes that travel with starts, events, activities, calls and results."""

from __future__ import annotations

from typing import Final, TypeAlias

__all__ = ("NO_HEADERS", "Headers")

Headers: TypeAlias = tuple[tuple[str, bytes], ...]
"""Pairs, because what holds them is hashed. A name stands in them once."""

NO_HEADERS: Final[Headers] = ()
