"""A module that reaches out, as a library of somebody else's may."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def write(path: Path) -> int:
    return path.write_text("x")


def call(function: Callable[[], Any]) -> Any:
    return function()
