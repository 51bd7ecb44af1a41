"""``processor schedules apply``: the namespace gets the schedules that modules declare."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from processor.cli.commands.runs import PANEL
from processor.cli.options import EmbeddedModules, Json, Modules, Target, target_options
from processor.cli.output import say, shown_value, write_json
from processor.cli.session import connected
from processor.workflow._schedule import DeclaredSchedule, declared_by

if TYPE_CHECKING:
    from processor.client.schedules.declared import ScheduleChange

__all__ = ("register",)

group = typer.Typer(help="Schedules that code declares.", no_args_is_help=True)


@group.callback()
def schedules() -> None:
    """Schedules that code declares."""


@group.command()
@target_options(injects=True)
def apply(
    target: Target,
    modules: Modules,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")
    ] = False,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Make the schedules that @workflow.schedule declares in modules; pauses are kept."""
    from processor.cli.modules import load_code
    from processor.client.schedules.declared import applied

    wanted = {name: _declared(load_code([name]).workflows) for name in modules}
    if not any(wanted.values()):
        say(f"no workflow in {', '.join(modules)} has @workflow.schedule(...)")

    async def work() -> None:
        async with connected(target, module) as client:
            for name, declared in wanted.items():
                for each in await applied(client.schedules, name, declared, dry_run=dry_run):
                    _show(name, each, dry_run, as_json)

    asyncio.run(work())


def _declared(workflows: Sequence[Any]) -> Sequence[DeclaredSchedule]:
    return [each for workflow in workflows for each in declared_by(workflow)]


def _show(module: str, change: ScheduleChange, dry_run: bool, as_json: bool) -> None:
    applied = not dry_run and change.kind in ("create", "update")
    if as_json:
        told = {
            name: {"is": was, "will_be": then} for name, (was, then) in change.differences.items()
        }
        write_json(
            {
                "id": change.id,
                "module": module,
                "change": change.kind,
                "differences": told,
                "paused": change.paused,
                "applied": applied,
            }
        )
        return
    said = {
        "create": "would be created" if dry_run else "created",
        "update": "would be changed" if dry_run else "changed",
        "same": "is as declared",
        "not declared": f"is not declared any more: processor schedule delete {change.id}",
    }[change.kind]
    say(f"{change.id} {said}" + (" (it is paused)" if change.paused else ""))
    for name, (was, then) in change.differences.items():
        if was is not None:
            say(f"  - {name} {shown_value(was)}", "red")
        if then is not None:
            say(f"  + {name} {shown_value(then)}", "green")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(group, name="schedules", rich_help_panel=PANEL)
