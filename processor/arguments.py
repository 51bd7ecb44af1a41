"""What users pass to clients and workers, checked: errors name the call and the argument."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from processor import checks
from processor.config import Settings
from processor.errors import InvalidArgument
from processor.policy import Status
from processor.workflow import Workflow
from processor.workflow._definition import defined

__all__ = (
    "Seconds",
    "argument",
    "named",
    "one_of",
    "seconds",
    "settings",
    "status",
    "time_ms",
)

Seconds: TypeAlias = timedelta | float
"""A duration, or seconds."""


def named(call: str, workflow: Any) -> tuple[str, Any]:
    """Return the name of a workflow, and the type of its result."""
    if isinstance(workflow, str):
        return checks.name(workflow, f"{call}: workflow"), Any
    if (known := defined(workflow)) is not None:
        if known is not workflow:
            which = f"{workflow.__qualname__}.{known.function.__name__}"
            raise InvalidArgument(f"{call}: workflow: name the method that is run: {which}")
        return known.name, known.result_type
    given = checks.shown(workflow)
    raise InvalidArgument(f"{call}: workflow: {given} is none: put @workflow.define on a function")


def argument(workflow: Any, number: int) -> str:
    """Return the name of a workflow's argument, or its place where the name is not known."""
    if isinstance(workflow, Workflow):
        return workflow.signature.parameter(number)
    return str(number + 1)


def seconds(value: Seconds | None, what: str) -> float | None:
    """Return a duration in seconds, None where there is none."""
    return None if value is None else checks.seconds(value, what)


def time_ms(value: Any, what: str) -> int:
    """Return a time as milliseconds since the epoch."""
    if not isinstance(value, datetime) or value.tzinfo is None or value.utcoffset() is None:
        shown = checks.shown(value)
        raise InvalidArgument(f"{what}: give a datetime with a time zone, not {shown}")
    milliseconds = int(value.timestamp() * 1000)
    if milliseconds < 0:
        raise InvalidArgument(f"{what}: give a time after 1970, not {checks.shown(value)}")
    return milliseconds


def one_of(choices: Collection[str], value: Any, what: str) -> Any:
    """Return one of the choices that there are."""
    if isinstance(value, str) and (text := str.__str__(value)) in choices:
        return text
    raise InvalidArgument(f"{what}: give one of {choices}, not {checks.shown(value)}")


def status(value: Any) -> str:
    """Return the status that a list is narrowed to."""
    choices = {each.value for each in Status}
    if isinstance(value, str) and (text := str.__str__(value)) in choices:
        return text
    given, names = checks.shown(value), ", ".join(each.value for each in Status)
    raise InvalidArgument(f"list: status: give one of {names}, not {given}")


def settings(value: Any, what: str, **given: Any) -> Settings:
    """Return settings, with their defaults where there are none.

    What is ``given``, and not None, stands in place of theirs; they say what fits.
    """
    if value is not None and not isinstance(value, Settings):
        shown = checks.shown(value)
        raise InvalidArgument(f"{what}: settings: give Settings(...), not {shown}")
    fields = {name: each for name, each in given.items() if each is not None}
    return replace(value or Settings(), **fields)
