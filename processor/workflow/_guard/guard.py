"""The guard: what workflow code asks the outside world for answers from the run, or is refused.

Functions whose answer differs at replay (clocks, random numbers) are wrapped where they live; what
leaves the process (files, sockets, threads, subprocesses) is seen by an audit hook. Both ask one
question: is the running loop a workflow's, and is user code running on it. Anywhere else that is
one look at the running loop, and the original runs.

Clocks tell the time of the turn, and what is random comes from a stream of the run (``library``):
the same at each replay. A generator of random numbers that workflow code made outlives it, if a
library keeps it: it draws from the run in workflow code, and from the host outside (``_OfRuns``).
Files that come with installed code can be read. Other files are let
through, so that no library is left half filled, and the run parks after the activation. Sockets,
threads and processes raise at the line. In the mode "refuse" everything raises.

Not seen: ``datetime.now`` and names that were imported out of ``time`` or ``random`` before
``install`` (``from time import time``). ``@workflow.define`` warns of those (``names``).
"""

from __future__ import annotations

import _thread
import functools
import os
import random
import secrets
import signal
import sys
import sysconfig
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Final, Literal

from processor.workflow._asyncio import running_loop
from processor.workflow._context import passing
from processor.workflow._engine.loop import WorkflowLoop
from processor.workflow._frames import is_boundary, is_library
from processor.workflow._guard.library import CLOCKS, Library

__all__ = ("install",)

_NOW = "Use workflow.now() instead."
_RANDOM = "Use workflow.random() instead."
_ACTIVITY = "Do it in an activity and await that."
_SIGNALS = "A signal is the whole process's: handle it where the process starts."

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

_AT_THE_LINE: Final = frozenset(
    event
    for event in _AUDITED
    if event.startswith(("_thread.", "socket.", "subprocess."))
    or event in ("builtins.input", "urllib.Request")
    or event.removeprefix("os.")
    in ("exec", "fork", "forkpty", "kill", "posix_spawn", "spawn", "startfile", "system")
)
"""What raises where it is asked for; the rest is let through, and parks the run afterwards."""

_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT

_PASSED = (
    *("importlib", "linecache", "logging", "traceback", "tracemalloc", "warnings", "zipimport"),
    *("_py_warnings", "zoneinfo", "_frozen_importlib", "_frozen_importlib_external"),
    *("loguru", "structlog"),
)
"""Modules that may read files and clocks on the way from a user's line: what they do does not
come back as a value that the code could decide by (or is the same in every replay)."""

_OF_SIGNALS = (
    *("alarm", "pause", "pthread_kill", "pthread_sigmask", "raise_signal", "set_wakeup_fd"),
    *("setitimer", "siginterrupt", "signal", "sigtimedwait", "sigwait", "sigwaitinfo"),
)

_installed = False


def install() -> None:
    """Put the guard in place, for the whole process and for good. Twice is the same as once."""
    global _installed
    if _installed:
        return
    _installed = True
    _wrap_clocks()
    _wrap(time, "sleep", "time.sleep()", "Use await asyncio.sleep() instead.")
    for name in random.__all__:
        if isinstance(getattr(getattr(random, name), "__self__", None), random.Random):
            _wrap(random, name, f"random.{name}()", _RANDOM, _draw(name))
    for name in ("uuid1", "uuid4", "uuid6", "uuid7", "uuid8"):
        answer = _make_uuid(int(name[-1]))
        _wrap(uuid, name, f"uuid.{name}()", "Use workflow.uuid4() instead.", answer)
    for name in ("choice", "randbelow", "randbits", "token_bytes", "token_hex", "token_urlsafe"):
        draw = _draw_through(getattr(secrets, name))
        _wrap(secrets, name, f"secrets.{name}()", "Make secrets in an activity.", draw)
    for name in ("urandom", "getrandom"):
        _wrap(os, name, f"os.{name}()", _RANDOM, _draw_bytes)
    _wrap(random, "_urandom", "random.SystemRandom()", _RANDOM, _draw_bytes)
    _wrap(threading.Thread, "start", "a new thread", _ACTIVITY)
    for name in ("start_new_thread", "start_new"):
        _wrap(_thread, name, "a new thread", _ACTIVITY)
    for name in _OF_SIGNALS:
        _wrap(signal, name, f"signal.{name}()", _SIGNALS)
    _wrap_generators()
    _wrap_unraisable_hook()
    _installed_paths()  # here, since it imports modules
    sys.addaudithook(_audit)


Answer = Callable[..., Any]
"""Answers a call from a run's library, which is the first argument."""


