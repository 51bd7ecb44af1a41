"""Texts of others for terminals and logs: what is in them cannot act there."""

from __future__ import annotations

__all__ = ("readable",)


def readable(text: str, *, lines: bool = False) -> str:
    r"""Return a text with everything that a terminal obeys or that hides spelled out.

    That is escape sequences, line breaks that forge rows, marks that turn the direction of writing,
    and halves of surrogate pairs: as ``repr`` spells them, ``\x1b`` for one. With ``lines``, line
    feeds and tabs stay.
    """
    if text.isprintable():
        return text
    kept = " \n\t" if lines else " "
    return "".join(
        each if each.isprintable() or each in kept else repr(each)[1:-1] for each in text
    )
