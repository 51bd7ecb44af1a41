"""What a reader of records checks, because a record may come from any producer."""

from __future__ import annotations

from typing import Final

from processor.checks import DURATION_S_MAX
from processor.errors import SchemaMismatch

__all__ = ("DURATION_MS_MAX", "NUMBER_MAX", "check_range", "check_text")

DURATION_MS_MAX: Final = DURATION_S_MAX * 1_000
NUMBER_MAX: Final = 1 << 62


def check_text(what: str, text: str, most: int, *, least: int = 1) -> None:
    """Refuse a text that has not ``least`` to ``most`` bytes."""
    size = len(text) if text.isascii() else len(text.encode())
    if not least <= size <= most:
        raise SchemaMismatch(
            f"the {what} has {size:,} bytes; it may have {least} to {most:,}. Give it another one"
        )


def check_range(what: str, number: int | None, least: int, most: int) -> None:
    """Refuse a number that is there and not from ``least`` to ``most``."""
    if number is not None and not least <= number <= most:
        raise SchemaMismatch(f"the {what} is {number}; it may be {least} to {most}")
