"""The options of an activity as users write them, checked and brought into wire form."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import UnionType
from typing import Any, Final, TypeAlias, TypedDict, _SpecialForm

from processor import checks
from processor.core.data.options import DEFAULTS, ActivityOptions
from processor.core.nouns.lineage import RetryOptions
from processor.errors import InvalidArgument
from processor.policy import CANCELLATIONS, Cancellation, RetryPolicy, milliseconds

__all__ = (
    "Options",
    "TypeForm",
    "cancellation_in",
    "option_names",
    "options_with",
    "retry_options",
)

TypeForm: TypeAlias = UnionType | _SpecialForm
"""A type that is no class, to type checkers: a union, ``Any``. Values of it are typed as Any."""


class Options(TypedDict, total=False):
    """How an activity is to be run. Durations are a ``timedelta`` or seconds; None is no limit.

    ``cancellation`` says what becomes of it when its await is cancelled: "try" (default) asks it to
    stop and goes on at once, "wait" waits until it has stopped, "abandon" leaves it alone.
    """

    queue: str
    retry: RetryPolicy
    schedule_to_start: timedelta | float | None
    start_to_close: timedelta | float | None
    schedule_to_close: timedelta | float | None
    heartbeat: timedelta | float | None
    eager: bool | None
    cancellation: Cancellation


_DURATIONS = ("schedule_to_start", "start_to_close", "schedule_to_close", "heartbeat")


def options_with(options: ActivityOptions, changes: Options, where: str) -> ActivityOptions:
    """Return options with some of them changed. ``InvalidArgument`` names what is wrong."""
    fields: dict[str, Any] = {}
    for name, value in changes.items():
        if name in _DURATIONS:
            found = None if value is None else checks.duration_ms(value, f"{where}: {name}")
            fields[f"{name}_ms"] = found
        elif name == "retry":
            fields.update(_retry_fields(value, f"{where}: retry"))
        elif name == "queue":
            fields["queue"] = checks.queue(value, f"{where}: queue")
        elif name == "eager":
            if value is not None and not isinstance(value, bool):
                raise InvalidArgument(
                    f"{where}: eager: give True, False or None, not {checks.shown(value)}"
                )
            fields["eager"] = value
        elif name != "cancellation":
            known = ", ".join(sorted(Options.__annotations__))
            raise InvalidArgument(
                f"{where}: there is no option {checks.shown(name)}; there are {known}"
            )
    changed = replace(options, **fields)
    return DEFAULTS if changed == DEFAULTS else changed


_OF_RETRY: Final = (
    *("initial_interval_ms", "coefficient", "maximum_interval_ms"),
    *("maximum_attempts", "non_retryable"),
)


def option_names(changes: Options) -> tuple[str, ...]:
    """Return the names that options have in wire form."""
    names: list[str] = []
    for name in changes:
        names += _OF_RETRY if name == "retry" else [f"{name}_ms" if name in _DURATIONS else name]
    return tuple(names)


def cancellation_in(changes: Options, before: Cancellation, where: str) -> Cancellation:
    """Return what becomes of an activity whose await is cancelled, as the changes say."""
    found: Any = changes.get("cancellation", before)
    if found not in CANCELLATIONS:
        known = ", ".join(map(repr, CANCELLATIONS))
        raise InvalidArgument(
            f"{where}: cancellation: give one of {known}, not {checks.shown(found)}"
        )
    return found  # type: ignore[no-any-return]


def retry_options(policy: RetryPolicy, where: str) -> RetryOptions:
    """Return a policy for whole runs in wire form."""
    return RetryOptions(**_retry_fields(policy, where))


def _retry_fields(policy: object, where: str) -> dict[str, Any]:
    if not isinstance(policy, RetryPolicy):
        raise InvalidArgument(f"{where}: give a RetryPolicy, not {checks.shown(policy)}")
    initial_ms = milliseconds(policy.initial_interval)
    maximum = policy.maximum_interval
    return {
        "initial_interval_ms": initial_ms,
        "coefficient": policy.coefficient,
        "maximum_interval_ms": 100 * initial_ms if maximum is None else milliseconds(maximum),
        "maximum_attempts": policy.maximum_attempts,
        "non_retryable": policy.non_retryable_names,
    }
