"""What every noun has of one run: its loop, its clock, and what waits for facts."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from processor.core.data.payloads import Payloads
from processor.core.data.shown import shown
from processor.core.event import Event
from processor.core.nouns.external import EventReceived
from processor.core.nouns.run import WorkflowStarted
from processor.core.nouns.timer import TimerCancelled, TimerStarted
from processor.core.nouns.update import UpdateAccepted
from processor.errors import InvalidArgument, PayloadCodecError, SchemaMismatch
from processor.readable import readable
from processor.workflow._asyncio import TimerHandle
from processor.workflow._engine.decisions import Decisions
from processor.workflow._engine.loop import WorkflowLoop
from processor.workflow._engine.watchdog import WORKFLOWS
from processor.workflow._guard.library import Library

__all__ = ("SETTLES", "Decode", "RunCode", "Runtime", "reader", "settles")

E = TypeVar("E", bound=Event)
T = TypeVar("T")

Decode: TypeAlias = Callable[[bytes | None], Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCK_BEGINS_MS = 60_000
"""What the loop's clock shows when a run begins: not 0, which libraries take for "never"."""
_log = logging.getLogger("processor.workflow")


def reader(payloads: Payloads, type: Any, what: str) -> Decode:
    """Return what decodes payloads of a type. ``InvalidArgument``, which begins with ``what``."""
    try:
        return payloads.decoder(type)
    except SchemaMismatch as error:
        raise InvalidArgument(f"{what}: {error}") from error


class RunCode(Protocol):
    """What the user wrote. It outlives the run, so that queries can ask what the run left.

    ``operating`` is the operation, where it is an entity's. ``failed`` is the error that a handler
    ended with. ``ran``: some of it may have run before the coroutine begins. ``running`` are the
    handlers that are to run or run. ``unclaimed`` are updates that no handler has taken.
    """

    context: contextvars.Context
    failed: BaseException | None
    operating: Any
    ran: bool
    running: list[Any]
    unclaimed: list[UpdateAccepted]

    @property
    def workflow(self) -> Any: ...

    def begin(self, runtime: Runtime) -> None: ...

    def coroutine(self, runtime: Runtime) -> Coroutine[Any, Any, Any]: ...

    def takes(self, name: str) -> bool:
        """Return whether a handler takes the events of a name."""
        ...

    def names(self, name: str) -> bool:
        """Return whether it is a handler of that very name, and not the dynamic one."""
        ...

    def receive(self, runtime: Runtime, event: EventReceived, taken: Callable[[], None]) -> bool:
        """Let a handler take an event, and call ``taken`` when it begins. False: it cannot."""
        ...


