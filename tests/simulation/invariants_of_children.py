"""What must hold of parents and their children after every story."""

from __future__ import annotations

from collections.abc import Mapping

from processor.core.data.cause import CallRequest, Origin
from processor.core.event import Event
from processor.core.nouns.child import (
    ChildCalled,
    ChildCancelRequested,
    ChildEnded,
    ChildrenSpared,
    ChildStarted,
)
from processor.core.nouns.run import (
    Closing,
    WorkflowStarted,
    WorkflowTerminated,
)
from processor.core.records.answers import Closed, Refused
from processor.core.records.marks import Answered, Mark
from processor.core.records.turn import Turn

from .checked import Checked
from .reading import Reading

__all__ = ("check_children",)

Which = tuple[str, int]
"""The run that called, and the number of its call."""


class _Family:
    """All runs by their ids, and of children the runs of each chain by the call that made it.

    ``goes_on``: whether a run, or its chain, has more than its first turn. ``ended_at``: the shard
    and the place of its last one; ``last``: what stands in it. ``taken`` has the instances that
    took a message, and where its record is.
    """

    def __init__(self, readings: list[Reading], refused: Mapping[tuple[str, int], Refused]) -> None:
        self.events: dict[str, list[Event]] = {}
        self.goes_on: dict[str, bool] = {}
        self.ended_at: dict[str, tuple[int, int]] = {}
        self.last: dict[str, tuple[Event, ...]] = {}
        self.taken: set[tuple[str, int, int]] = set()
        self.called: dict[Which, ChildCalled] = {}
        self.chains: dict[Which, list[str]] = {}
        self.refused = {which: [told] for which, told in refused.items()}
        for reading in readings:
            for offset, turn, _ in reading.turns:
                self.events.setdefault(turn.run_id, []).extend(turn.events)
                end = turn.events[-1]
                over = isinstance(end, Closing) and end.successor is None
                self.goes_on.setdefault(turn.run_id, not over)
                self.ended_at[turn.run_id] = reading.partition, offset
                self.last[turn.run_id] = turn.events
            for _, _, record, _ in reading.records:
                cause = None if isinstance(record, Mark) else record.cause
                if isinstance(cause, Origin) and isinstance(record, Answered | Turn):
                    self.taken.add((record.workflow_id, cause.shard, cause.offset))
                if not isinstance(record, Answered):
                    continue
                if isinstance(cause, CallRequest) and isinstance(record.answer, Refused):
                    which = cause.caller.run_id, cause.caller.call
                    self.refused.setdefault(which, []).append(record.answer)
        for run_id, events in self.events.items():
            start = events[0]
            caller = start.caller if isinstance(start, WorkflowStarted) else None
            if caller is not None:
                self.chains.setdefault((caller.run_id, caller.call), []).append(run_id)
            for event in events:
                if isinstance(event, ChildCalled):
                    self.called[run_id, event.id] = event

    def end(self, run_ids: list[str]) -> Event | None:
        """Return the end of a chain; None while it goes on."""
        last = self.events[run_ids[-1]][-1]
        return last if isinstance(last, Closing) else None

    def firsts(self, run_ids: list[str]) -> int:
        """Return how many of these runs follow no other one."""
        starts = (self.events[run_id][0] for run_id in run_ids)
        return sum(isinstance(each, WorkflowStarted) and _follows_none(each) for each in starts)


def check_children(
    checked: Checked, readings: list[Reading], refused: Mapping[tuple[str, int], Refused]
) -> None:
    """Each child begins once, or is refused once; its parent hears its end, or ends it.

    ``refused`` are calls that could not cross the border.
    """
    family = _Family(readings, refused)
    for which, called in family.called.items():
        chain, told = family.chains.get(which, []), family.refused.get(which, [])
        chain.sort(key=lambda run_id: _attempt(family.events[run_id][0]))
        once = family.firsts(chain) + len(told) == 1
        checked.that("a child begins once", once, which, called, chain, told)
        due = told[0] if told else _told(family, chain)
        events = family.events[which[0]]
        heard = [e.outcome for e in events if isinstance(e, ChildEnded) and e.id == which[1]]
        over = isinstance(events[-1], Closing)
        right = heard == ([] if due is None else [due]) or (not heard and over)
        checked.that("a parent hears how its child ended", right, which, heard, due)
        begins = [e for e in events if isinstance(e, ChildStarted) and e.call == which[1]]
        goes_on = bool(chain) and family.goes_on[chain[0]] and called.start.tells_start
        hears = len(begins) == goes_on or (over and not begins and not heard)
        checked.that("who asks for the begin hears it once", hears, which, begins)
        if over and not heard and not any(isinstance(e, ChildrenSpared) for e in events):
            reached = (called.to.workflow_id, *family.ended_at[which[0]]) in family.taken
            last = family.last[which[0]]
            stopped = any(isinstance(e, ChildCancelRequested) and e.id == which[1] for e in last)
            meant = reached is (stopped or called.parent_close != "abandon")
            checked.that("the end of a parent reaches its children", meant, which, called)
    strange = family.chains.keys() - family.called.keys()
    checked.that("no child comes from nowhere", not strange, strange)
    for which, chain in family.chains.items():
        ends = [family.events[run_id][-1] for run_id in chain]
        by_parent = any(isinstance(e, WorkflowTerminated) and _is_of_parent(e.reason) for e in ends)
        meant = not by_parent or family.called[which].parent_close == "terminate"
        checked.that("a parent ends what it may end", meant, which, ends)


def _told(family: _Family, chain: list[str]) -> Closed | None:
    """Return what the end of a chain is to its parent."""
    end = family.end(chain) if chain else None
    if end is None:
        return None
    assert isinstance(end, Closing), f"{end} ends a chain"
    return Closed(
        chain[-1],
        end.ends_as.value,
        getattr(end, "result", None),
        getattr(end, "failure", None),
        getattr(end, "reason", None),
        getattr(end, "headers", ()),
    )


def _attempt(start: Event) -> int:
    lineage = start.lineage if isinstance(start, WorkflowStarted) else None
    return 1 if lineage is None else lineage.attempt


def _follows_none(start: WorkflowStarted) -> bool:
    return start.lineage is None or start.lineage.previous_run_id is None


def _is_of_parent(reason: str) -> bool:
    return reason.startswith("its parent, run ")
