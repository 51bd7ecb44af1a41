"""Protections switched off: what counts once, successors, deciding that fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from processor.core import attempts
from processor.core.data.cause import Cause, Origin
from processor.core.data.options import ActivityOptions
from processor.core.data.run_id import run_id_of
from processor.core.draft import Draft, Outcome
from processor.core.nouns.activity import OpenActivity
from processor.core.nouns.run import Summary
from processor.core.records.effects import Reply
from processor.shard.dedup import Requests, _Window
from processor.shard.eager import Eager
from processor.shard.flight import Flight
from processor.shard.intake import commands
from processor.shard.loop import Shard
from processor.shard.recovery.fold import Fold
from processor.shard.recovery.takeover import Takeover
from processor.shard.turns import deciding
from processor.shard.turns.cache import Cache
from processor.shard.turns.deciding import Deciding
from processor.shard.turns.writer import Writer

# --- each counts once -------------------------------------------------------------------------


def no_deduplication(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Requests, "standing", lambda self, cause, again: "new")


def origins_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Do not tell the next owner which messages of other shards have arrived."""
    reached = Fold._reached

    def forget(self: Fold, offset: int, entry: Any) -> None:
        if isinstance(getattr(entry, "cause", None), Origin):
            entry = replace(entry, cause=None)
        reached(self, offset, entry)

    patch.setattr(Fold, "_reached", forget)


def logs_confused(patch: pytest.MonkeyPatch) -> None:
    """Take the messages of another namespace for those of our own shard of that number."""
    standing, note = Requests.standing, Requests._note

    def ours(cause: Cause | None) -> Cause | None:
        return replace(cause, log=b"") if isinstance(cause, Origin) else cause

    patch.setattr(
        Requests,
        "standing",
        lambda self, cause, again: standing(self, ours(cause), again=again),
    )
    patch.setattr(
        Requests,
        "_note",
        lambda self, cause, time_ms, offset: note(self, ours(cause), time_ms, offset),
    )


def requests_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Take a request again that a client sent twice."""
    patch.setattr(Requests, "_note_client", lambda self, request, time_ms, offset: None)


def names_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Take a request again to which a stranger gave an id."""
    standing = Requests.standing

    def without_names(self: Requests, cause: Cause | None, *, again: bool) -> str:
        found = standing(self, cause, again=again)
        return found if isinstance(cause, Origin) or hasattr(cause, "client") else "new"

    patch.setattr(Requests, "standing", without_names)


def gaps_not_tracked(patch: pytest.MonkeyPatch) -> None:
    """Take a number below the highest one for one that has counted."""

    def above(self: _Window, number: int, *, again: bool) -> str:
        return "new" if number > self.highest and not again else "known"

    patch.setattr(_Window, "standing", above)


def again_not_heard(patch: pytest.MonkeyPatch) -> None:
    """Take a request for a new one whose client is forgotten, though it was here before."""
    standing = Requests.standing
    patch.setattr(
        Requests, "standing", lambda self, cause, again: standing(self, cause, again=False)
    )


def marks_without_windows(patch: pytest.MonkeyPatch) -> None:
    """Give up records whose requests no mark knows."""
    marked = Requests.marked
    patch.setattr(
        Requests,
        "marked",
        lambda self, mark: replace(marked(self, mark), clients=(), named=(), answers=()),
    )


def marks_without_sources(patch: pytest.MonkeyPatch) -> None:
    marked = Requests.marked
    patch.setattr(Requests, "marked", lambda self, mark: replace(marked(self, mark), sources=()))


def refusals_leave_nothing(patch: pytest.MonkeyPatch) -> None:
    """Answer what leaves no turn, and write nothing down."""

    def only_answer(self: Writer, command: Any, *args: Any, **how: Any) -> None:
        answer = args[2]
        if command.reply_to is not None:
            reply = Reply(command.reply_to, answer)
            self._flight.then(lambda: SHARDS[id(self._flight)]._ports.outbox.reply(reply))

    init = Shard.__init__

    def noted(self: Shard, *args: Any) -> None:
        init(self, *args)
        SHARDS[id(self._flight)] = self

    SHARDS.clear()
    patch.setattr(Shard, "__init__", noted)
    patch.setattr(Writer, "answer", only_answer)


