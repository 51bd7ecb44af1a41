"""Finds the workflows and activities in the modules that a command names."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import typer

from processor.activity import Activity
from processor.data import data_dir
from processor.workflow import Workflow

__all__ = ("Code", "code_in", "load_code", "load_example")


@dataclass(frozen=True, slots=True)
class Code:
    """What a worker is given."""

    workflows: tuple[Any, ...]
    activities: tuple[Any, ...]

    def __str__(self) -> str:
        workflows = ", ".join(each.name for each in self.workflows) or "none"
        activities = ", ".join(each.name for each in self.activities) or "none"
        return f"workflows: {workflows}; activities: {activities}"


def load_code(names: Sequence[str]) -> Code:
    """Import modules, also from the working directory, and collect what they define."""
    for place, entry in ((0, os.getcwd()), (len(sys.path) + 1, str(data_dir("examples").parent))):
        if entry not in sys.path:
            sys.path.insert(place, entry)
    code = code_in([_imported(name) for name in names])
    if not code.workflows and not code.activities:
        raise typer.BadParameter(
            f"{', '.join(names)}: no workflow and no activity in there. Define some with"
            " @workflow.define and @activity.define, or name the module that has them"
        )
    return code


def code_in(modules: Sequence[ModuleType]) -> Code:
    """Return the workflows and activities that have a name in these modules."""
    found = [value for module in modules for value in vars(module).values()]
    workflows = {id(value): value for value in found if isinstance(value, Workflow)}
    activities = {id(value): value for value in found if isinstance(value, Activity)}
    return Code(tuple(workflows.values()), tuple(activities.values()))


def load_example(name: str) -> ModuleType:
    """Import one of the examples that come with the library."""
    home = str(data_dir("examples").parent)
    if home not in sys.path:
        sys.path.insert(0, home)
    return importlib.import_module(f"examples.{name}")


def _imported(name: str) -> ModuleType:
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
