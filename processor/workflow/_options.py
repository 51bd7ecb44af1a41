"""The options of an activity as users write them, checked and brought into wire form."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import UnionType
from typing import Any, TypeAlias, TypedDict, _SpecialForm

from processor.core.options import DEFAULTS, ActivityOptions
from processor.policy import RetryPolicy, milliseconds

__all__ = ("Options", "TypeForm", "duration_ms", "options_with")

TypeForm: TypeAlias = UnionType | _SpecialForm
"""A type that is no class, to type checkers: a union, ``Any``. Values of it are typed as Any."""


class Options(TypedDict, total=False):
    """How an activity is to be run. Durations are a ``timedelta`` or seconds; None is no limit."""

    queue: str
    retry: RetryPolicy
    schedule_to_start: timedelta | float | None
    start_to_close: timedelta | float | None
    schedule_to_close: timedelta | float | None
    heartbeat: timedelta | float | None
    eager: bool | None


_DURATIONS = ("schedule_to_start", "start_to_close", "schedule_to_close", "heartbeat")


def options_with(options: ActivityOptions, changes: Options, where: str) -> ActivityOptions:
    """Return options with some of them changed. Raises ``ValueError`` naming what is wrong."""
    fields: dict[str, Any] = {}
    for name, value in changes.items():
        if name in _DURATIONS:
            fields[f"{name}_ms"] = duration_ms(name, value, where)
        elif name == "retry":
            if not isinstance(value, RetryPolicy):
                raise ValueError(f"{where}: retry must be a RetryPolicy, not {value!r}")
            fields.update(_retry_fields(value))
        elif name == "queue":
            if not isinstance(value, str) or not value:
                raise ValueError(f"{where}: queue must be a name, not {value!r}")
            fields["queue"] = value
        elif name == "eager":
            if value not in (None, True, False):
                raise ValueError(f"{where}: eager must be True, False or None, not {value!r}")
            fields["eager"] = value
        else:
            known = ", ".join(sorted(Options.__annotations__))
            raise ValueError(f"{where}: there is no option {name!r}; there are {known}")
    changed = replace(options, **fields)
    return DEFAULTS if changed == DEFAULTS else changed


def duration_ms(name: str, value: Any, where: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, timedelta | int | float):
        raise ValueError(f"{where}: {name} must be a timedelta or seconds, not {value!r}")
    found_ms = milliseconds(value)
    if found_ms <= 0:
        raise ValueError(f"{where}: {name} must be longer than 0, not {value!r}")
    return found_ms


def _retry_fields(policy: RetryPolicy) -> dict[str, Any]:
    initial_ms = milliseconds(policy.initial_interval)
    maximum = policy.maximum_interval
    return {
        "initial_interval_ms": initial_ms,
        "coefficient": policy.coefficient,
        "maximum_interval_ms": 100 * initial_ms if maximum is None else milliseconds(maximum),
        "maximum_attempts": policy.maximum_attempts,
        "non_retryable": policy.non_retryable_names,
    }
