"""Activities: functions that may do anything, run at least once, and are recorded once.

``@activity.define`` keeps a function's types. Inside a workflow a call schedules the activity;
outside it is the plain function. The verbs (``info``, ``heartbeat`` ...) speak with the attempt
that runs, which the executor puts into ``current``.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import update_wrapper
from typing import (
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from processor import checks
from processor.core.data.options import DEFAULTS, ActivityOptions
from processor.core.data.task_token import token_of
from processor.errors import InvalidArgument
from processor.policy import Cancellation
from processor.workflow._asyncio import running_loop
from processor.workflow._context import cannot_wait, plain
from processor.workflow._engine.loop import WorkflowLoop
from processor.workflow._frames import line_of, user_frame
from processor.workflow._nouns.activity import call
from processor.workflow._options import Options, TypeForm, cancellation_in, options_with
from processor.workflow._signature import AsyncFunction, Signature, is_async, names_at

__all__ = (
    "Activity",
    "ActivityContext",
    "ActivityDefinition",
    "ActivityInfo",
    "CompleteAsync",
    "Options",
    "current",
    "define",
    "heartbeat",
    "heartbeat_details",
    "info",
    "is_cancelled",
    "shield",
)

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")

Pool: TypeAlias = Literal["threads", "processes"]
"""What a plain activity runs in: a thread of the worker, or a process beside it."""


@dataclass(frozen=True, eq=False)
class ActivityDefinition:
    """What an executor needs: the function, its parameters, and whether to await it.

    ``pool``: what a plain one runs in.
    """

    name: str
    function: Callable[..., Any]
    is_async: bool
    signature: Signature
    pool: Pool = "threads"

    @property
    def parameter_types(self) -> tuple[Any, ...]:
        return self.signature.types

    @property
    def result_type(self) -> Any:
        return self.signature.result

    @property
    def place(self) -> str:
        """Where it is defined, as ``file:line``."""
        code = inspect.unwrap(self.function).__code__
        return f"{code.co_filename}:{code.co_firstlineno}"


class Activity(Generic[P, R]):
    """A defined activity: in workflow code a call that can be awaited, elsewhere the function.

    Use ``function`` for a typed direct call of a plain (not async) function.
    """

    # No Any stands in the coroutine's type: mypy would give up the overloads of ``asyncio.gather``.

    def __init__(
        self,
        definition: ActivityDefinition,
        options: ActivityOptions,
        cancellation: Cancellation = "try",
    ) -> None:
        self.definition = definition
        self.name = definition.name
        self.function: Callable[P, Awaitable[R] | R] = definition.function
        self.wire_options = options
        self.cancellation: Cancellation = cancellation
        self._is_method = False
        update_wrapper(self, definition.function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, None, R]:
        loop = running_loop()
        if type(loop) is WorkflowLoop:
            definition = self.definition
            if loop.plain:
                raise cannot_wait(f"calls activity {definition.name!r}")
            signature = definition.signature
            frame = user_frame(1)
            coroutine: Any = call(
                loop.runtime,
                definition.name,
                args
                if not kwargs and signature.required <= len(args) <= signature.limit
                else signature.positions(args, kwargs),
                self.wire_options,
                signature.result,
                "" if frame is None else line_of(frame),
                self.cancellation,
            )
            coroutine.__qualname__ = definition.name
            return cast("Coroutine[object, None, R]", coroutine)
        if not self.definition.is_async and plain.get():
            return self._awaitable(*args, **kwargs)
        return cast("Coroutine[object, None, R]", self.function(*args, **kwargs))

    async def _awaitable(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a plain function where a workflow is unit-tested: there it is awaited too."""
        token = plain.set(False)
        try:
            return cast("R", self.function(*args, **kwargs))
        finally:
            plain.reset(token)

    def options(self, **changes: Unpack[Options]) -> Activity[P, R]:
        """Return the same activity with other options; those not named stay as they are."""
        where = f"{self.name}.options"
        wire = options_with(self.wire_options, changes, where)
        cancellation = cancellation_in(changes, self.cancellation, where)
        other: Activity[P, R] = Activity(self.definition, wire, cancellation)
        other._is_method = self._is_method
        return other

    def __set_name__(self, owner: type, name: str) -> None:
        """Hear that this is a method: its ``self`` is no argument of the activity."""
        definition = self.definition
        if definition.function.__qualname__ != f"{owner.__qualname__}.{name}":
            return
        self._is_method = True
        signature = Signature(definition.signature.what, definition.function, 1)
        self.definition = replace(definition, signature=signature)

    @property
    def is_unbound(self) -> bool:
        """Whether it is a method without its instance: workflows call it, and no worker runs it."""
        return self._is_method

    def __get__(
        self: Activity[Concatenate[Any, Q], T], instance: object | None, owner: type, /
    ) -> Activity[Q, T]:
        """Bind a method to its instance, as Python does with functions.

        Through the class it is what a workflow calls, which has no instance and needs none.
        """
        if instance is None or not self._is_method:
            return cast("Activity[Q, T]", self)
        bound = self.definition.function.__get__(instance, owner)
        definition = replace(self.definition, function=bound)
        return Activity(definition, self.wire_options, self.cancellation)

    def __repr__(self) -> str:
        return f"<activity {self.name!r} at {self.definition.place}>"


