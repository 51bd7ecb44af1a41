"""Finds the workflows and activities in the modules that a command names."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import typer

from processor.data import data_dir

__all__ = ("Code", "load_code", "load_example")

_log = logging.getLogger("processor.cli")


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
    from processor.activity import Activity
    from processor.workflow import Workflow

    sys.path.insert(0, os.getcwd())
    sys.path.append(str(data_dir("examples").parent))
    found = [value for name in names for value in vars(_imported(name)).values()]
    workflows = tuple({id(v): v for v in found if isinstance(v, Workflow)}.values())
    activities = tuple({id(v): v for v in found if isinstance(v, Activity)}.values())
    if not workflows and not activities:
        raise typer.BadParameter(
            f"{', '.join(names)}: no workflow and no activity in there. Define some with"
            " @workflow.define and @activity.define, or name the module that has them"
        )
    return Code(workflows, activities)


def load_example(name: str) -> ModuleType:
    """Import one of the examples that come with the library."""
    sys.path.insert(0, str(data_dir("examples").parent))
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
