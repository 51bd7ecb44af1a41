"""What an exception that escapes code of the user's means: a failure, or a bug."""

from __future__ import annotations

from collections.abc import Sequence

from processor.core.data.shown import is_a, members_of
from processor.errors import InvalidArgument, PayloadCodecError, ProcessorError

__all__ = ("fails",)

_identity = object.__hash__


def fails(error: BaseException, named: Sequence[type[BaseException]]) -> bool:
    """Return whether an exception is a failure. A group is one if all that it holds are.

    Errors of ours are, and those that the workflow has ``named``. A wrong argument is a bug: like
    others, it is a failure if the workflow names its class. So is a codec that fails.
    """
    types: tuple[type[BaseException], ...] = (ProcessorError, *named)
    waits, seen = [error], {_identity(error)}
    while waits:
        each = waits.pop()
        if is_a(each, InvalidArgument) or is_a(each, PayloadCodecError):
            failing = any(is_a(each, kind) for kind in types if kind is not ProcessorError)
        else:
            failing = any(is_a(each, kind) for kind in types)
        members = members_of(each)
        if not failing and not members:
            return False
        if not failing:
            fresh = {_identity(one): one for one in members if _identity(one) not in seen}
            seen |= fresh.keys()
            waits += fresh.values()
    return True