class _Define(Protocol):
    @overload
    def __call__(self, function: AsyncFunction[P, R], /) -> Activity[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Activity[P, R]: ...


@overload
def define(function: AsyncFunction[P, R], /) -> Activity[P, R]: ...


@overload
def define(function: Callable[P, R], /) -> Activity[P, R]: ...


@overload
def define(
    *, name: str | None = None, pool: Pool = "threads", **options: Unpack[Options]
) -> _Define: ...


def define(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    pool: Pool = "threads",
    **options: Unpack[Options],
) -> Any:
    """Make a function, async or plain, an activity, under its own name or ``name``.

    ``options`` are ``queue``, ``retry`` (a ``RetryPolicy``), ``eager``, and four time-outs, each a
    ``timedelta`` or seconds (default: none): ``schedule_to_start``, ``start_to_close``,
    ``schedule_to_close``, ``heartbeat``. ``cancellation`` says what becomes of it when its await is
    cancelled (see ``Options``). ``pool="processes"`` runs a plain function in a process beside the
    worker: for what computes, or may crash. Raises ``InvalidArgument``.
    """
    if pool not in ("threads", "processes"):
        given = checks.shown(pool)
        raise InvalidArgument(f'@activity.define: pool: give "threads" or "processes", not {given}')
    if name is not None:
        checks.name(name, "@activity.define: name")
    wire = options_with(DEFAULTS, options, "@activity.define")
    cancellation = cancellation_in(options, "try", "@activity.define")

    def decorate(function: Callable[..., Any]) -> Any:
        if not callable(function):
            raise InvalidArgument(
                f"@activity.define: {checks.shown(function)} has to be a function; a name is given "
                "as name=..."
            )
        if not hasattr(inspect.unwrap(function), "__code__"):
            raise InvalidArgument(
                f"@activity.define: {checks.shown(function)} is no function, but an object that "
                "can be called (functools.partial, a class, an object with __call__, a function of "
                "C code). Write a function (def or async def) that calls it, and define that"
            )
        known = name or getattr(function, "__name__", None)
        if not isinstance(known, str):
            raise InvalidArgument(
                f"@activity.define: {checks.shown(function)} has no name of its own: give name=..."
            )
        names = names_at(2, function)
        signature = Signature(f"activity {known!r}", function, 0, names)
        definition = ActivityDefinition(known, function, is_async(function), signature, pool)
        if pool == "processes":
            _check_importable(definition)
        return Activity(definition, wire, cancellation)

    if function is not None:
        return decorate(function)
    return lambda function: decorate(function)


def _check_importable(definition: ActivityDefinition) -> None:
    """Refuse what a process cannot import and call."""
    function = inspect.unwrap(definition.function)
    what = f'@activity.define: pool="processes": {function.__qualname__}'
    if definition.is_async:
        raise InvalidArgument(
            f"{what} is async, which runs on the loop of the worker: make it a plain function (def)"
        )
    if "<locals>" in function.__qualname__ or "<lambda>" in function.__qualname__:
        raise InvalidArgument(
            f"{what} is made inside of a function: a process imports what it runs. Move it to the "
            "top of a module"
        )


def imported(name: str, module: str, qualname: str) -> Callable[..., Any]:
    """Import the function of an activity. Raises ``ImportError`` where nothing is there."""
    found: Any = importlib.import_module(module)
    try:
        for each in qualname.split("."):
            found = getattr(found, each)
    except AttributeError as error:
        raise ImportError(
            f"activity {name!r} runs in a process, which finds no {qualname} in module {module} "
            f"({error}): define it at the top of a module that can be imported, not in a notebook, "
            "a shell or `python -c`"
        ) from None
    function: Callable[..., Any] = found.function if isinstance(found, Activity) else found
    return function


def check_imported(definition: ActivityDefinition) -> None:
    """Refuse a function in whose place a process would import none, or another one."""
    function: Any = definition.function
    if definition.pool != "processes" or definition.is_async or inspect.ismethod(function):
        return  # a mock runs on the loop, a method goes with its object
    name, module, qualname = definition.name, function.__module__, function.__qualname__
    try:
        found = imported(name, module, qualname)
    except ImportError as error:
        raise InvalidArgument(str(error)) from None
    if found is not function:
        raise InvalidArgument(
            f"activity {name!r} runs in a process, which imports {qualname} of module {module}, "
            "and that is another function than the registered one: a decorator of yours would be "
            "left out. Put @activity.define above the decorator, so that the module has the result "
            "under that name; or write a function that calls it"
        )


# --- inside of a running activity -------------------------------------------------------------


class CompleteAsync(BaseException):
    """``raise activity.CompleteAsync`` leaves the attempt open: somebody else says how it ends.

    Hand ``activity.info().task_token`` over first. From any process, ``client.complete(token,
    result)`` or ``client.fail(token, error)`` ends the attempt; until then its time-outs apply.
    """


@dataclass(frozen=True)
class ActivityInfo:
    """The attempt that runs. ``deadline`` is when its first time-out ends it, None if none does.

    ``heartbeat_details`` is the payload of the last heartbeat of an earlier attempt. ``headers``
    came with the task. ``workflow`` is the name of its workflow. The attempt was ``scheduled``
    (sent off) before its function ``started``. ``start_to_close`` and ``heartbeat`` are its
    time-outs, None where it has none; ``deadline`` covers ``schedule_to_close``.
    """

    workflow_id: str
    run_id: str
    id: int
    attempt: int
    name: str
    heartbeat_details: bytes | None = None
    deadline: datetime | None = None
    headers: Mapping[str, bytes] = field(default_factory=dict)
    workflow: str = ""
    queue: str = DEFAULTS.queue
    namespace: str = "default"
    scheduled: datetime | None = None
    started: datetime | None = None
    start_to_close: timedelta | None = None
    heartbeat: timedelta | None = None

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this activity, and for no other one."""
        return f"{self.run_id}/{self.id}"

    @property
    def task_token(self) -> str:
        """Names this attempt to clients; text, which may stand in a URL as it is."""
        return token_of(self.workflow_id, self.run_id, self.id, self.attempt)


class ActivityContext(Protocol):
    """The attempt that runs, as the executor offers it. Called from the activity's own thread."""

    @property
    def info(self) -> ActivityInfo: ...

    def heartbeat(self, details: Any) -> None:
        """Say that the attempt is alive; the executor encodes the details and may drop some."""

    def is_cancelled(self) -> bool: ...

    def shield(self) -> AbstractContextManager[None]:
        """Hold an interruption of a plain function back."""

    def decode(self, payload: bytes, type: Any) -> Any:
        """Decode a payload through the worker's codec."""


current: ContextVar[ActivityContext | None] = ContextVar("current", default=None)
"""The attempt that runs in this context; the executor sets it."""


def _context(verb: str) -> ActivityContext:
    context = current.get()
    if context is None:
        raise RuntimeError(
            f"activity.{verb}() was called outside of a running activity. It works in a function "
            "under @activity.define while a worker runs it; in a thread of your own, start that "
            "thread's function through contextvars.copy_context().run"
        )
    return context


def info() -> ActivityInfo:
    """Return which attempt of which activity this is."""
    return _context("info").info


def heartbeat(details: Any = None) -> None:
    """Say that the activity is alive, with details that the next attempt can read.

    May be called as often as wanted: a worker sends one in ``Settings.heartbeat_throttle_s`` at the
    most. Raises ``SchemaMismatch`` or ``PayloadTooLarge`` for details that cannot be sent.
    """
    _context("heartbeat").heartbeat(details)


def is_cancelled() -> bool:
    """Return whether the attempt is over: given up, timed out, or stopped with its worker.

    Nobody takes what the function returns then, but for a workflow that waits until it has stopped.
    A worker that stops lets activities run for four fifths of ``Settings.shutdown_s`` before it
    ends their attempts. A plain function that has asked is not interrupted: it looks itself.
    """
    return _context("is_cancelled").is_cancelled()


def shield() -> AbstractContextManager[None]:
    """Hold back, for a ``with`` block of a plain function, what interrupts it.

    When the attempt of a plain function is over, ``asyncio.CancelledError`` is raised in its
    thread, at the next instruction of Python; in such a block, at its end. Code that waits in C (a
    socket, a lock) comes back first. An async function uses ``asyncio.shield``.
    """
    return _context("shield").shield()


@overload
def heartbeat_details(type: type[T]) -> T | None: ...


@overload
def heartbeat_details(type: TypeForm = ...) -> Any: ...


def heartbeat_details(type: Any = Any) -> Any:
    """Return the details of the last heartbeat of an earlier attempt, None if there is none."""
    context = _context("heartbeat_details")
    payload = context.info.heartbeat_details
    return None if payload is None else context.decode(payload, type)
