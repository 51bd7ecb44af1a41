"""The seam between the engine and the workflow code: history and new events in, decisions out.

Today's runner is the deterministic loop in the same process (``processor.workflow``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

from processor.core.data.failure import Failure, writable
from processor.core.event import Decision, Event
from processor.core.nouns.external import EventReceived
from processor.core.nouns.lineage import RetryOptions
from processor.core.nouns.locks.granting import LockRequested
from processor.core.nouns.run import WorkflowStarted
from processor.core.nouns.update import OperationEnded, UpdateAccepted

__all__ = (
    "Asked",
    "CodeError",
    "Defaults",
    "EntityCode",
    "Kept",
    "NeverEnds",
    "Runner",
    "Runners",
    "Spoiled",
)

Asked: TypeAlias = tuple[Decision, str]
"""A decision of the code, and the line that asked for it: ``file:line``, for people."""

_ERROR_CHARS_MAX: Final = 10_000
_TRACEBACK_CHARS_MAX: Final = 20_000


class NeverEnds(BaseException):
    """Raised in code of the user's that does not give control back, wherever it runs."""


class Spoiled(Exception):
    """What only reads has woken something: the code in memory is not what replay makes any more."""


class CodeError(Exception):
    """Workflow code cannot go on: a bug, a mismatch, or code that is not there. Parks the run.

    kind: "bug", "nondeterminism", "never_ends", "not_registered" or "not_activated". ``where``
    is ``file:line: source``.
    """

    def __init__(self, kind: str, error: str, where: str = "", traceback: str = "") -> None:
        super().__init__(error)
        self.kind = kind
        self.error = writable(error[:_ERROR_CHARS_MAX])
        self.where = writable(where)
        self.traceback = writable(traceback[-_TRACEBACK_CHARS_MAX:])


class Defaults(NamedTuple):
    """What a definition says of its runs, for starts that do not say it."""

    execution_timeout_ms: int | None
    retry: RetryOptions | None


class EntityCode(NamedTuple):
    """What an entity goes on from, when no operation runs.

    ``state`` is the encoded one after the last operation, None where there is none. ``queue`` are
    the operations that have not begun, in order; it changes with the next activation. ``last_id``
    is that of the last request of its code. ``wake`` is the timer that lets the next operation
    begin, where one does. ``at_ms`` is the time of the turn. ``locked``: somebody holds the lock.
    ``lock_number`` is that of the last grant. ``history`` are the last operations that have ended.
    """

    state: bytes | None
    queue: Sequence[UpdateAccepted | EventReceived | LockRequested] = ()
    last_id: int = 0
    wake: int | None = None
    at_ms: int = 0
    locked: bool = False
    lock_number: int = 0
    history: tuple[OperationEnded, ...] = ()


Kept: TypeAlias = bytes | EntityCode
"""What code that can be kept goes on from."""


class Runner(Protocol):
    """One run's code in memory."""

    def activate(
        self,
        now_ms: int,
        number: int,
        facts: Sequence[Event],
        recorded: Sequence[Event] | None,
    ) -> list[Asked]:
        """Feed facts in order, run until everything waits, return what was asked for.

        ``number`` is that of the first event of the turn: what libraries draw at random begins
        with it. ``recorded`` holds the turn's decisions at replay (side effects take their values
        from it, the logger is silent), None when live. Raises ``CodeError``; the runner is then
        dead. Where an activity runs is not the code's to say: ``eager`` counts for nothing.
        """

    def snapshot(self) -> Kept | None:
        """Return what the code can go on from, None where replay is the only way."""

    def waiting(self) -> list[str]:
        """Return where the code waits now, one ``file:line function`` for each waiting task."""

    def unread(self) -> tuple[int, int]:
        """Return how many events the code was given and has not taken, and their bytes."""

    def left(self) -> Sequence[EventReceived]:
        """Return these events in the order of their arrival.

        After the end of the code they are those that it never took, whenever they came; after an
        activation that does not count, those that the code had not taken before it.
        """

    def accepts(self, name: str, arguments: bytes | None) -> bool:
        """Ask the validator of an update, which only reads; return whether it let the update pass.

        False: the code has not begun, and no handler is there yet. Raises ``UpdateRejected``,
        ``SchemaMismatch``, ``Spoiled``, and ``CodeError`` where the validator does not end.
        """

    def undo(self, facts: Sequence[Event]) -> None:
        """Close it: the activation that was given these facts does not count."""

    def query(self, name: str, arguments: bytes | None) -> bytes | Failure | None:
        """Return what a handler answers or fails with, also after the end of the code.

        Nothing is recorded. Raises ``QueryFailed``, ``SchemaMismatch``, ``PayloadTooLarge``,
        ``Spoiled``, and ``CodeError`` where the handler does not end.
        """

    def keep(self) -> None:
        """Keep what queries ask for, also after the end of the code: until ``forget``."""

    def forget(self) -> None:
        """Close, and keep nothing."""

    def close(self) -> None:
        """Drop the coroutine without running any more of it."""


class Runners(Protocol):
    """Makes runners from registered workflow code.

    ``strict``: payloads that replay makes otherwise than they are recorded park the run, too.
    ``flags`` name behaviour that new runs are begun under. ``defaults`` has the workflows whose
    definitions say something of their runs.
    """

    strict: bool
    flags: tuple[str, ...]
    defaults: Mapping[str, Defaults]

    def start(self, workflow_id: str, run_id: str, started: WorkflowStarted, now_ms: int) -> Runner:
        """Return a fresh runner, not yet activated. ``now_ms`` is the time of its first turn.

        Raises ``WorkflowNotRegistered`` for an unknown name and ``SchemaMismatch`` where the
        arguments do not fit.
        """

    def resume(self, workflow_id: str, run_id: str, started: WorkflowStarted, kept: Kept) -> Runner:
        """Return a runner whose code goes on from what ``Runner.snapshot`` returned.

        Raises as ``start`` does.
        """

    def difference(self, recorded: bytes | None, now: bytes | None) -> str:
        """Return how two payloads differ as values ("" where they do not): path, and both."""
