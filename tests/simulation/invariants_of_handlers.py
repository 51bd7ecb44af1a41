"""What must hold of handlers after every story: of what they take, and of what queries tell."""

from __future__ import annotations

from typing import Any

import msgspec

from processor.core.nouns.external import EventReceived
from processor.core.nouns.run import WorkflowStarted
from processor.core.questions import QueryRun
from processor.core.records.answers import QueryAnswered
from processor.core.records.effects import Reply

from .checked import Checked
from .reading import Reading
from .story import Story

__all__ = ("check_handlers",)

Came = list[tuple[int, Any]]
"""What a chain of runs was told: the log offset, and the value as its queries tell it."""


def check_handlers(checked: Checked, story: Story, readings: list[Reading]) -> None:
    """Handlers take what came in its order; queries tell of that, once it is in the log."""
    workflows = {case.workflow_id: case.workflow for case in story.cases}
    came: dict[str, Came] = {}
    starts: dict[str, WorkflowStarted] = {}
    ids: dict[str, str] = {}
    for reading in readings:
        for offset, turn, _ in reading.turns:
            ids[turn.run_id] = turn.workflow_id
            for event in turn.events:
                if isinstance(event, WorkflowStarted):
                    starts[turn.run_id] = event
                elif isinstance(event, EventReceived):
                    value = _told_of(workflows.get(turn.workflow_id, ""), event)
                    came.setdefault(turn.workflow_id, []).extend((offset, each) for each in value)
    for case in story.cases:
        if case.workflow == "gathers":
            taken = [value for _, value in came.get(case.workflow_id, ())]
            checked.that("handlers take what came in its order", case.result == taken, case, taken)
    for left in story.world.departures:
        if isinstance(left.effect, Reply) and isinstance(left.effect.body, QueryAnswered):
            answered, to = left.effect.body, left.effect.to
            asked = story.world.broker.asked[to.client, to.request].body
            assert isinstance(asked, QueryRun), "nothing else is answered so"
            is_there = answered.run_id in ids
            checked.that("a query is answered by a run that is there", is_there, answered)
            is_meant = _is_meant(asked, answered.run_id, starts)
            checked.that("a query is answered by the run that is meant", is_meant, asked, answered)
            known = came.get(ids[answered.run_id], [])
            _tells(checked, answered, left.confirmed_end, known, starts[answered.run_id])


def _told_of(workflow: str, event: EventReceived) -> list[Any]:
    """Return how queries of a workflow tell of an event, if they do."""
    value = msgspec.json.decode(event.payload or b"null")
    if workflow == "gathers":
        return [[event.name, value]]
    return [value] if (workflow, event.name) == ("Listener", "hear") else []


def _is_meant(asked: QueryRun, run_id: str, starts: dict[str, WorkflowStarted]) -> bool:
    lineage = starts[run_id].lineage
    first_run_id = run_id if lineage is None else lineage.first_run_id or run_id
    return asked.run_id in (None, run_id) and asked.first_run_id in (None, first_run_id)


def _tells(
    checked: Checked, answered: QueryAnswered, confirmed_end: int, came: Came, started: Any
) -> None:
    """An answer tells of what came first, and of nothing that may yet be lost."""
    told = msgspec.json.decode(answered.result or b"null")
    if started.workflow == "gathers":
        [attempt], *told = told
        own = 1 if started.lineage is None else started.lineage.attempt
        checked.that("a run answers for itself", attempt == own, answered, own)
    seen = came[: len(told)]
    in_order = told == [value for _, value in seen]
    checked.that("an answer tells what came in its order", in_order, answered, seen)
    for offset, value in seen:
        in_log = offset < confirmed_end
        checked.that("an answer tells of what is in the log", in_log, answered, value, offset)
