"""Updates: what a run is asked to do by a handler of its code, whose outcome whoever asked gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from processor.checks import ID_BYTES_MAX
from processor.core.data.bounds import DURATION_MS_MAX, check_range, check_text, size_of
from processor.core.data.failure import Failure
from processor.core.data.fields import OnlyChain, OnlyRun
from processor.core.data.frozen import frozen
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.entity_id import is_entity_id
from processor.core.event import Decision, Drafting, Fact
from processor.core.nouns.lineage import UpdateOutcome
from processor.core.nouns.run import Run, Summary
from processor.core.operation import OperationOnRun, Question
from processor.core.records.answers import Refused, ReplyBody, UpdateEnded
from processor.core.records.effects import Effect, RunResult
from processor.errors import CommandRejected, SchemaMismatch, UpdateRejected
from processor.policy import Status

__all__ = (
    "CARRIED_BYTES",
    "AwaitUpdate",
    "OperationEnded",
    "UpdateAccepted",
    "UpdateCompleted",
    "UpdateOver",
    "UpdateRun",
    "Updates",
    "outcome_of",
    "unfinished",
    "used_before",
)

_KEPT: Final = 1_000
_KEPT_BYTES: Final = 1_000_000
"""So many outcomes of a run are known at once. The newest one always is."""

_ACCEPTED_BYTES: Final = 20
"""What an update takes beside its id, its name, its arguments and its headers."""

CARRIED_BYTES: Final = 100_000
"""The next run of a chain is told the newest ones that fit into so many bytes, beside its keys."""


@dataclass
class Updates(Run):
    """``updates``: those that run and the outcomes that are known, by their ids, the oldest first.

    ``updates_running`` counts the former.
    """

    updates: dict[str, UpdateOutcome] = field(default_factory=dict)
    updates_running: int = 0
    _outcome_bytes: int = 0

    def carry_updates(self, updates: Sequence[UpdateOutcome]) -> None:
        for update in updates:
            if update.over:
                self.know(update)
            else:
                self.begin_update(update)

    def begin_update(self, update: UpdateOutcome) -> None:
        assert update.id not in self.updates, f"update {update.id!r} is accepted once"
        known = update if update.payload is None else replace(update, payload=None)
        self.updates[update.id] = known
        self.updates_running += 1

    def know(self, update: UpdateOutcome) -> None:
        """Note an outcome, and forget the oldest ones."""
        assert update.over, f"update {update.id!r} runs"
        known = self.updates
        if known.pop(update.id, None) is not None:
            self.updates_running -= 1
        known[update.id] = update
        self._outcome_bytes += update.size
        while len(known) - self.updates_running > _KEPT or self._outcome_bytes > _KEPT_BYTES:
            oldest = next(each for each in known.values() if each.over)
            if oldest is update:
                break
            del known[oldest.id]
            self._outcome_bytes -= oldest.size

    def newest_outcomes(self, bytes_max: int) -> tuple[UpdateOutcome, ...]:
        """Return so many outcomes as fit, in order."""
        found: list[UpdateOutcome] = []
        left = bytes_max
        for update in reversed(self.updates.values()):
            left -= update.size
            if left < 0:
                break
            if update.over:
                found.append(update)
        return tuple(reversed(found))


def outcome_of(run: Updates, id: str) -> UpdateEnded | Refused | None:
    """Return what became of an update that the run knows; None while it runs."""
    update = run.updates[id]
    if update.over:
        return UpdateEnded(run.run_id, id, update.result, update.failure)
    return None if run.closed_ms is None else unfinished(run, id)


def unfinished(run: Run | Summary | RunResult, id: str) -> Refused:
    """Return what whoever waits for an update is told when its run ends without an outcome."""
    which = f"run {run.run_id} of {run.workflow_id!r}"
    why = f"{which} is {Status(run.status).value}, and the handler of update {id!r} had not ended"
    return Refused("UpdateUnfinished", why)


def used_before(run: Run | Summary, id: str, before: str, now: str | None) -> Refused | None:
    """Return what whoever gives an update the id of another one is told.

    ``now`` is the name of the update, None where nobody says which one it is.
    """
    if now in (None, before):
        return None
    which = f"the id {id!r} is that of update {before!r} of run {run.run_id} of"
    why = f"{which} {run.workflow_id!r}, and cannot be that of {now!r}"
    return Refused("KeyReused", f"{why}: give each update an id of its own")


@frozen
class OperationEnded:
    """An operation of an entity that has ended."""

    name: str
    """Name of the operation."""
    id: str
    """Id of the call; empty for a signal."""
    ended_ms: int
    """When it ended, in milliseconds since the epoch."""
    arguments: bytes | None = None
    """Encoded list of arguments; of a signal its encoded value."""
    result: bytes | None = None
    """Encoded return value."""
    failure: Failure | None = None
    """Why it failed, without details; None: it did not."""
    bytes_left_out: int = 0
    """Bytes of arguments and result that are left out, because they are too long to be kept."""

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return size_of(self)


# --- events -----------------------------------------------------------------------------------


@frozen
class UpdateAccepted(Fact):
    """An update arrived that a handler of the code takes."""

    id: str
    """Id of the update: one that is known counts no more."""
    name: str
    """Name of its handler."""
    arguments: bytes | None
    """Encoded list of arguments."""
    validated: bool
    """Whether its validator has let it pass; otherwise the validator is asked when the handler
    begins.
    """
    headers: Headers = NO_HEADERS

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        size = len(self.id) + len(self.name) + len(self.arguments or b"") + _ACCEPTED_BYTES
        return size + size_of(self.headers) if self.headers else size

    def apply(self, run: Updates, now_ms: int) -> None:
        run.begin_update(UpdateOutcome(self.id, self.name, None, over=False))


@frozen
class UpdateOver(Effect):
    """Whoever waits for this update is told its outcome."""

    outcome: UpdateEnded


@frozen
class UpdateCompleted(Decision):
    """The handler of an update has ended."""

    id: str
    """Id of the update."""
    result: bytes | None = None
    """Encoded return value; None where it has none, or failed."""
    failure: Failure | None = None
    """Why it failed, or why its validator refused it."""
    headers: Headers = NO_HEADERS

    identity = ("id",)
    payloads = ("result",)

    def apply(self, run: Updates, now_ms: int) -> None:
        assert not run.updates[self.id].over, f"update {self.id!r} has one outcome"
        name = run.updates[self.id].name
        run.know(UpdateOutcome(self.id, name, None, True, self.result, self.failure))
        run.have_heard("update", self.id)

    def effects(self, run: Updates, now_ms: int) -> Sequence[Effect]:
        told = UpdateEnded(run.run_id, self.id, self.result, self.failure)
        return (UpdateOver(told), *run.tell("update", self.id, told))


# --- what may be asked ------------------------------------------------------------------------


@frozen
class UpdateRun(OperationOnRun):
    """Let a handler of a run's code do something, and tell whoever asks its outcome."""

    id: str
    """Id of the update: text of the sender's. One that the run knows is not begun again."""
    name: str
    """Name of the handler."""
    arguments: bytes | None = None
    """Encoded list of arguments."""
    run_id: OnlyRun = None
    first_run_id: OnlyChain = None
    headers: Headers = NO_HEADERS
    outcome_within_ms: int | None = None
    """Reply with the outcome if there is one within so many milliseconds; None: reply when it is
    accepted.
    """

    word = "update"
    not_by_hand = ("outcome_within_ms",)

    def check(self) -> None:
        check_text("id of the update", self.id, ID_BYTES_MAX)
        check_text("name of the update", self.name, ID_BYTES_MAX)
        check_range("outcome_within_ms", self.outcome_within_ms, 0, DURATION_MS_MAX)

    @property
    def asks_for(self) -> str:
        return self.name

    def decide(self, draft: Drafting, latest: Summary) -> ReplyBody | None:
        run: Updates = draft.run
        if self.id in run.updates:
            refused = used_before(run, self.id, run.updates[self.id].name, self.name)
            if refused is not None:
                return refused
            if draft.caller is None:
                return latest.accepted(created=False)
            return outcome_of(run, self.id) or draft.let_wait("update", self.id)
        which = f"run {run.run_id} of {run.workflow_id!r}"
        most, waits_in_line = draft.updates_max, is_entity_id(run.workflow_id)
        if run.updates_running >= most and not waits_in_line:
            return Refused(
                "CommandRejected",
                f"{which} runs {most} updates already (updates_running_max), so update "
                f"{self.name!r} was not taken: send it again when one of them has ended",
            )
        if run.parked is not None:
            return Refused(
                "CommandRejected",
                f"{which} is parked, so update {self.name!r} was not taken: send it again when the "
                "run goes on",
            )
        try:
            validated = draft.validated(self.name, self.arguments)
        except (CommandRejected, SchemaMismatch, UpdateRejected) as error:
            return Refused(type(error).__name__, f"update {self.name!r} of {which}: {error}")
        accepted = self.taken(validated)
        bound = self.bound(draft, accepted) if waits_in_line else ""
        if bound:
            why = f"entity {run.workflow_id!r} has {bound}, so {self.name!r} was not taken"
            return Refused("CommandRejected", f"{why}: call it again when some have ended")
        refused = draft.let_wait("update", self.id)
        if refused is None:
            draft.advance(accepted)
        return refused

    def taken(self, validated: bool) -> UpdateAccepted:
        """Return the event by which it waits for its handler."""
        return UpdateAccepted(self.id, self.name, self.arguments, validated, self.headers)

    def bound(self, draft: Drafting, accepted: UpdateAccepted) -> str:
        """Return which bound keeps it from waiting in line; "" where none does."""
        return draft.full(accepted)

    def when_closed(self, latest: Summary) -> ReplyBody:
        return Refused(
            "CommandRejected",
            f"run {latest.run_id} of {latest.workflow_id!r} is {latest.status.value}: update "
            f"{self.name!r} was not taken",
        )

    def awaits(self, run: Updates, told: ReplyBody | None) -> ReplyBody | AwaitUpdate | None:
        """Return what its sender is told after the turn that took it, or waits for."""
        if self.outcome_within_ms is None or told is not None:
            return told
        outcome = outcome_of(run, self.id)
        return outcome or AwaitUpdate(self.id, run.run_id, None, self.outcome_within_ms)


@frozen
class AwaitUpdate(Question):
    """Reply with the outcome of an update that a run has accepted, once there is one."""

    id: str
    """Id of the update."""
    run_id: OnlyRun = None
    first_run_id: OnlyChain = None
    timeout_ms: int = 30_000
    """After how many milliseconds the shard forgets the waiter."""
    name: str | None = None
    """Only if it is an update of this handler, else it is refused; None: whichever it is."""

    word = "update_result"

    def check(self) -> None:
        check_text("id of the update", self.id, ID_BYTES_MAX)
        if self.name is not None:
            check_text("name of the update", self.name, ID_BYTES_MAX)
        check_range("timeout_ms", self.timeout_ms, 0, DURATION_MS_MAX)
