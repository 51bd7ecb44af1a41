"""Exceptions of anybody's as text for people: bounded, and without trust in the object.

The class of an exception may be a user's: whatever is read of it may raise, also what ends a
process. So what Python keeps of each exception is read past its class, and the one thing that has
to be asked for, its message, is asked for with a guard. A walk over causes and groups counts what
it has seen: the exceptions of a group can be shared, and then there are more paths than atoms.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Final, NamedTuple

from processor.core.data.failure import shortened, writable
from processor.core.runner import NeverEnds

__all__ = (
    "CARRIED",
    "MESSAGE_CHARS_MAX",
    "Shown",
    "cause_of",
    "context_of",
    "entries_of",
    "is_a",
    "last_entry_of",
    "members_of",
    "name_of",
    "shown",
    "text_of",
)

CARRIED: Final = "__processor_traceback__"
"""Attribute of an exception that another process raised: its traceback there, as text."""

MESSAGE_CHARS_MAX: Final = 10_000
TRACEBACK_CHARS_MAX: Final = 20_000
NAME_CHARS_MAX: Final = 500
EXCEPTIONS_MAX: Final = 50
"""How many exceptions one text tells of, causes and members of groups together."""

GROUP_MAX: Final = 20
CAUSES_MAX: Final = 10
_NOTES_MAX: Final = 20
_FRAMES_MAX: Final = 500
_ENTRIES_MAX: Final = 100_000

_ERROR: Final[Any] = BaseException.__dict__
_GROUP: Final[Any] = BaseExceptionGroup.__dict__
_TYPE: Final[Any] = type.__dict__

_CAUSED: Final = "\nThe above exception was the direct cause of the following exception:\n\n"
_MEANWHILE: Final = "\nDuring handling of the above exception, another exception occurred:\n\n"


class Shown(NamedTuple):
    """An exception as text.

    ``type`` is the name of its class. ``words`` are what Python shows below a traceback: the class
    with its module, the message, and the notes. ``traceback`` ends with these.
    """

    type: str
    message: str
    words: str
    traceback: str


def shown(
    error: BaseException,
    leaves_out: Callable[[Any], bool] | None = None,
    *,
    causes: bool = False,
) -> Shown:
    """Return an exception as text. Raises nothing but ``NeverEnds``, where that is sent meanwhile.

    ``leaves_out`` says of the name of a module whether its frames are left out. With ``causes`` the
    traceback begins with what led to the exception.
    """
    message = _message(error, _Left())
    words = _words(error, message)
    trace = _traceback(error, words, leaves_out, causes)
    return Shown(name_of(error), message, words, trace or words)


def is_a(error: BaseException, kind: type[BaseException]) -> bool:
    """Return whether an exception is of a class, whatever it says of its own."""
    return _TYPE["__subclasscheck__"].__get__(kind)(type(error))  # type: ignore[no-any-return]


def name_of(error: BaseException) -> str:
    """Return the name of its class, whatever the class of that class says."""
    return _name(type(error), "__name__")


def cause_of(error: BaseException) -> BaseException | None:
    return _ERROR["__cause__"].__get__(error)  # type: ignore[no-any-return]


def context_of(error: BaseException) -> BaseException | None:
    """Return the exception that was being handled, None where that is not to be shown."""
    hidden = _ERROR["__suppress_context__"].__get__(error)
    return None if hidden else _ERROR["__context__"].__get__(error)


def members_of(error: BaseException) -> tuple[BaseException, ...]:
    """Return what an exception group holds, nothing where it is none."""
    return _GROUP["exceptions"].__get__(error) if is_a(error, BaseExceptionGroup) else ()


def entries_of(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """Yield the frames of a traceback and their lines, the outermost first; not without end."""
    for entry in _entries(error):
        yield entry.tb_frame, entry.tb_lineno


def last_entry_of(error: BaseException) -> TracebackType | None:
    """Return the entry of a traceback where its exception was raised."""
    last = None
    for entry in _entries(error):
        last = entry
    return last


def _entries(error: BaseException) -> Iterator[TracebackType]:
    entry: TracebackType | None = _ERROR["__traceback__"].__get__(error)
    for _ in range(_ENTRIES_MAX):
        if entry is None:
            return
        yield entry
        entry = entry.tb_next


def text_of(value: object, how: Callable[[Any], str] = str) -> str:
    """Return ``how(value)``, or why there is none; ``how`` is ``str`` or ``repr``."""
    try:
        made = how(value)
    except NeverEnds:
        raise
    except BaseException as broken:  # whatever the user's own method raises
        return f"(its message cannot be made: __{how.__name__}__ raises {name_of(broken)})"
    return _plain(made)


# --- how it is done -------------------------------------------------------------------------------


class _Left:
    """How many exceptions may still be looked at."""

    def __init__(self) -> None:
        self._exceptions = EXCEPTIONS_MAX

    def take(self) -> bool:
        self._exceptions -= 1
        return self._exceptions > 0


def _plain(text: Any) -> str:
    """Return text as such: a subclass of ``str`` could do anything when it is used."""
    return writable(str.__str__(text)) if issubclass(type(text), str) else ""


def _name(kind: type, what: str) -> str:
    try:
        return shortened(_plain(_TYPE[what].__get__(kind)), NAME_CHARS_MAX)
    except AttributeError:  # a class can lose its module
        return ""


def _message(error: BaseException, left: _Left) -> str:
    if not is_a(error, BaseExceptionGroup):
        text = text_of(error)
    else:
        members, parts = members_of(error), []
        for each in members[:GROUP_MAX]:
            if not left.take():
                break
            parts.append(f"{name_of(each)}: {_message(each, left)}")
        more = len(members) - len(parts)
        text = f"{_plain(_GROUP['message'].__get__(error))}: {'; '.join(parts)}"
        text += f"; and {more} more" if more > 0 else ""
    if len(text) > MESSAGE_CHARS_MAX:
        text = f"{text[:MESSAGE_CHARS_MAX]} ... ({len(text):,} characters)"
    return text


def _words(error: BaseException, message: str) -> str:
    name, module = _name(type(error), "__qualname__"), _name(type(error), "__module__")
    if module not in ("", "__main__", "builtins"):
        name = f"{module}.{name}"
    lines = [f"{name}: {message}" if message else name]
    notes: Any = dict.get(_ERROR["__dict__"].__get__(error), "__notes__")
    if type(notes) in (list, tuple):
        lines += [shortened(text_of(each), MESSAGE_CHARS_MAX) for each in notes[:_NOTES_MAX]]
    return "\n".join(lines)


def _traceback(
    error: BaseException,
    words: str,
    leaves_out: Callable[[Any], bool] | None,
    causes: bool,
) -> str:
    """Return the traceback as text, "" where it cannot be made (a source that cannot be read)."""
    left = _Left()
    try:
        parts, each = _one(error, words, leaves_out, left), error
        for _ in range(CAUSES_MAX if causes else 0):
            cause = cause_of(each)
            before = context_of(each) if cause is None else cause
            if before is None or not left.take():
                break
            link = _MEANWHILE if cause is None else _CAUSED
            words = _words(before, _message(before, left))
            parts = [*_one(before, words, leaves_out, left), link, *parts]
            each = before
    except NeverEnds:
        raise
    except BaseException:
        return ""
    text = "".join(parts).rstrip()
    if len(text) > TRACEBACK_CHARS_MAX:
        half = TRACEBACK_CHARS_MAX // 2
        text = f"{text[:half]}\n  ... left out ...\n{text[-half:]}"
    return text


def _one(
    error: BaseException, words: str, leaves_out: Callable[[Any], bool] | None, left: _Left
) -> list[str]:
    """Return the lines of one exception, and of the members that it has."""
    carried: Any = dict.get(_ERROR["__dict__"].__get__(error), CARRIED)
    if type(carried) is str:
        return [f"{carried}\n"]
    frames = [
        entry
        for entry in entries_of(error)
        if leaves_out is None or not leaves_out(entry[0].f_globals.get("__name__"))
    ]
    if len(frames) > _FRAMES_MAX:
        frames = frames[: _FRAMES_MAX // 2] + frames[-_FRAMES_MAX // 2 :]
    lines = []
    if frames:
        summary = traceback.StackSummary.extract(iter(frames), lookup_lines=True)
        lines = ["Traceback (most recent call last):\n", *summary.format()]
    lines.append(f"{words}\n")
    for each in members_of(error)[:GROUP_MAX]:
        if not left.take():
            break
        lines += _one(each, _words(each, _message(each, left)), leaves_out, left)
    return lines