SHARDS: dict[int, Shard] = {}


def run_ids_by_place(patch: pytest.MonkeyPatch) -> None:
    """Call a run after the place of its start, also where the request has a number."""
    patch.setattr(
        commands,
        "run_id_of",
        lambda log, workflow_id, cause, partition, offset: run_id_of(
            log, workflow_id, None, partition, offset
        ),
    )


def chains_not_compared(patch: pytest.MonkeyPatch) -> None:
    """Take a command that is for another chain."""
    patch.setattr(
        Summary, "is_meant", lambda self, run_id, first_run_id: run_id in (None, self.run_id)
    )


def stale_reports(patch: pytest.MonkeyPatch) -> None:
    """Believe what an earlier attempt says."""

    def attempt(instance: Any, run_id: str, id: int, attempt: int) -> OpenActivity | None:
        if instance is None or instance.state.run_id != run_id:
            return None
        found: OpenActivity | None = instance.state.activities.get(id)
        return found

    patch.setattr(attempts, "_attempt", attempt)


# --- successors, and deciding that fails ------------------------------------------------------


def successor_left_out(patch: pytest.MonkeyPatch) -> None:
    """End a run that is replaced, and leave the next one to whoever finds out."""
    decide_all = deciding.decide

    def decide_first(*args: Any) -> Outcome:
        outcome = decide_all(*args)
        del outcome.drafts[1:]
        return outcome

    patch.setattr(deciding, "decide", decide_first)
    patch.setattr(Deciding, "follow", lambda self, closing: None)


def successors_not_owed(patch: pytest.MonkeyPatch) -> None:
    """Do not begin what the owner before us owed."""
    owed = Takeover._owed
    patch.setattr(Takeover, "_owed", lambda self, folded: (owed(self, folded)[0], []))


def broken_code_goes_on(patch: pytest.MonkeyPatch) -> None:
    """Decide once more without replaying the run that failed."""
    patch.setattr(Cache, "drop", lambda self, workflow_id: None)


def slots_taken_while_deciding(patch: pytest.MonkeyPatch) -> None:
    """Take slots for what may never be written."""
    places = Draft.places

    def take(self: Draft, name: str, options: ActivityOptions) -> bool:
        eager = places(self, name, options)
        self.context.place.__self__.reserve(int(eager))  # type: ignore[attr-defined]
        return eager

    def note(self: Eager, slots: int) -> None:
        self._reserved += slots

    patch.setattr(Draft, "places", take)
    patch.setattr(Eager, "reserve", note)


def slots_lost_at_close(patch: pytest.MonkeyPatch) -> None:
    """Keep the slots of a shard that is closed: those of what has not begun, or is not decided."""

    def close(self: Eager) -> None:
        self._closed = True

    patch.setattr(Eager, "close", close)


def slots_lost_after_close(patch: pytest.MonkeyPatch) -> None:
    """Keep the slots of attempts that end when their shard is closed."""
    reported = Eager._reported

    def ended(self: Eager, report: Any) -> None:
        if not self._closed:
            reported(self, report)

    patch.setattr(Eager, "_reported", ended)


def time_outs_without_details(patch: pytest.MonkeyPatch) -> None:
    """Say of an attempt that took too long only that it did."""
    attempt_failed = attempts.failed

    def without(draft: Any, activity: Any, failure: Any, *rest: Any, **how: Any) -> None:
        attempt_failed(draft, activity, replace(failure, details=None), *rest, **how)

    patch.setattr(attempts, "failed", without)


def failed_at_once(patch: pytest.MonkeyPatch) -> None:
    """Decide once more while turns of the run are in flight that the tables do not have."""
    then = Flight.then

    def at_once(self: Flight, callback: Callable[[], None]) -> None:
        if getattr(callback, "__name__", "") == "_try_again":
            callback()
        else:
            then(self, callback)

    patch.setattr(Flight, "then", at_once)
