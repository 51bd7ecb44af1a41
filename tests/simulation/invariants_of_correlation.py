"""What must hold of business keys after every story: one holder, and each event once, in order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import msgspec

from processor.core.event import Event
from processor.core.nouns.call import CallAnswered
from processor.core.nouns.chain import external_events
from processor.core.nouns.external import EventReceived, EventRejected
from processor.core.nouns.run import WorkflowStarted
from processor.core.nouns.update import UpdateAccepted, UpdateCompleted
from processor.core.records.answers import Accepted, Closed
from processor.policy import Status

from .checked import Checked
from .reading import Reading
from .shipments import KEY_ID

__all__ = ("check_correlation",)


def check_correlation(checked: Checked, readings: list[Reading]) -> None:
    """A key has one holder; what it was told is given once and in order, or told lost.

    That a key is free in the end is said by its run, which has an end as all runs have.
    """
    came: list[int] = []
    lost: list[int] = []
    given: dict[str, list[int]] = defaultdict(list)
    for reading in readings:
        runs = [[turn for _, turn, _ in turns] for turns in reading.runs.values()]
        own = [turns for turns in runs if turns[0].workflow_id == KEY_ID]
        for turns in runs:
            if turns[0].workflow_id.startswith("shipment-"):
                started = turns[0].events[0]
                assert isinstance(started, WorkflowStarted), f"{started} begins a run"
                lineage = started.lineage
                chain = (lineage and lineage.first_run_id) or turns[0].run_id
                events = [event for turn in turns for event in turn.events]
                items = [each for each in events if isinstance(each, EventReceived)]
                given[chain] += [_value(each.payload) for each in items if each.name == "item"]
        for turns in own:
            for event in _told(turns):
                if isinstance(event, EventReceived) and event.name == "deliver":
                    came.append(_value(event.payload)[1])
                elif isinstance(event, EventRejected):
                    lost.append(_value(event.payload))
        if own:
            _check_holders(checked, [event for turns in own for event in _told(turns)])
    got = [number for each in given.values() for number in each]
    once = Counter(came) == Counter(got) + Counter(lost)
    checked.that("an event of a key is given once, or told lost", once, came, given, lost)
    firsts = sorted(filter(None, given.values()))
    in_order = [number for each in firsts for number in each] == sorted(got)
    checked.that("events of a key are given in order", in_order, given)


def _told(turns: list[Any]) -> Iterator[Event]:
    """Yield the events of a run of the key, also those that it began with, but not twice."""
    started = turns[0].events[0]
    lineage = started.lineage
    if lineage is None or lineage.previous_run_id is None:
        yield from external_events((started,))
        for each in () if lineage is None or lineage.carried is None else lineage.carried.updates:
            if not each.over:
                yield UpdateAccepted(each.id, each.name, each.payload, False)
    for turn in turns:
        yield from turn.events


def _check_holders(checked: Checked, events: list[Event]) -> None:
    """Nobody gets the key while another one has it. The end of a holder is an answer."""
    holder, claims = "", dict[str, str]()
    for event in events:
        match event:
            case UpdateAccepted(id, "claim", payload):
                claims[id] = _value(payload)[2]
            case UpdateCompleted(id, None, None) if id in claims:
                free = holder in ("", claims[id])
                checked.that("a key has one holder", free, holder, claims[id])
                holder = claims[id]
            case EventReceived("withdraw", payload) if _chain(payload) == holder:
                holder = ""
            case CallAnswered(_, Closed(status=status)) if status != Status.CONTINUED:
                holder = ""
            case CallAnswered(_, outcome) if not isinstance(outcome, Accepted | Closed):
                holder = ""
            case _:
                pass


def _chain(payload: bytes | None) -> Any:
    """Return who gives a key back: a chain, or one claim of a chain, which asks once at a time."""
    told = _value(payload)
    return told[0] if isinstance(told, list) else told


def _value(payload: bytes | None) -> Any:
    return None if payload is None else msgspec.json.decode(payload)
