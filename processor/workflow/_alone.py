"""Activities without a workflow: each is the one activity of a run of a workflow of ours.

The name of the run's workflow says which activity it is, so that all that shows runs shows it.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from processor.core.data.options import DEFAULTS, ActivityOptions
from processor.policy import Cancellation
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
    name = runtime.started.workflow.removeprefix(ALONE)
    how = {"non_retryable": (), "cancellation": "try"} | options
    cancellation = how.pop("cancellation")
    how["non_retryable"] = tuple(how["non_retryable"])
    return await call(runtime, name, args, ActivityOptions(**how), Any, "", cancellation)