class Runtime:
    """One run while its code is in memory.

    ``started`` is how it began, with the memo and the search attributes that it has now. ``code``
    is the user's, ``main`` the task of its coroutine, or what a plain operation of an entity has
    returned. ``open`` has what waits for a fact, by the id that the fact names. ``conditions`` are
    the predicates that somebody waits for. ``broken`` is an error that user code cannot undo by
    catching it.
    """

    advice = WORKFLOWS

    def __init__(
        self,
        workflow_id: str,
        run_id: str,
        started: WorkflowStarted,
        payloads: Payloads,
        decisions: Decisions,
    ) -> None:
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.started = started
        self.payloads = payloads
        self.decisions = decisions
        self.library = Library(started.seed)
        self.loop: WorkflowLoop
        self.code: RunCode
        self.main: asyncio.Future[Any] | None = None
        self.cancel_reason: str | None = None
        self.broken: BaseException | None = None
        self.open: dict[int, Any] = {}
        self.conditions: dict[asyncio.Future[Any], tuple[Callable[[], object], Any]] = {}
        self._parts: dict[Callable[[Runtime], Any], Any] = {}
        self._begun_ms: int | None = None

    @property
    def whose(self) -> str:
        """Name the run, for people."""
        return f"workflow {readable(self.workflow_id)}, run {self.run_id}"

    def attach(self, loop: WorkflowLoop) -> None:
        self.loop = loop

    def begin(self, now_ms: int, number: int) -> None:
        """Begin a turn. Time never goes back, whatever the host's clock does."""
        loop = self.loop
        if now_ms > loop.now_ms:
            loop.now_ms = now_ms
        library = self.library
        library.now_ms, library.number = loop.now_ms, number
        if self._begun_ms is None:
            self.code_begins(now_ms)

    def code_begins(self, now_ms: int) -> None:
        """Let the clocks of the code count from now on: at its start, or when its time came."""
        first, self._begun_ms = self._begun_ms is None, now_ms
        if first or not self.code.ran:
            self.loop.zero_ms = self.library.zero_ms = now_ms - _CLOCK_BEGINS_MS

    def clear(self) -> None:
        """Forget everything, so that no cycle keeps the run's memory."""
        self.conditions.clear()
        self.open.clear()
        self._parts.clear()
        self.main = None
        self.loop.runtime = None
        vars(self).pop("code", None)

    def is_cancelled(self) -> bool:
        """Whether the run was asked to stop."""
        return self.cancel_reason is not None

    @property
    def replaying(self) -> bool:
        return self.decisions.recorded is not None

    @property
    def turn(self) -> int:
        """The number of this activation."""
        return self.decisions.turn

    @property
    def now(self) -> datetime:
        return _EPOCH + timedelta(milliseconds=self.loop.now_ms)

    @property
    def begun_ms(self) -> int:
        """When the code began, in milliseconds since the epoch."""
        assert self._begun_ms is not None, "code runs, so a turn has begun"
        return self._begun_ms

    @property
    def begun(self) -> datetime:
        """When the code began."""
        return _EPOCH + timedelta(milliseconds=self.begun_ms)

    def part(self, make: Callable[[Runtime], T]) -> T:
        """Return what a noun keeps of this run; ``make`` makes it when it is first asked for."""
        found: T | None = self._parts.get(make)
        if found is None:
            found = self._parts[make] = make(self)
        return found

    def decoder(self, type: Any, what: str = "") -> Decode:
        """Return what decodes payloads of a type; making it may read a class of the user's.

        ``what`` names the argument that it is: ``InvalidArgument`` where that is no type.
        """
        loop = self.loop
        guarded, loop.guarded = loop.guarded, False
        try:
            return reader(self.payloads, type, what) if what else self.payloads.decoder(type)
        finally:
            loop.guarded = guarded

    def decoded(self, decode: Decode, payload: bytes | None) -> Any:
        """Decode a payload; what its class makes up meanwhile is the same at each replay."""
        loop = self.loop
        loop.library = self.library
        try:
            return decode(payload)
        except PayloadCodecError as error:
            self.breaks(error)
            raise
        finally:
            loop.library = None

    def breaks(self, error: BaseException) -> None:
        """Park the run after this activation, whatever its code catches."""
        if self.broken is None:
            self.broken = error

    # --- what the loop asks for ---------------------------------------------------------------

    def timer_started(self, handle: TimerHandle) -> None:
        decisions = self.decisions
        handle.id, handle.turn = decisions.next_id, decisions.turn
        started = TimerStarted(handle.id, handle.due_ms)
        handle.index = decisions.add_identified(started, handle.line, 0, "a timer")

    def timer_cancelled(self, handle: TimerHandle) -> None:
        if not self.loop.dropped:
            self.decisions.take_back(
                TimerCancelled, handle.id, handle.turn, handle.index, handle.line
            )

    def error_lost(self, context: dict[str, Any]) -> None:
        """Warn of an exception that no code will ever receive, as asyncio does.

        It is no bug that parks the run: it shows when Python frees the task, which may be long
        after the turn that raised it.
        """
        if not self.replaying:
            error = context.get("exception")
            _log.warning(
                "workflow %s, run %s: %s%s",
                readable(self.workflow_id),
                self.run_id,
                context.get("message", "an error was lost"),
                "" if error is None else f"\n{readable(shown(error).traceback, lines=True)}",
            )


# --- facts ------------------------------------------------------------------------------------

SETTLES: Final[dict[type[Event], Callable[[Runtime, Any], object]]] = {}
"""What each fact that reaches the code does there; the nouns fill it."""


def settles(
    fact: type[E],
) -> Callable[[Callable[[Runtime, E], object]], Callable[[Runtime, E], object]]:
    """Make a function what a fact does to the code that waits for it."""

    def decorate(function: Callable[[Runtime, E], object]) -> Callable[[Runtime, E], object]:
        assert fact not in SETTLES, f"{fact.__name__} is settled by one noun"
        SETTLES[fact] = function
        return function

    return decorate
