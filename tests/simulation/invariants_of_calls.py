"""What must hold of calls between workflows after every story."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from processor.core.data.cause import CallRequest
from processor.core.nouns.awaited import AnswerAwaited, AnswerNotAwaited
from processor.core.nouns.call import AnswerCall, CallAnswered, CallGivenUp, CallSent
from processor.core.nouns.run import (
    Closing,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowTerminated,
)
from processor.core.nouns.stop import OutputSet
from processor.core.nouns.update import UpdateCompleted
from processor.core.nouns.value import ValueSet
from processor.core.records.answers import (
    Accepted,
    CallOutcome,
    Closed,
    Refused,
    UpdateEnded,
    ValueIs,
)
from processor.core.records.effects import Effect, Message
from processor.core.records.marks import Answered, Mark

from .checked import Checked
from .reading import Reading
from .story import Story

__all__ = ("check_calls", "check_in_vain", "check_later")

Which = tuple[str, int]
"""The run that called, and the number of its call."""


def check_calls(
    checked: Checked, readings: list[Reading], refused: Mapping[Which, Refused]
) -> None:
    """Each call is taken once, or refused once, and its caller hears just that, once.

    ``refused`` are calls that could not cross the border.
    """
    sent: dict[Which, CallSent] = {}
    heard: dict[Which, list[CallOutcome]] = {}
    ended: set[str] = set()
    given_up: set[Which] = set()
    for reading in readings:
        for _, turn, _ in reading.turns:
            for event in turn.events:
                if isinstance(event, CallSent):
                    sent[turn.run_id, event.id] = event
                elif isinstance(event, CallAnswered):
                    heard.setdefault((turn.run_id, event.id), []).append(event.outcome)
                elif isinstance(event, CallGivenUp):
                    given_up.add((turn.run_id, event.id))
                elif isinstance(event, Closing):
                    ended.add(turn.run_id)
    told = [*_told(readings), *refused.items()]
    counts = Counter(which for which, _ in told)
    told = [(which, outcome) for which, outcome in told if outcome is not None]
    for which, call in sent.items():
        checked.that("a call counts once", counts[which] == 1, which, call, told)
        outcomes = heard.get(which, [])
        due = [outcome for each, outcome in told if each == which]
        waits = which not in given_up and which[0] not in ended
        is_told = outcomes == due or (not outcomes and not waits)
        checked.that("a caller hears what its call came to", is_told, which, outcomes, due)
    checked.that("no answer comes from nowhere", heard.keys() <= sent.keys(), heard, sent)


def check_in_vain(checked: Checked, story: Story, readings: list[Reading]) -> None:
    """What was refused while nobody waited for the answer leaves one dead letter.

    As others, it is sent again where nobody knows whether it was sent. What a purged run has sent
    nobody knows any more: the letter has the answer instead.
    """
    letters = Counter(letter.key for letter in set(story.world.broker.dead_letters))
    for reading in readings:
        purged = reading.purged
        for _, turn, _ in reading.turns:
            for event in turn.events if turn.run_id not in purged else ():
                if isinstance(event, CallSent) and event.to.workflow_id.startswith("vain-"):
                    key = event.to.workflow_id.encode()
                    checked.that("what nobody heard of is kept", letters[key] == 1, event, letters)


def check_later(checked: Checked, story: Story, readings: list[Reading]) -> None:
    """A call that only a later release can read is refused once, so that its caller hears of it."""
    told = Counter(
        (record.cause.origin, getattr(record.answer, "error", None))
        for reading in readings
        for _, _, record, _ in reading.records
        if isinstance(record, Answered) and isinstance(record.cause, CallRequest)
    )
    for origin in story.chaos.later_calls:
        refused = told[origin, "TooNew"] == 1
        checked.that("a call of a later release is refused", refused, origin, told)


def _told(readings: list[Reading]) -> list[tuple[Which, CallOutcome | None]]:
    """Return what each call came to where it was sent to; None where nobody waits any more."""
    found: list[tuple[Which, CallOutcome | None]] = []
    for reading in readings:
        firsts = {turn.run_id: turn.run_id for _, turn, _ in reading.turns}
        for run_id, turns in reading.runs.items():
            start = turns[0].turn.events[0]
            lineage = getattr(start, "lineage", None)
            if lineage is not None:
                firsts[run_id] = lineage.first_run_id or run_id
        for _, _, record, _ in reading.records:
            if isinstance(record, Mark) or not isinstance(record.cause, CallRequest):
                continue
            which = record.cause.caller.run_id, record.cause.caller.call
            if isinstance(record, Answered):
                found.append((which, record.answer))
            elif waits := [each for each in record.events[:2] if isinstance(each, AnswerAwaited)]:
                found.append((which, _later(reading, record.run_id, waits[0])))
            else:
                first = firsts[record.run_id]
                first_run_id = None if first == record.run_id else first
                found.append((which, Accepted(record.run_id, True, first_run_id)))
    return found


def _later(reading: Reading, run_id: str, waits: AnswerAwaited) -> CallOutcome | None:
    """Return what a run comes to that another one waits for; None where that waits no more.

    What is refused at the end is told by the run that ends: the text is no matter of the model.
    """
    began, output = False, None
    for _, turn, effects in reading.runs[run_id]:
        for number, event in enumerate(turn.events, turn.first):
            if event == waits:
                began = True
            elif not began:
                continue
            match event:
                case AnswerNotAwaited(caller) if caller == waits.caller:
                    return None
                case ValueSet(name, value) if (waits.kind, waits.name) == ("value", name):
                    return ValueIs(run_id, number, value)
                case UpdateCompleted(id, result, failure) if (waits.kind, waits.name) == (
                    "update",
                    id,
                ):
                    return UpdateEnded(run_id, id, result, failure)
                case OutputSet(given):
                    output = given
                case Closing():
                    return _at_the_end(event, run_id, waits, effects, output)
    return None


def _at_the_end(
    event: Closing,
    run_id: str,
    waits: AnswerAwaited,
    effects: list[Effect],
    output: bytes | None,
) -> CallOutcome | None:
    following = event.successor if not isinstance(event, WorkflowTerminated) else None
    if waits.kind != "update" and following is not None:
        return Closed(run_id, "continued", reason=following.run_id)
    if waits.kind == "result":
        status = event.ends_as.value
        if isinstance(event, WorkflowCompleted):
            return Closed(run_id, status, event.result)
        if isinstance(event, WorkflowFailed):
            return Closed(run_id, status, failure=event.failure)
        return Closed(run_id, status, output, reason=getattr(event, "reason", None))
    lost = "UpdateUnfinished" if waits.kind == "update" else "ValueNotSet"
    for effect in effects:
        body = effect.body if isinstance(effect, Message) else None
        if isinstance(body, AnswerCall) and body.call == waits.caller.call:
            if isinstance(body.outcome, Refused) and body.outcome.error == lost:
                if body.run_id == waits.caller.run_id:
                    return body.outcome
    return None
