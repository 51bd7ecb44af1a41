"""Activities without a workflow: each is the one activity of a run of a workflow of ours.

The name of the run's workflow says which activity it is, so that all that shows runs shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final

from processor import checks
from processor.core.activity_requests import check_option
from processor.core.data.options import DEFAULTS, ActivityOptions
from processor.errors import ApplicationError, InvalidArgument, ProcessorError
from processor.policy import CANCELLATIONS, Cancellation
from processor.readable import readable
from processor.workflow._context import current
from processor.workflow._definition import ALONE, define
from processor.workflow._nouns.activity import call

__all__ = ("alone", "arguments_of")


def arguments_of(
    options: ActivityOptions, cancellation: Cancellation, args: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Return what the workflow is started with: plain values, which any converter can encode."""
    given = {each.name: getattr(options, each.name) for each in fields(options)}
    changed = {name: each for name, each in given.items() if each != getattr(DEFAULTS, name)}
    return ({**changed, "cancellation": cancellation}, *args)


@define(name=ALONE.rstrip(":"))
async def alone(options: dict[str, Any], *args: Any) -> Any:
    """Run the activity that the name of this run's workflow ends with."""
    runtime = current("call_activity")
    try:
        name = checks.name(runtime.started.workflow.removeprefix(ALONE), "its name")
        how = {each: _option(each, value) for each, value in options.items()}
    except ProcessorError as error:  # whoever has started it is to blame, and no code of ours
        which = readable(runtime.started.workflow)
        raise ApplicationError(
            f"workflow {which!r} was started with what is no option of an activity: {error}",
            type="InvalidArgument",
        ) from None
    cancellation = how.pop("cancellation", "try")
    return await call(runtime, name, args, ActivityOptions(**how), Any, "", cancellation)


def _option(name: str, value: Any) -> Any:
    """Return an option as anybody may give it in a start. Raises ``InvalidArgument``.

    One that is not known is of a later release: the run waits for a worker that has it.
    """
    if name == "cancellation":
        return checks.one_of(CANCELLATIONS, value, name)
    if value is None and getattr(DEFAULTS, name, None) is None:
        return None
    wanted, fits = _KINDS.get(name, ("a whole number", _is_whole))
    if hasattr(DEFAULTS, name):
        if not fits(value):
            raise InvalidArgument(f"{name}: give {wanted}, not {checks.shown(value)}")
        check_option(name, value)
    return tuple(value) if name == "non_retryable" else value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


_KINDS: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "queue": ("the name of a queue", lambda value: isinstance(value, str)),
    "eager": ("true, false or nothing", lambda value: isinstance(value, bool)),
    "coefficient": ("a number", lambda value: _is_whole(value) or isinstance(value, float)),
    "non_retryable": ("a list of error types' names", _are_names),
}
