"""What the code asks for in one turn: commands in order, with their identifiers and sizes."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Final, TypeAlias

from processor.config import Settings
from processor.core import events
from processor.core.commands import (
    CancelActivity,
    CancelTimer,
    Command,
    RecordSideEffect,
    ScheduleActivity,
    StartTimer,
)
from processor.core.events import Event
from processor.core.payloads import Payloads
from processor.core.replay import PAYLOADS
from processor.errors import PayloadTooLarge, SchemaMismatch
from processor.workflow._loop import TimerHandle, WorkflowLoop

__all__ = ("Requests",)

Identified: TypeAlias = ScheduleActivity | StartTimer | RecordSideEffect

_COMMAND_BYTES = 100
"""About what a command takes in the log beside its payload."""


class Requests:
    """The commands of the turn that runs, and the counter that all turns of a run share.

    A start and its cancellation within one turn cancel each other out: neither is returned.
    ``arrived`` are the ids that facts of this turn settle: the log has their outcome already, so
    they cannot be cancelled any more even if the code did not see it yet.
    ``recorded`` is what the turn caused, where it is replayed.
    ``refusal`` says why nothing may be asked for now ("" where it may).
    """

    __slots__ = (
        "_commands",
        "_loop",
        "_payloads",
        "_settings",
        "_sized",
        "arrived",
        "elided",
        "last_id",
        "recorded",
        "refusal",
        "turn",
    )

    def __init__(self, payloads: Payloads, settings: Settings) -> None:
        self._loop: WorkflowLoop
        self._payloads = payloads
        self._settings = settings
        self._commands: list[Command | None] = []
        self._sized = 0
        self.arrived: Set[int] = frozenset()
        self.recorded: Sequence[Event] = ()
        self.elided = False
        self.last_id = 0
        self.refusal = ""
        self.turn = 0

    def attach(self, loop: WorkflowLoop) -> None:
        self._loop = loop

    def begin(self, arrived: Set[int], recorded: Sequence[Event] | None = None) -> None:
        self.turn += 1
        self.arrived = arrived
        self.recorded = recorded or ()
        self._commands = []
        self._sized = 0
        self.elided = False

    def take(self) -> list[Command]:
        """Return the commands of the turn, without those that cancelled each other out."""
        if self.elided:
            return [command for command in self._commands if command is not None]
        return self._commands  # type: ignore[return-value]

    def encode(self, value: object, what: str, name: str = "") -> bytes | None:
        """Encode a value of the user's. ``what`` and ``name`` say in errors which one."""
        loop = self._loop
        guarded = loop.guarded
        loop.guarded = False
        try:
            payload = self._payloads.encode(value)
        except SchemaMismatch as error:
            raise SchemaMismatch(f"{_named(what, name)} cannot be encoded: {error}") from error
        finally:
            loop.guarded = guarded
        if payload is not None and len(payload) > self._settings.payload_bytes_max:
            self.check_size(len(payload), what, name)
        return payload

    def check_size(self, size: int, what: str, name: str = "") -> None:
        limit = self._settings.payload_bytes_max
        # The limit of the time when the turn was live let through what was recorded. What it
        # refused was larger than all of that, so that it is refused again.
        if size > limit and size > max(map(_payload_bytes, self.recorded), default=0):
            raise PayloadTooLarge(
                f"{_named(what, name)}: {size:,} bytes; the limit is {limit:,} "
                "(payload_bytes_max). Store the value elsewhere, in an activity, and pass a "
                "reference to it"
            )

    def add(self, command: Command, size: int, what: str, name: str = "") -> int:
        """Add a command whose payload has ``size`` bytes; return its index within the turn."""
        if self.refusal or self._loop.dropped:
            self._refuse(_named(what, name))
        commands = self._commands
        sized = self._sized + size + _COMMAND_BYTES
        if sized > self._settings.turn_bytes_max and sized > self._recorded_size():
            raise PayloadTooLarge(
                f"one turn cannot ask for {len(commands) + 1:,} things of {sized:,} bytes together "
                f"(the last one is {_named(what, name)}): the limit is "
                f"{self._settings.turn_bytes_max:,} (turn_bytes_max). Await a part of them before "
                "asking for the rest"
            )
        self._sized = sized
        commands.append(command)
        return len(commands) - 1

    def _recorded_size(self) -> int:
        return sum(_payload_bytes(each) + _COMMAND_BYTES for each in self.recorded)

    def add_identified(self, command: Identified, size: int, what: str, name: str = "") -> int:
        """Add a command and give it the next id of the run."""
        index = self.add(command, size, what, name)
        self.last_id = command.id = self.last_id + 1
        return index

    def end(self, command: Command) -> None:
        """Add the command that ends the run. There is always room for it in the record."""
        self._commands.append(command)

    def cancel_activity(self, id: int, turn: int, index: int, line: str) -> None:
        if turn == self.turn:
            self._elide(index, ScheduleActivity)
        elif id not in self.arrived:
            self.add(CancelActivity(id, line), 0, "a cancellation")

    def cancel_timer(self, handle: TimerHandle, line: str) -> None:
        if handle.turn == self.turn:
            self._elide(handle.index, StartTimer)
        elif handle.id not in self.arrived and not self._loop.dropped:
            self.add(CancelTimer(handle.id, line), 0, "a cancellation")

    def _elide(self, index: int, kind: type[Command]) -> None:
        command = self._commands[index]
        assert isinstance(command, kind), f"command {index} is {command}"
        size = len(command.arguments or b"") if isinstance(command, ScheduleActivity) else 0
        self._sized -= size + _COMMAND_BYTES
        self._commands[index] = None
        self.elided = True

    def _refuse(self, what: str) -> None:
        if self._loop.dropped:
            # The coroutine is being unwound, not run: its clean-up must not go any further.
            self._loop.unwind()
            return
        raise RuntimeError(f"{self.refusal} asked for {what}; it may only read and compute")


def _named(what: str, name: str) -> str:
    return f"{what} {name!r}" if name else what


def _payload_bytes(event: Event) -> int:
    """Return the size of what the code gave to an event that it asked for; 0 for a fact."""
    return sum(len(getattr(event, name) or b"") for name in _GIVEN.get(type(event), ()))


_GIVEN: Final = {**PAYLOADS, events.SideEffectRecorded: ("value",)}
