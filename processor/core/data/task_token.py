"""Task tokens: the text that names one attempt of an activity to whoever says how it ends."""

from __future__ import annotations

from typing import Final, NamedTuple

from processor.checks import NUMBER_MAX, name, shown, whole
from processor.checks import workflow_id as checked_id
from processor.core.data.opaque import opaque, parts_of_opaque
from processor.errors import InvalidArgument

__all__ = ("Named", "named_by", "token_of")

_ATTEMPT_MAX: Final = (1 << 31) - 1


class Named(NamedTuple):
    """An activity, by its number in a run. ``attempt``: only that one; None: whichever is out."""

    workflow_id: str
    id: int
    run_id: str | None = None
    attempt: int | None = None


def token_of(workflow_id: str, run_id: str, id: int, attempt: int) -> str:
    """Return a text of letters, digits, ``-`` and ``_``."""
    return opaque(attempt, id, run_id, workflow_id)


def named_by(token: object, where: str) -> Named:
    """Return what a token names, or an activity that is given by its ids.

    Raises ``InvalidArgument``; ``where`` says in which call.
    """
    if isinstance(token, tuple) and len(token) in (2, 3):
        id = whole(token[1], f"{where}: activity id", 0)
        run_id = name(token[2], f"{where}: run id") if len(token) == 3 else None
        return Named(checked_id(token[0], f"{where}: workflow id"), id, run_id)
    if isinstance(token, str):
        token = str.__str__(token)  # what a subclass makes of itself is not what it holds
        try:
            attempt, id_text, run_id, workflow_id = parts_of_opaque(token, 4)
            named = Named(workflow_id, int(id_text), run_id, int(attempt))
            known = 0 <= named.id <= NUMBER_MAX and 0 < int(attempt) <= _ATTEMPT_MAX
            if known and token_of(workflow_id, run_id, named.id, int(attempt)) == token:
                return named
        except ValueError:  # no base64, no UTF-8, no numbers
            pass
    raise InvalidArgument(
        f"{where}: token: give activity.info().task_token as it is, or (workflow id, activity id) "
        f"or (workflow id, activity id, run id), not {shown(token)}"
    )