def _wrap_clocks() -> None:
    for name in CLOCKS:
        for each in (name, f"{name}_ns"):
            _wrap(time, each, f"time.{each}()", _NOW, _tell(each))
    for name in ("clock_gettime", "clock_gettime_ns"):
        _wrap(time, name, f"time.{name}()", _NOW, _tell_clock(name))
    for name in ("ctime", "gmtime", "localtime"):
        what = f"time.{name}() without a time"
        _wrap(time, name, what, _NOW, _tell_date(getattr(time, name)), given=0)
    for name, place in (("asctime", 0), ("strftime", 1)):
        what = f"time.{name}() without a time"
        _wrap(time, name, what, _NOW, _tell_text(getattr(time, name), time.localtime), given=place)


def _tell(name: str) -> Answer:
    return lambda library, *_: library.time(name)


def _tell_clock(name: str) -> Answer:
    epoch, other = ("time_ns", "monotonic_ns") if name.endswith("_ns") else ("time", "monotonic")
    return lambda library, clock: library.time(epoch if clock == time.CLOCK_REALTIME else other)


def _tell_date(function: Callable[[float], Any]) -> Answer:
    return lambda library, *_: function(library.time("time"))


def _tell_text(function: Callable[..., str], local: Callable[[float], Any]) -> Answer:
    return lambda library, *form: function(*form[:1], local(library.time("time")))


def _draw(name: str) -> Answer:
    return lambda library, *args, **kwargs: getattr(library.random, name)(*args, **kwargs)


def _draw_bytes(library: Any, size: int, *_: Any) -> bytes:
    return bytes(library.random.randbytes(size))


def _draw_through(function: Callable[..., Any]) -> Answer:
    """Answer by the function itself, where what it draws from answers."""
    return lambda library, *args, **kwargs: function(*args, **kwargs)


def _make_uuid(version: int) -> Answer:
    return lambda library, *_, **__: _uuid_of(library.random.getrandbits(128), version)


def _uuid_of(number: int, version: int) -> uuid.UUID:
    """Return a UUID of any version; the constructor of older Pythons takes 1 to 5 only."""
    number = number & ~(0xF << 76) | version << 76
    return uuid.UUID(int=number & ~(0x3 << 62) | 0x2 << 62)


def _wrap(
    module: Any,
    name: str,
    what: str,
    instead: str,
    answer: Answer | None = None,
    *,
    given: int | None = None,
) -> None:
    """Wrap a function. One that has a value at the place ``given`` asks for nothing."""
    original: Callable[..., Any] | None = getattr(module, name, None)
    if original is None:
        return
    called, current = original, running_loop  # see _audit

    @functools.wraps(called)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        loop = current()
        if loop is not None and type(loop) is WorkflowLoop and not _is_given(args, given):
            if loop.library is not None:
                if answer is not None:
                    return answer(loop.library, *args, **kwargs)
            elif loop.guarded and loop.guard != "off":
                if _decided(loop, answer is not None, what, instead) == "answer":
                    assert answer is not None, "it was decided by that"
                    return answer(loop.runtime.library, *args, **kwargs)
        return called(*args, **kwargs)

    setattr(module, name, guarded)


def _is_given(args: tuple[Any, ...], place: int | None) -> bool:
    return place is not None and len(args) > place and args[place] is not None


