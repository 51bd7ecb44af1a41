"""What a reader of records checks, because a record may come from any producer."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, Final

from processor.checks import DURATION_S_MAX, ID_BYTES_MAX, NAME_BYTES_MAX, NUMBER_MAX
from processor.core.data.address import Caller, RunRef
from processor.core.data.failure import Failure
from processor.errors import SchemaMismatch

__all__ = (
    "CAUSES_MAX",
    "DURATION_MS_MAX",
    "NUMBER_MAX",
    "check_caller",
    "check_failure",
    "check_range",
    "check_run_ref",
    "check_text",
    "size_of",
)

CAUSES_MAX: Final = 50

DURATION_MS_MAX: Final = DURATION_S_MAX * 1_000

_NUMBER_BYTES: Final = 10
"""What a number takes at the most: a length, the number of a branch."""


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


def check_caller(caller: Caller | None) -> None:
    """Refuse a caller that no shard could answer."""
    if caller is not None:
        if caller.address.namespace is not None:
            check_text("namespace of the caller", caller.address.namespace, NAME_BYTES_MAX)
        check_text("workflow id of the caller", caller.address.workflow_id, ID_BYTES_MAX)
        check_text("run id of the caller", caller.run_id, ID_BYTES_MAX)
        check_range("number of the call", caller.call, 0, NUMBER_MAX)


def check_run_ref(what: str, run: RunRef | None) -> None:
    """Refuse ids of a run that no run has."""
    if run is not None:
        check_text(f"workflow id of the {what}", run.workflow_id, ID_BYTES_MAX)
        check_text(f"run id of the {what}", run.run_id, ID_BYTES_MAX)


def check_failure(failure: Failure | None) -> None:
    """Refuse a failure with a delay out of range, or with too many causes."""
    causes = 0
    while failure is not None:
        check_range("next_delay_ms", failure.next_delay_ms, 0, DURATION_MS_MAX)
        failure = failure.cause
        causes += failure is not None
        if causes > CAUSES_MAX:
            raise SchemaMismatch(
                f"a failure has more than {CAUSES_MAX} causes, one behind the other; give it fewer"
            )


def size_of(value: Any) -> int:
    """Return how many bytes a value takes in a record at the most."""
    if isinstance(value, bytes):
        return _NUMBER_BYTES + len(value)
    if isinstance(value, str):
        return _NUMBER_BYTES + (len(value) if value.isascii() else len(value.encode()))
    if isinstance(value, tuple | list):
        return _NUMBER_BYTES + sum(map(size_of, value))
    if is_dataclass(value):
        return _NUMBER_BYTES + sum(size_of(getattr(value, each.name)) for each in fields(value))
    return _NUMBER_BYTES
