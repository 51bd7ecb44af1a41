"""What the code asks for in one turn: decisions in order, with their identifiers and sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

from processor.checks import MESSAGE_BYTES_MAX
from processor.config import Settings
from processor.core.data.headers import NO_HEADERS
from processor.core.data.payloads import Payloads
from processor.core.event import Decision, Event
from processor.core.nouns.chain import ERROR_BYTES, Reserved
from processor.core.nouns.value import SideEffectRecorded
from processor.core.runner import Asked
from processor.errors import PayloadCodecError, PayloadTooLarge, SchemaMismatch
from processor.workflow._engine.loop import WorkflowLoop
from processor.workflow._outbound import Outbound, size_of

__all__ = ("Decisions",)

_DECISION_BYTES = 100
"""About what a decision takes in the log beside its payload."""


class Decisions:
    """The decisions of the turn that runs, and the counter that all turns of a run share.

    A start and its cancellation within one turn cancel each other out: neither is returned.
    ``sized`` is about how many bytes they take.
    ``arrived`` are the ids that facts of this turn settle: the log has their outcome already, so
    they cannot be cancelled any more even if the code did not see it yet.
    ``recorded`` is what the turn caused, where it is replayed; None where it is live.
    ``refusal`` says why nothing may be asked for now ("" where it may), ``refused`` what was.
    ``kept`` is what the end of the run needs of its record, where another run may follow.
    ``outbound`` is what interceptors do around that which is asked for, None where there are none.
    """

    __slots__ = (
        "_asked",
        "_loop",
        "_payloads",
        "_room",
        "arrived",
        "elided",
        "kept",
        "last_id",
        "outbound",
        "recorded",
        "refusal",
        "refused",
        "settings",
        "sized",
        "turn",
    )

    def __init__(
        self, payloads: Payloads, settings: Settings, outbound: Outbound | None = None
    ) -> None:
        self._loop: WorkflowLoop
        self._payloads = payloads
        self.settings = settings
        self.outbound = outbound
        self._asked: list[Asked | None] = []
        self.sized = 0
        self._room = settings.turn_bytes_max
        self.arrived: Set[int | None] = frozenset()
        self.recorded: Sequence[Event] | None = None
        self.elided = False
        self.kept: Reserved | None = None
        self.last_id = 0
        self.refusal = self.refused = ""
        self.turn = 0

    def attach(self, loop: WorkflowLoop) -> None:
        self._loop = loop

    def keep(self, kept: Reserved) -> None:
        """Keep room for the end of the run, in this turn."""
        self.kept = kept
        self._room = min(self.settings.turn_bytes_max, kept.room)

    def left(self, kept: Reserved) -> int:
        """Return how many bytes the end of the run may have beside the texts of an error."""
        return max(kept.room - self.sized, 0)

    def check_result(self, size: int, what: str, kept: Reserved) -> None:
        """Raise where the result of the run does not fit into the record beside all else."""
        most = max(kept.room + 2 * ERROR_BYTES - self.sized, 0)
        if size > most:
            raise PayloadTooLarge(
                f"{what}: {size:,} bytes, and {most:,} are left in the record of the last turn, "
                "beside what that turn asks for. Ask for less in it, or store the value "
                "elsewhere and pass on a reference to it"
            )

    def begin(self, arrived: Set[int | None], recorded: Sequence[Event] | None) -> None:
        self.turn += 1
        self.arrived = arrived
        self.recorded = recorded
        self._asked = []
        self.sized = 0
        self.elided = False

    def take(self) -> list[Asked]:
        """Return the decisions of the turn, without those that cancelled each other out."""
        if self.elided:
            return [asked for asked in self._asked if asked is not None]
        return self._asked  # type: ignore[return-value]

    def encode(self, value: object, what: str, name: str = "", clear: bool = False) -> bytes | None:
        """Encode a value of the user's. ``what`` and ``name`` say in errors which one.

        ``clear``: as readers of other programs understand it.
        """
        loop = self._loop
        guarded = loop.guarded
        loop.guarded = False
        try:
            payload = (self._payloads.clear if clear else self._payloads).encode(value)
        except SchemaMismatch as error:
            raise SchemaMismatch(f"{_named(what, name)} cannot be encoded: {error}") from error
        except PayloadCodecError as error:
            loop.runtime.breaks(error)
            raise
        finally:
            loop.guarded = guarded
        if payload is not None and len(payload) > self.settings.payload_bytes_max:
            self.check_size(len(payload), what, name)
        return payload

    def check_size(self, size: int, what: str, name: str = "") -> None:
        limit = self.settings.payload_bytes_max
        # The limit of the time when the turn was live let through what was recorded. What it
        # refused was larger than all of that, so that it is refused again.
        if size > limit and size > max(map(_payload_bytes, self.recorded or ()), default=0):
            raise PayloadTooLarge(
                f"{_named(what, name)}: {size:,} bytes; the limit is {limit:,} "
                "(payload_bytes_max). Store the value elsewhere, in an activity, and pass a "
                "reference to it"
            )

    def check_message(self, size: int, what: str, name: str = "") -> None:
        """Raise where a message to another instance does not fit into its topic."""
        if size > MESSAGE_BYTES_MAX and self.recorded is None:
            raise PayloadTooLarge(
                f"{_named(what, name)}: {size:,} bytes; what one workflow sends another has "
                f"{MESSAGE_BYTES_MAX:,} at the most, whatever payload_bytes_max says. Store the "
                "value elsewhere, in an activity, and pass a reference to it"
            )

    def add(self, decision: Decision, line: str, size: int, what: str, name: str = "") -> int:
        """Add a decision whose payload has ``size`` bytes; return its index within the turn."""
        if self.refusal or self._loop.dropped:
            self.check(what, name)
            return 0  # the code is dropped, and catches whatever is raised in it
        asked = self._asked
        sized = self.sized + size + _DECISION_BYTES
        if sized > self._room and sized > self._recorded_size():
            limit = self.settings.turn_bytes_max
            why = "turn_bytes_max" if self._room == limit else str(self.kept)
            raise PayloadTooLarge(
                f"one turn cannot ask for {len(asked) + 1:,} things of {sized:,} bytes together "
                f"(the last one is {_named(what, name)}): the limit is {max(self._room, 0):,} "
                f"({why}). Await a part of them before asking for the rest"
            )
        self.sized = sized
        asked.append((decision, line))
        return len(asked) - 1

    def _recorded_size(self) -> int:
        return sum(_payload_bytes(each) + _DECISION_BYTES for each in self.recorded or ())

    @property
    def next_id(self) -> int:
        """The id of what the code asks for next."""
        return self.last_id + 1

    def add_identified(
        self, decision: Decision, line: str, size: int, what: str, name: str = ""
    ) -> int:
        """Add a decision that has ``next_id``."""
        index = self.add(decision, line, size, what, name)
        self.last_id += 1
        return index

    def exchange(self, index: int, decision: Decision) -> None:
        """Put a decision that has ``next_id`` where this turn has another one of its size."""
        self.check("an answer")
        asked = self._asked[index]
        assert asked is not None, f"{index} was not taken back"
        self._asked[index] = decision, asked[1]
        self.last_id += 1

    def end(self, decision: Decision, line: str = "") -> None:
        """Add the decision that ends the run. There is always room for it in the record."""
        self._asked.append((decision, line))

    def give_back(self, decision: Decision, line: str, what: str, size: int = 0) -> None:
        """Add a decision that gives back what was asked for. A turn that is full takes it, too.

        ``size`` is that of its text: see ``has_room``.
        """
        if self.refusal or self._loop.dropped:
            self.check(what)
            return
        self.sized += size + _DECISION_BYTES
        self._asked.append((decision, line))

    def has_room(self, size: int) -> bool:
        """Return whether the turn takes one more decision with a text of ``size`` bytes."""
        return self.sized + size + _DECISION_BYTES <= self._room

    def take_back(
        self,
        cancelled: Callable[[int], Decision],
        id: int,
        turn: int,
        index: int,
        line: str,
        size: int = 0,
    ) -> None:
        """Take back what was asked for in ``turn`` at ``index``, or decide that it is cancelled.

        A turn that is full takes it, too. ``size`` is that of its text.
        """
        if self.refusal or self._loop.dropped:
            self.check("a cancellation")
        elif turn == self.turn:
            self._elide(index)
        elif id not in self.arrived:
            self.give_back(cancelled(id), line, "a cancellation", size)

    def _elide(self, index: int) -> None:
        asked = self._asked[index]
        assert asked is not None, f"{index} is taken back once"
        self.sized -= _payload_bytes(asked[0]) + _DECISION_BYTES
        self._asked[index] = None
        self.elided = True

    def check(self, what: str, name: str = "") -> None:
        """Refuse to do something for code that may only read, or that is dropped."""
        if self._loop.dropped:
            # The coroutine is being unwound, not run: its clean-up must not go any further.
            self._loop.unwind()
        elif self.refusal:
            self.refused = self.refused or _named(what, name)
            raise RuntimeError(
                f"{self.refusal} asked for {_named(what, name)}; it may only read and compute"
            )


def _named(what: str, name: str) -> str:
    return f"{what} {name!r}" if name else what


def _payload_bytes(event: Event) -> int:
    """Return the size of what the code gave to an event that it asked for; 0 for a fact."""
    names = event.payloads if isinstance(event, Decision) else ()
    if isinstance(event, SideEffectRecorded):
        names = ("value",)
    size = sum(len(getattr(event, name) or b"") for name in names)
    return size + size_of(getattr(event, "headers", NO_HEADERS))
