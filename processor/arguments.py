"""What users pass to clients and workers, checked: errors name the call and the argument."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

from processor import checks
from processor.checks import one_of, time_ms
from processor.config import Settings
from processor.core.data.payloads import Payloads
from processor.errors import InvalidArgument, PayloadTooLarge, SchemaMismatch
from processor.policy import Status
from processor.workflow import Workflow
from processor.workflow._definition import named

__all__ = (
    "Seconds",
    "argument",
    "encoded",
    "named",
    "one_of",
    "seconds",
    "settings",
    "status",
    "time_ms",
)

Seconds: TypeAlias = timedelta | float
"""A duration, or seconds."""


def argument(workflow: Any, number: int) -> str:
    """Return the name of a workflow's argument, or its place where the name is not known."""
    if isinstance(workflow, Workflow):
        return workflow.signature.parameter(number)
    return str(number + 1)


def encoded(payloads: Payloads, bytes_max: int, what: str, value: Any) -> bytes | None:
    """Encode a value of the user's; ``what`` names it in errors.

    Raises ``SchemaMismatch`` and ``PayloadTooLarge``.
    """
    try:
        payload = payloads.encode(value)
    except SchemaMismatch as error:
        raise SchemaMismatch(f"{what}: {error}") from error
    if payload is not None and len(payload) > bytes_max:
        raise PayloadTooLarge(
            f"{what}: {len(payload):,} bytes; the limit is {bytes_max:,}. Keep the value elsewhere "
            "and pass where it is"
        )
    return payload


def seconds(value: Seconds | None, what: str) -> float | None:
    """Return a duration in seconds, None where there is none."""
    return None if value is None else checks.seconds(value, what)


def status(value: Any) -> str:
    """Return the status that a list is narrowed to."""
    choices = {each.value for each in Status}
    if isinstance(value, str) and (text := str.__str__(value)) in choices:
        return text
    given, names = checks.shown(value), ", ".join(each.value for each in Status)
    raise InvalidArgument(f"list: status: give one of {names}, not {given}")


def path(value: Any, what: str) -> Path:
    """Return the path of a folder. Raises ``InvalidArgument``."""
    if not isinstance(value, str | Path) or not str(value).strip():
        raise InvalidArgument(f"{what}: give the path of a folder, not {checks.shown(value)}")
    return Path(value)


def settings(value: Any, what: str, **given: Any) -> Settings:
    """Return settings, with their defaults where there are none.

    What is ``given``, and not None, stands in place of theirs; they say what fits.
    """
    if value is not None and not isinstance(value, Settings):
        shown = checks.shown(value)
        raise InvalidArgument(f"{what}: settings: give Settings(...), not {shown}")
    fields = {name: each for name, each in given.items() if each is not None}
    return replace(value or Settings(), **fields)
