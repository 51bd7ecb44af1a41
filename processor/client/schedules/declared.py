"""Schedules that code declares: what has to be done so that the namespace has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from processor.client.schedules.handles import Schedules
from processor.errors import InvalidArgument, WorkflowNotFound
from processor.workflow._schedule import DeclaredSchedule

__all__ = ("ScheduleChange", "applied")


@dataclass(frozen=True)
class ScheduleChange:
    """What becomes of one schedule. ``differences`` has what it is and what it is to be, by name.

    "not declared": the module has declared it, and does so no more. It is left alone.
    """

    id: str
    kind: Literal["create", "update", "same", "not declared"]
    differences: Mapping[str, tuple[Any, Any]]
    paused: bool = False


async def applied(
    schedules: Schedules, module: str, declared: Sequence[DeclaredSchedule], *, dry_run: bool
) -> Sequence[ScheduleChange]:
    """Make the namespace have the schedules that a module declares, and return what was done.

    A pause, its note and what else happened at run time stay. ``dry_run``: nothing is done. Raises
    ``InvalidArgument`` where two have one id.
    """
    ids = [each.id for each in declared]
    if twice := sorted({id for id in ids if ids.count(id) > 1}):
        names = ", ".join(map(repr, twice))
        raise InvalidArgument(
            f"{module} declares two schedules with the id {names}: give each an id of its own, "
            "@workflow.schedule(..., id=...)"
        )
    changes = []
    for each in declared:
        change = await _change(schedules, module, each)
        changes.append(change)
        if not dry_run and change.kind in ("create", "update"):
            await _made(schedules, module, each, change)
    async for found in schedules.list():
        if found.declared == module and found.id not in ids:
            changes.append(ScheduleChange(found.id, "not declared", {}, found.paused))
    return changes


async def _change(schedules: Schedules, module: str, declared: DeclaredSchedule) -> ScheduleChange:
    wanted = {**declared.config, "declared": module}
    try:
        now = await schedules.handle(declared.id).describe()
    except WorkflowNotFound:
        return ScheduleChange(declared.id, "create", {name: (None, v) for name, v in _told(wanted)})
    before = dict(_told({"workflow": now.workflow, "args": now.args, **now.options}))
    payloads = schedules._client._calls.payloads
    after = dict(_told(payloads.decoder(Any)(payloads.encode(wanted))))
    differences = {
        name: (before.get(name), after.get(name))
        for name in (*before, *(each for each in after if each not in before))
        if before.get(name) != after.get(name)
    }
    kind: Literal["update", "same"] = "update" if differences else "same"
    return ScheduleChange(declared.id, kind, differences, now.paused)


async def _made(
    schedules: Schedules, module: str, declared: DeclaredSchedule, change: ScheduleChange
) -> None:
    config = {**declared.config, "declared": module}
    if change.kind == "create":
        await schedules._created("apply", declared.id, declared.workflow, config)
    else:
        await schedules.handle(declared.id)._set(config)


def _told(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a schedule is told, its times field by field, without what has no value."""
    for name, value in config.items():
        held: Iterable[tuple[str, Any]] = value.items() if name == "when" else [(name, value)]
        yield from ((key, each) for key, each in held if each is not None)
