"""The guard: workflow code that asks the outside world for something is stopped at that line.

Two nets. Functions whose answer differs at replay (clocks, random numbers) are wrapped where they
live; what leaves the process (files, sockets, threads, subprocesses) is seen by an audit hook.
Both ask one question: is the running loop a workflow's, and is user code running on it. Anywhere
else that is one look at the running loop, and the original runs. While a run decodes a value,
clocks and random numbers answer from the run (``_library``).

Not seen: ``datetime.now`` and names that were imported out of ``time`` or ``random`` before
``install`` (``from time import time``). ``processor check`` finds those in the source.
"""

from __future__ import annotations

import functools
import os
import random
import secrets
import sys
import threading
import time
import uuid
from asyncio import _get_running_loop
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from processor.workflow._frames import is_boundary
from processor.workflow._loop import WorkflowLoop

__all__ = ("install",)

_NOW = "Use workflow.now() instead."
_RANDOM = "Use workflow.random() instead."
_ACTIVITY = "Do it in an activity and await that."

_AUDITED: Final[dict[str, tuple[str, str]]] = {
    "_thread.start_joinable_thread": ("a new thread", _ACTIVITY),  # these two from 3.12 on
    "_thread.start_new_thread": ("a new thread", _ACTIVITY),
    "builtins.input": ("input()", "Wait for an external event: workflow.wait_for_event()."),
    "glob.glob": ("glob.glob()", _ACTIVITY),
    "open": ("open()", "Read and write files in an activity."),
    "sqlite3.connect": ("sqlite3.connect()", _ACTIVITY),
    "subprocess.Popen": ("subprocess.Popen()", "Start processes in an activity."),
    "urllib.Request": ("urllib.request.urlopen()", _ACTIVITY),
    **{
        f"os.{name}": (f"os.{name}()", _ACTIVITY)
        for name in (
            *("chdir", "chmod", "chown", "exec", "fork", "forkpty", "kill", "link", "listdir"),
            *("mkdir", "posix_spawn", "putenv", "remove", "rename", "rmdir", "scandir", "spawn"),
            *("startfile", "symlink", "system", "truncate", "unsetenv", "utime"),
        )
    },
    **{
        f"shutil.{name}": (f"shutil.{name}()", _ACTIVITY)
        for name in ("copyfile", "copytree", "make_archive", "move", "rmtree", "unpack_archive")
    },
    **{
        f"socket.{name}": (f"a socket (socket.{name})", "Talk to the network in an activity.")
        for name in (
            *("__new__", "bind", "connect", "getaddrinfo", "gethostbyaddr", "gethostbyname"),
            *("getnameinfo", "sendmsg", "sendto"),
        )
    },
    **{
        f"tempfile.{name}": (f"tempfile.{name}()", "Make files in an activity.")
        for name in ("mkdtemp", "mkstemp")
    },
}
"""Audit event -> what to call it, and what to do instead."""

_PASSED = (
    *("importlib", "linecache", "logging", "traceback", "tracemalloc", "warnings", "zipimport"),
    *("zoneinfo", "_frozen_importlib", "_frozen_importlib_external"),
)
"""Modules that may read files and clocks on the way from a user's line: what they do does not
come back as a value that the code could decide by (or is the same in every replay)."""

_installed = False


