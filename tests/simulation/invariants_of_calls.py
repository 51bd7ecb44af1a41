"""What must hold of calls between workflows after every story."""

from __future__ import annotations

from collections import Counter

from processor.core.data.cause import CallRequest
from processor.core.nouns.call import CallAnswered, CallSent
from processor.core.nouns.run import Closing
from processor.core.records.answers import Accepted, CallOutcome
from processor.core.records.marks import Answered, Mark

from .checked import Checked
from .reading import Reading
from .story import Story

__all__ = ("check_calls", "check_in_vain")

Which = tuple[str, int]
"""The run that called, and the number of its call."""


def check_calls(checked: Checked, readings: list[Reading]) -> None:
    """Each call is taken once, or refused once, and its caller hears just that, once."""
    sent: dict[Which, CallSent] = {}
    heard: dict[Which, list[CallOutcome]] = {}
    ended: set[str] = set()
    for reading in readings:
        for _, turn, _ in reading.turns:
            for event in turn.events:
                if isinstance(event, CallSent):
                    sent[turn.run_id, event.id] = event
                elif isinstance(event, CallAnswered):
                    heard.setdefault((turn.run_id, event.id), []).append(event.outcome)
                elif isinstance(event, Closing):
                    ended.add(turn.run_id)
    told = _told(readings)
    counts = Counter(which for which, _ in told)
    for which, call in sent.items():
        checked.that("a call counts once", counts[which] == 1, which, call, told)
        outcomes = heard.get(which, [])
        due = [outcome for each, outcome in told if each == which]
        is_told = outcomes == due or (not outcomes and which[0] in ended)
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


def _told(readings: list[Reading]) -> list[tuple[Which, CallOutcome]]:
    """Return what each call came to where it was sent to."""
    found: list[tuple[Which, CallOutcome]] = []
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
            else:
                first = firsts[record.run_id]
                first_run_id = None if first == record.run_id else first
                found.append((which, Accepted(record.run_id, True, first_run_id)))
    return found
