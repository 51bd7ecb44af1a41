"""``@workflow.schedule``: a workflow says in its code when it is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, Unpack

from processor import checks
from processor.errors import InvalidArgument
from processor.schedules.calendar import When
from processor.schedules.spec import ScheduleOptions, checked_when, merged, plain_options
from processor.workflow._definition import Workflow, defined

__all__ = ("DeclaredSchedule", "declared_by", "schedule")

W = TypeVar("W", bound=Callable[..., Any])

_WHAT: Final = "@workflow.schedule"
_DECLARED: Final = "__processor_schedules__"


@dataclass(frozen=True)
class DeclaredSchedule:
    """A schedule as code has it: ``config`` is what the schedule is told, as plain JSON."""

    id: str
    workflow: Workflow[..., Any]
    config: Mapping[str, Any]


def schedule(
    times: str | Sequence[str] | None = None,
    /,
    *,
    id: str | None = None,
    args: Sequence[Any] = (),
    **how: Unpack[ScheduleOptions],
) -> Callable[[W], W]:
    """Declare a schedule of a workflow; ``processor schedules apply MODULE`` makes it so.

    Put it above ``@workflow.define``, several times for several schedules. ``id`` is the
    schedule's id (default: the workflow's name), ``args`` are the arguments of each run. ``times``
    are a cron string, or several. The rest is as for ``client.schedules.create``. Raises
    ``InvalidArgument``.
    """
    given: dict[str, Any] = {**how} if times is None else {"cron": times, **how}
    plain = plain_options(_WHAT, given)
    checked_when(When.of(merged({}, plain)["when"]), _WHAT)
    values = tuple(checks.listed(args, f"{_WHAT}: args", "['Berlin']"))
    known = None if id is None else checks.name(id, f"{_WHAT}: id")

    def declare(workflow: W) -> W:
        found = defined(workflow)
        if found is None:
            raise InvalidArgument(
                f"{_WHAT}: {checks.shown(workflow)} is no workflow: put it above @workflow.define"
            )
        config = merged({"workflow": found.name, "args": [*values]}, plain)
        found.signature.positions(values, {})
        made = DeclaredSchedule(known or found.name, found, config)
        before: list[DeclaredSchedule] = vars(found).setdefault(_DECLARED, [])
        if any(each.id == made.id for each in before):
            raise InvalidArgument(
                f"{_WHAT}: workflow {found.name!r} has two schedules with the id {made.id!r}: give "
                "each an id of its own, id=..."
            )
        before.append(made)
        return workflow

    return declare


def declared_by(workflow: Workflow[..., Any]) -> Sequence[DeclaredSchedule]:
    """Return the schedules that a workflow declares."""
    found: Sequence[DeclaredSchedule] = vars(workflow).get(_DECLARED, ())
    return found