def install() -> None:
    """Put the guard in place, for the whole process and for good. Twice is the same as once."""
    global _installed
    if _installed:
        return
    _installed = True
    for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter"):
        _wrap(time, name, f"time.{name}()", _NOW, _tell(name))
    for name in ("perf_counter_ns", "process_time", "process_time_ns"):
        _wrap(time, name, f"time.{name}()", _NOW, _tell(name))
    _wrap(time, "sleep", "time.sleep()", "Use await asyncio.sleep() instead.")
    for name in random.__all__:
        if isinstance(getattr(getattr(random, name), "__self__", None), random.Random):
            _wrap(random, name, f"random.{name}()", _RANDOM, _draw(name))
    for name in ("uuid1", "uuid4", "uuid6", "uuid7", "uuid8"):
        answer = _make_uuid(int(name[-1]))
        _wrap(uuid, name, f"uuid.{name}()", "Use workflow.uuid4() instead.", answer)
    for name in ("choice", "randbelow", "randbits", "token_bytes", "token_hex", "token_urlsafe"):
        _wrap(secrets, name, f"secrets.{name}()", "Make secrets in an activity.")
    for name in ("urandom", "getrandom"):
        _wrap(os, name, f"os.{name}()", _RANDOM, _draw_bytes)
    _wrap(random, "_urandom", "random.SystemRandom()", _RANDOM, _draw_bytes)
    _wrap(threading.Thread, "start", "a new thread", _ACTIVITY)
    _wrap_seed()
    sys.addaudithook(_audit)


Answer = Callable[..., Any]
"""Answers a call from a run's library, which is the first argument."""


def _tell(name: str) -> Answer:
    return lambda library, *_: library.time(name)


def _draw(name: str) -> Answer:
    return lambda library, *args, **kwargs: getattr(library.random, name)(*args, **kwargs)


def _draw_bytes(library: Any, size: int, *_: Any) -> bytes:
    return bytes(library.random.randbytes(size))


def _make_uuid(version: int) -> Answer:
    return lambda library, *_, **__: _uuid_of(library.random.getrandbits(128), version)


def _uuid_of(number: int, version: int) -> uuid.UUID:
    """Return a UUID of any version; the constructor of older Pythons takes 1 to 5 only."""
    number = number & ~(0xF << 76) | version << 76
    return uuid.UUID(int=number & ~(0x3 << 62) | 0x2 << 62)


def _wrap(module: Any, name: str, what: str, instead: str, answer: Answer | None = None) -> None:
    original: Callable[..., Any] | None = getattr(module, name, None)
    if original is None:
        return
    called = original

    @functools.wraps(called)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        loop = _get_running_loop()
        if type(loop) is WorkflowLoop:
            if loop.library is not None:
                if answer is not None:
                    return answer(loop.library, *args, **kwargs)
            elif loop.guarded:
                _refuse(loop, what, instead)
        return called(*args, **kwargs)

    setattr(module, name, guarded)


def _wrap_seed() -> None:
    """A generator that is seeded with nothing takes its seed from the operating system."""
    original = random.Random.seed

    @functools.wraps(original)
    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        loop = _get_running_loop()
        if a is None and type(loop) is WorkflowLoop:
            if loop.library is not None:
                a = loop.library.random.getrandbits(256)
            elif loop.guarded:
                _refuse(loop, "random.Random() without a seed", _RANDOM)
        original(self, a, version)

    random.Random.seed = seed  # type: ignore[method-assign]


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event in _AUDITED:
        loop = _get_running_loop()
        if type(loop) is WorkflowLoop and loop.guarded and loop.library is None:
            if not _is_time_zone(event, args):
                _refuse(loop, *_AUDITED[event])


def _is_time_zone(event: str, args: tuple[Any, ...]) -> bool:
    """Return whether this opens a time zone's file, which ``zoneinfo`` does without a frame."""
    zoneinfo = sys.modules.get("zoneinfo")
    if event != "open" or zoneinfo is None:
        return False
    return str(args[0]).startswith(tuple(f"{path}{os.sep}" for path in zoneinfo.TZPATH))


def _refuse(loop: WorkflowLoop, what: str, instead: str) -> None:
    """Raise, unless a module that may do this stands between the call and the loop."""
    loop.guarded = False
    try:
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and not is_boundary(frame):
            if str(frame.f_globals.get("__name__")).partition(".")[0] in _PASSED:
                return
            frame = frame.f_back
        raise loop.refused(what, instead, 2)
    finally:
        loop.guarded = True
