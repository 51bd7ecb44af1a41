"""Where in the user's code something happened: frames and lines, those of the library left out.

Lines are for people, but they are taken for every request, so the walk looks at nothing but the
module name of a frame and ends at the first frame that is not ours.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from functools import cache
from types import CodeType, FrameType
from typing import Any, TypeVar

from processor.core.data.failure import shortened
from processor.core.data.shown import entries_of, text_of
from processor.core.runner import NeverEnds

__all__ = (
    "boundary",
    "innermost",
    "is_boundary",
    "is_library",
    "is_ours",
    "line_here",
    "line_of",
    "user_frame",
    "waiting_at",
    "waits_for_event",
    "where_of",
)

F = TypeVar("F", bound=Callable[..., Any])

_boundaries: dict[int, CodeType] = {}
_of_events: dict[int, CodeType] = {}
_lines: dict[tuple[int, int], tuple[str, CodeType]] = {}
_LINES_MAX = 10_000
_AWAITS_MAX = 1_000
_NAME_MAX = 100
_identity = object.__hash__

_OURS = (
    *("asyncio", "contextlib"),
    *("processor.activity", "processor.checks", "processor.errors", "processor.failures"),
    *("processor.client", "processor.gateway", "processor.policy"),
    *("processor.testing.environment", "processor.views.tables", "processor.workflow"),
)


@cache
def is_ours(module: str | None) -> bool:
    """Return whether a module only carries user code along; it is left out of tracebacks."""
    if module is None:
        return False
    return any(module == own or module.startswith(f"{own}.") for own in _OURS)


@cache
def is_library(module: str | None) -> bool:
    """Return whether a module is passed over when the user's line is sought."""
    top = str(module).partition(".")[0]
    return is_ours(module) or top in sys.stdlib_module_names


def boundary(function: F) -> F:
    """Mark a function that runs workflow code: beyond it in a stack is the host, not the user.

    By identity, since the hash of a code object is computed anew each time, from all of it.
    """
    _boundaries[_identity(function.__code__)] = function.__code__
    return function


def waits_for_event(function: F) -> F:
    """Mark the coroutine that waits for the external event that its variable ``name`` names."""
    _of_events[_identity(function.__code__)] = function.__code__
    return function


def is_boundary(frame: FrameType) -> bool:
    return _identity(frame.f_code) in _boundaries


def user_frame(depth: int = 1) -> FrameType | None:
    """Return the innermost user frame at or above ``depth`` callers, None where there is none."""
    frame: FrameType | None = sys._getframe(depth + 1)
    while frame is not None:
        if not is_library(frame.f_globals.get("__name__")):
            return frame
        if is_boundary(frame):
            return None
        frame = frame.f_back
    return None


def line_here(depth: int = 1) -> str:
    """Return ``file:line`` of the innermost user frame at or above ``depth`` callers."""
    frame = user_frame(depth + 1)
    return "" if frame is None else line_of(frame)


def line_of(frame: FrameType) -> str:
    """Return ``file:line`` of a frame.

    Python searches a table for the line, so it is kept by instruction. The code object is kept
    with it, so that its identity is not used again; ``id`` itself would be an audited call.
    """
    code = frame.f_code
    key = (_identity(code), frame.f_lasti)
    known = _lines.get(key)
    if known is None:
        if len(_lines) >= _LINES_MAX:
            _lines.clear()
        known = _lines[key] = (f"{code.co_filename}:{frame.f_lineno}", code)
    return known[0]


def where_of(frame: FrameType | None, line: int | None = None) -> str:
    """Return ``file:line: source`` of a frame (at ``line``, where it is not the current one)."""
    if frame is None:
        return ""
    number = frame.f_lineno if line is None else line
    name = frame.f_code.co_filename
    source = linecache.getline(name, number, frame.f_globals).strip()
    return f"{name}:{number}: {source}" if source else f"{name}:{number}"


def innermost(error: BaseException) -> tuple[FrameType, int] | None:
    """Return the user's frame and line where an exception was raised."""
    found = None
    for frame, line in entries_of(error):
        if not is_library(frame.f_globals.get("__name__")):
            found = (frame, line)
    return found


def waiting_at(awaitable: Any) -> str:
    """Return ``file:line function`` of the innermost user frame in a chain of awaits.

    What waits for an external event names that too. Where no frame is the user's (a task made
    straight from an activity call) it is the line that the library's own coroutine was called at,
    which its ``line`` variable holds. Awaitables of the user's are asked, too: they may name
    themselves for ever, or raise.
    """
    found = called = name = event = ""
    try:
        name = text_of(getattr(awaitable, "__qualname__", ""))
        for _ in range(_AWAITS_MAX):
            frame = _one_of(awaitable, "cr_frame", "gi_frame")
            if type(frame) is FrameType:
                if not is_library(frame.f_globals.get("__name__")):
                    found = f"{line_of(frame)} {frame.f_code.co_name}"
                elif not called:
                    called = text_of(frame.f_locals.get("line", ""))
                if _identity(frame.f_code) in _of_events:
                    event = f"event {shortened(frame.f_locals['name'], _NAME_MAX)!r}"
            awaitable = _one_of(awaitable, "cr_await", "gi_yieldfrom")
            if awaitable is None:
                break
    except NeverEnds:
        raise
    except BaseException:
        pass  # what was found is told
    if event:
        return f"{found or called}, {event}"
    return found or f"{called} {name}".strip()


def _one_of(awaitable: Any, *names: str) -> Any:
    for name in names:
        found = getattr(awaitable, name, None)
        if found is not None:
            return found
    return None
