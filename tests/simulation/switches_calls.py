"""Protections of calls and of chains, switched off one by one."""

from __future__ import annotations

from typing import Any

import pytest

from processor.codec.records import Envelope
from processor.core import draft
from processor.core.data.cause import CallRequest
from processor.core.nouns.awaited import AnswerAwaited, Callers
from processor.core.nouns.call import AnswerCall, answer_to, taken
from processor.core.nouns.run import accepted
from processor.core.nouns.value import AttributesSet, MemoSet
from processor.core.records import marks
from processor.shard import reads
from processor.shard.dedup import Requests
from processor.shard.recovery import states
from processor.shard.turns import writer
from processor.shard.turns.asking import Asking
from processor.shard.turns.deciding import Deciding
from processor.workflow._engine import runner

__all__: tuple[str, ...] = ()


def calls_not_owed(patch: pytest.MonkeyPatch) -> None:
    """Let an answer to a call that was taken go with the process that owed it."""
    patch.setattr(states, "taken", lambda *args: ())


def refused_calls_not_answered(patch: pytest.MonkeyPatch) -> None:
    """Write down that a call was refused, and tell nobody."""
    patch.setattr(marks, "answer_to", lambda *args: ())


def taken_calls_not_answered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(writer, "taken", lambda *args: ())
    patch.setattr(states, "taken", lambda *args: ())


def callers_not_told(patch: pytest.MonkeyPatch) -> None:
    """Let runs wait for values and updates that are there by now."""
    patch.setattr(Callers, "tell", lambda self, kind, name, outcome: [])


def callers_left_behind(patch: pytest.MonkeyPatch) -> None:
    """End a run, and leave those alone who wait for it."""
    patch.setattr(Callers, "leave", lambda self, end: iter(()))


def told_too_early(patch: pytest.MonkeyPatch) -> None:
    """Tell a run that its question was taken, where it waits for the answer."""

    def taken_at_once(cause: Any, run: Any, events: Any) -> Any:
        if isinstance(cause, CallRequest) and isinstance(events[0], AnswerAwaited):
            return answer_to(cause, accepted(run))
        return taken(cause, run, events)

    patch.setattr(writer, "taken", taken_at_once)
    patch.setattr(states, "taken", taken_at_once)


def answers_overtaken(patch: pytest.MonkeyPatch) -> None:
    """Go on with the inputs behind a question that waits for the tables."""

    def later(self: Any, command: Any, body: Any, offset: int, positions: Any) -> None:
        self._flight.then(lambda: self._answer(command, body, offset, positions))

    patch.setattr(Asking, "_later", later)


def late_refusals_dropped(patch: pytest.MonkeyPatch) -> None:
    """Let what nobody waits to hear of go without a trace."""
    patch.setattr(AnswerCall, "_unheard", lambda self, workflow_id, why: None)


def later_calls_not_answered(patch: pytest.MonkeyPatch) -> None:
    """Bury a call that only a later release can read, and tell nobody."""
    patch.setattr(Envelope, "is_call", False)


def calls_not_counted(patch: pytest.MonkeyPatch) -> None:
    """Forget where a call came from, so that it counts as often as it comes."""
    take = Requests.take

    def take_others(self: Requests, record: Any, offset: int) -> None:
        if not isinstance(getattr(record, "cause", None), CallRequest):
            take(self, record, offset)

    patch.setattr(Requests, "take", take_others)


def memos_dropped(patch: pytest.MonkeyPatch) -> None:
    """Let the next run have the memo of the first one's start."""
    patch.setattr(MemoSet, "apply", lambda self, run, now_ms: None)


def attributes_dropped(patch: pytest.MonkeyPatch) -> None:
    """Let the next run have the search attributes of the first one's start."""
    patch.setattr(AttributesSet, "apply", lambda self, run, now_ms: None)


def unread_events_dropped(patch: pytest.MonkeyPatch) -> None:
    """Let the events that a failed run has not taken go with it."""
    next_attempt = draft.next_attempt
    patch.setattr(
        draft,
        "next_attempt",
        lambda run, failed, to: next_attempt(run, failed, to._replace(unread=())),
    )


def unread_events_of_a_run_that_goes_on_dropped(patch: pytest.MonkeyPatch) -> None:
    """Let the events go that a run has not taken which goes on as another one."""
    continued = draft.continued
    patch.setattr(
        draft,
        "continued",
        lambda run, asked, to, at_once: continued(
            run, asked, to._replace(unread=()), at_once=at_once
        ),
    )


def next_time_left_out(patch: pytest.MonkeyPatch) -> None:
    """Let a chain that begins runs by the clock end with its first one."""
    patch.setattr(draft, "next_by_cron", lambda *args: None)


def events_after_the_end_dropped(patch: pytest.MonkeyPatch) -> None:
    """Let those events go that the activation which ends a run did not come to."""
    patch.setattr(runner, "events_after", lambda facts, last: [])


def next_attempt_left_out(patch: pytest.MonkeyPatch) -> None:
    """End a run that is to be tried again, and leave the next one to whoever finds out."""

    patch.setattr(Deciding, "follow", lambda self, closing: None)


def chains_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    """Tell who waits for the end of a chain of the end of a run."""
    patch.setattr(reads, "goes_on", lambda status: False)