class _OfRuns(random.Random):
    """What a generator becomes that workflow code seeds with nothing, as ``random.Random()`` does.

    In workflow code it draws from the run whose code uses it, whoever made it. Outside it draws
    from what the operating system seeded it with: what an activity draws never repeats.
    """

    was: type[random.Random] = random.Random

    def random(self) -> float:
        return super().random()

    def getrandbits(self, k: int, /) -> int:
        return super().getrandbits(k)

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        return super().gauss(mu, sigma)

    def getstate(self) -> tuple[Any, ...]:
        return super().getstate()

    def setstate(self, state: tuple[Any, ...]) -> None:
        self.__class__ = self.was  # type: ignore[assignment]
        self.setstate(state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.was, (), self.getstate()


def _wrap_generators() -> None:
    for name in ("random", "getrandbits", "gauss"):
        _wrap(_OfRuns, name, f"random.Random().{name}()", _RANDOM, _draw_for(name))
    _wrap(_OfRuns, "getstate", "random.Random().getstate()", _RANDOM, _draw_state)
    original = random.Random.seed

    @functools.wraps(original)
    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        if a is not None:
            if isinstance(self, _OfRuns):
                self.__class__ = self.was  # type: ignore[assignment]
        elif (library := _library_for_seed()) is not None:
            if self is library.random:
                a = self.getrandbits(256)
            elif not isinstance(self, _OfRuns):
                was: Any = type(self)
                self.__class__ = _of_runs(was)
        original(self, a, version)

    random.Random.seed = seed  # type: ignore[method-assign]


@functools.cache
def _of_runs(was: type[random.Random]) -> type[_OfRuns]:
    return _OfRuns if was is random.Random else type(was.__name__, (_OfRuns, was), {"was": was})


def _library_for_seed() -> Library | None:
    """Return the library of the run whose code seeds a generator with nothing, if a run's does."""
    loop = running_loop()
    if type(loop) is WorkflowLoop:
        if loop.library is not None:
            return loop.library
        if loop.guarded and loop.guard != "off":
            if _decided(loop, True, "random.Random() without a seed", _RANDOM) == "answer":
                library: Library = loop.runtime.library
                return library
    return None


def _draw_for(name: str) -> Answer:
    return lambda library, _self, *args, **kwargs: getattr(library.random, name)(*args, **kwargs)


def _draw_state(library: Library, _self: random.Random) -> tuple[Any, ...]:
    return random.Random(library.random.getrandbits(256)).getstate()


def _wrap_unraisable_hook() -> None:
    """Let Python tell of an error in ``__del__``: it reads the source, without a frame."""
    called, current = sys.unraisablehook, running_loop  # see _audit

    def told(unraisable: Any) -> None:
        loop = current()
        if loop is None or type(loop) is not WorkflowLoop:
            called(unraisable)
            return
        guarded, loop.guarded = loop.guarded, False
        try:
            called(unraisable)
        finally:
            loop.guarded = guarded

    sys.unraisablehook = told


def _audit(
    event: str,
    args: tuple[Any, ...],
    audited: Mapping[str, tuple[str, str]] = _AUDITED,
    current: Callable[[], Any] = running_loop,
) -> None:
    """Look at what Python tells of itself.

    Python still calls this when it ends and has set the names of this module to None. So what is
    used outside of workflows does not depend on them.
    """
    if event in audited:
        loop = current()
        if (
            loop is not None
            and type(loop) is WorkflowLoop
            and loop.guarded
            and loop.library is None
        ):
            if loop.guard == "off" or _is_time_zone(event, args):
                return
            if loop.guard == "refuse" or event in _AT_THE_LINE:
                _decided(loop, False, *_AUDITED[event])
            elif not _is_installed(event, args):
                _decided(loop, False, *_AUDITED[event], raises=False)


def _is_time_zone(event: str, args: tuple[Any, ...]) -> bool:
    """Return whether this opens a time zone's file, which ``zoneinfo`` does without a frame."""
    if event != "open":
        return False
    # While it is imported for the first time, it is there and has no paths yet.
    paths = getattr(sys.modules.get("zoneinfo"), "TZPATH", ())
    return str(args[0]).startswith(tuple(f"{path}{os.sep}" for path in paths))


def _is_installed(event: str, args: tuple[Any, ...]) -> bool:
    """Return whether this reads what came with installed code: it changes as code does."""
    if event == "open":
        if len(args) > 2 and isinstance(args[2], int) and args[2] & _WRITES:
            return False
    elif event not in ("os.listdir", "os.scandir", "glob.glob"):
        return False
    if not args or not isinstance(args[0], str | bytes | os.PathLike):
        return False
    return os.path.abspath(os.fsdecode(args[0])).startswith(_installed_paths())


@functools.cache
def _installed_paths() -> tuple[str, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({f"{os.path.abspath(sysconfig.get_path(name))}{os.sep}" for name in names})


def _decided(
    loop: WorkflowLoop, answers: bool, what: str, instead: str, *, raises: bool = True
) -> Literal["answer", "pass"]:
    """Return what becomes of a call, or raise. Without ``raises`` the run parks later on instead.

    What a module does that may do this, and what logs, goes to the outside world: replay does not
    repeat it. Whether refusals are lifted is for the nearest frame to say that is no library's of
    Python's own.
    """
    loop.guarded = False
    try:
        nearest: str | None = None
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and not is_boundary(frame):
            module = frame.f_globals.get("__name__")
            if str(module).partition(".")[0] in _PASSED:
                return "pass"
            if nearest is None and not is_library(module) and module != __name__:
                nearest = str(module)
            frame = frame.f_back
        lifted = passing.get() or _is_within(nearest, loop.passthrough)
        if answers and (lifted or loop.guard == "answer"):
            return "answer"
        if not lifted:
            error = loop.refused(what, instead, 2)
            if raises:
                raise error
        return "pass"
    finally:
        loop.guarded = True


def _is_within(module: str | None, passthrough: tuple[str, ...]) -> bool:
    return module is not None and any(
        module == each or module.startswith(f"{each}.") for each in passthrough
    )
