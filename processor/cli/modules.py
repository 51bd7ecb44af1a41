"""Finds the workflows, entities and activities in the modules that a command names."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence, Set
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import typer

from processor.activity import Activity
from processor.connect import Connection
from processor.data import data_dir
from processor.views import Table
from processor.workflow import Workflow
from processor.workflow._definition import RunMethod, defined
from processor.workflow._entities.naming import entity_named, is_entity

__all__ = ("UserCode", "code_in", "load_code", "load_example", "load_object", "load_views")


@dataclass(frozen=True, slots=True)
class UserCode:
    """What a worker is given; ``left_out`` says what it is not, and how it would be."""

    workflows: tuple[Any, ...]
    activities: tuple[Any, ...]
    left_out: tuple[str, ...] = ()
    entities: tuple[type[Any], ...] = ()
    connections: tuple[Connection[Any], ...] = ()
    views: tuple[Table[Any], ...] = ()

    @property
    def given(self) -> dict[str, Any]:
        """What any worker is given of it.

        One on Kafka takes the connections as well, an embedded one the views.
        """
        kinds = "workflows", "activities", "entities"
        return {kind: getattr(self, kind) for kind in kinds}

    def __str__(self) -> str:
        workflows = ", ".join(each.name for each in self.workflows) or "none"
        activities = ", ".join(each.name for each in self.activities) or "none"
        known = [entity_named(each, "entities")[0] for each in self.entities]
        entities = f"; entities: {', '.join(known)}" if known else ""
        topics = ", ".join(each.topic for each in self.connections)
        connections = f"; connections: {topics}" if topics else ""
        names = ", ".join(each.name for each in self.views)
        views = f"; views: {names}" if names else ""
        return f"workflows: {workflows}; activities: {activities}{entities}{connections}{views}"


def load_code(names: Sequence[str]) -> UserCode:
    """Import modules, also from the working directory, and collect what they define."""
    code = code_in([_imported(name) for name in names])
    if not (code.workflows or code.activities or code.entities or code.connections):
        raise typer.BadParameter(
            f"{', '.join(names)}: no workflow and no activity in there. "
            + (
                "; ".join(code.left_out)
                or "Define some with @workflow.define and @activity.define, or name the module "
                "that has them"
            )
        )
    return code


def load_views(names: Sequence[str]) -> tuple[Table[Any], ...]:
    """Import modules, and collect the tables that they define."""
    found = code_in([_imported(name) for name in names]).views
    if names and not found:
        raise typer.BadParameter(
            f"{', '.join(names)}: no table in there. Define one with @views.table, or name the "
            "module that has it"
        )
    return found


def load_object(place: str) -> Any:
    """Import what stands at MODULE:OBJECT, for --payloads and --interceptors."""
    module, _, name = place.partition(":")
    if not module or not name:
        raise typer.BadParameter(
            f"{place!r} names no object: write MODULE:OBJECT, as in security:payloads"
        )
    imported = _imported(module)
    try:
        return getattr(imported, name)
    except AttributeError:
        raise typer.BadParameter(f"module {module!r} has no object {name!r}") from None


def code_in(modules: Sequence[ModuleType]) -> UserCode:
    """Return what workers run that has a name in these modules."""
    found = [value for module in modules for value in vars(module).values()]
    made = [defined(value) for value in found if not isinstance(value, RunMethod)]
    workflows = {id(each): each for each in made if each is not None}
    activities = {id(value): value for value in found if isinstance(value, Activity)}
    bound = {value.name for value in activities.values() if not value.is_unbound}
    left_out = [
        text
        for cls in {id(value): value for value in found if isinstance(value, type)}.values()
        for name, value in vars(cls).items()
        if (text := _left_out(cls, name, value, bound))
    ]
    entities = {id(value): value for value in found if is_entity(value)}
    connections = {id(value): value for value in found if isinstance(value, Connection)}
    code = tuple(workflows.values()), tuple(activities.values())
    views = {id(value): value for value in found if isinstance(value, Table)}
    others = tuple(entities.values()), tuple(connections.values())
    return UserCode(*code, tuple(left_out), *others, tuple(views.values()))


def _left_out(cls: type, name: str, value: object, bound: Set[str]) -> str:
    """Return what to do with a method that no worker can run as it is; "" where it is none."""
    if isinstance(value, Workflow) and not isinstance(value, RunMethod) and name[:2] != "__":
        return (
            f"workflow {value.name!r} at {value.place} is a method of class {cls.__name__}: define "
            "it as a function at the top of the module"
        )
    if isinstance(value, Activity) and value.is_unbound and value.name not in bound:
        return (
            f"activity {value.name!r} is a method of class {cls.__name__}, and a worker needs it "
            f"with an instance. To run it here, put at the top of the module: {name} = "
            f"{cls.__name__}(...).{name}"
        )
    return ""


def load_example(name: str) -> ModuleType:
    """Import one of the examples that come with the library."""
    home = str(data_dir("examples").parent)
    if home not in sys.path:
        sys.path.insert(0, home)
    return importlib.import_module(f"examples.{name}")


def _imported(name: str) -> ModuleType:
    for place, entry in ((0, os.getcwd()), (len(sys.path) + 1, str(data_dir("examples").parent))):
        if entry not in sys.path:
            sys.path.insert(place, entry)
    path = name.removesuffix(".py").replace(os.sep, ".") if name.endswith(".py") else name
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not (path == error.name or path.startswith(error.name + ".")):
            raise typer.BadParameter(
                f"module {path!r} needs {error.name!r}, which is not installed here"
            ) from error
        raise typer.BadParameter(
            f"there is no module {path!r}: looked in {os.getcwd()} and on Python's path. Name it"
            " as in an import statement (shop.orders)"
        ) from error
    except Exception as error:  # whatever the user's module does at its import
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise typer.BadParameter(
            f"module {path!r} cannot be imported: {type(error).__name__}: {error}"
            f" ({frame.filename}:{frame.lineno})"
        ) from error
