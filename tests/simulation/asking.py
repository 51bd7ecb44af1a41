"""A workflow that asks others: for results, values, queries, and updates; and what it may hear."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Final

from processor import (
    CommandRejected,
    ProcessorError,
    QueryFailed,
    UpdateFailed,
    UpdateRejected,
    ValueNotSet,
    WorkflowError,
    WorkflowNotFound,
    WorkflowTerminated,
    workflow,
)

from .cases import Case, let_stop
from .programs import Step
from .till import takes

__all__ = ("TOLD", "WORKFLOWS", "asker_case")

TOLD: Final = "told-with-its-start"
"""What an asker starts with a signal."""

_AGAIN_S: Final = 20
_TRIES: Final = 200


@dataclass
class Question:
    """What is asked of whom. ``within``: after so many seconds the code waits no more, if any."""

    kind: str
    to: str
    number: int = 0
    within: float | None = None


@workflow.define
async def asker(questions: list[Question], at_once: bool) -> list[Any]:
    if at_once:
        return list(await asyncio.gather(*map(_told, questions)))
    return [await _told(each) for each in questions]


WORKFLOWS: Final = (asker,)


async def _told(question: Question) -> Any:
    try:
        async with asyncio.timeout(question.within):
            return await _ASKS[question.kind](question)
    except TimeoutError:
        return "given up"


async def _result(question: Question) -> Any:
    try:
        return ["completed", await workflow.handle(question.to).result()]
    except WorkflowTerminated as error:
        return ["terminated", error.output]
    except (WorkflowError, WorkflowNotFound) as error:
        return _word(error)


async def _value(question: Question) -> Any:
    try:
        return await workflow.handle(question.to).value("booked", result_type=int)
    except (ValueNotSet, WorkflowNotFound) as error:
        return _word(error)


async def _query(question: Question) -> Any:
    try:
        return await workflow.handle(question.to).query("so_far")
    except (QueryFailed, WorkflowNotFound) as error:
        return _word(error)


async def _signal(question: Question) -> Any:
    """Start one that nobody else starts, or tell it one more thing."""
    name, told = f"event-{question.number}", question.number
    steps = [Step("event", told)]
    start = workflow.signal_with_start("program", steps, id=question.to, signal=(name, told))
    try:
        return await (await start).result()
    except WorkflowNotFound as error:
        return _word(error)


async def _update(question: Question) -> Any:
    to, number = workflow.handle(question.to), question.number
    for _ in range(_TRIES):
        try:
            return await to.update("book", number, id=f"u{number}")
        except CommandRejected:
            await asyncio.sleep(_AGAIN_S)  # it runs as many as it may
        except (UpdateFailed, UpdateRejected, WorkflowNotFound) as error:
            return _word(error)
    return "too many"


def _word(error: ProcessorError) -> str:
    return "purged" if "purged" in str(error) else type(error).__name__


_ASKS: Final[dict[str, Callable[[Question], Coroutine[Any, Any, Any]]]] = {
    "result": _result,
    "value": _value,
    "query": _query,
    "update": _update,
    "signal": _signal,
}

# --- the model --------------------------------------------------------------------------------

_ERRORS: Final = {
    "cancelled": "WorkflowCancelled",
    "failed": "WorkflowFailed",
    "timed_out": "WorkflowTimedOut",
}


def _fits(targets: dict[str, Case], question: Question, told: Any) -> bool:
    """Return whether a question may be answered so, where all have ended."""
    if told == "given up":
        return question.within is not None
    if told == "purged":
        return True
    if question.kind == "signal":
        return bool(told == [question.number])
    if question.kind == "result" and question.to not in targets:
        return bool(told == "WorkflowNotFound")
    target = targets[question.to]
    match question.kind:
        case "result":
            return _is_end(target, told)
        case "value":
            booked = len(target.result)
            return told == "ValueNotSet" if not booked else 1 <= told <= booked
        case "query":
            return told == "QueryFailed" or set(told) <= set(target.result[0])
        case _:
            known = target.outcomes.get(question.number, told)
            if told == "WorkflowNotFound":
                return question.number not in target.outcomes or not takes(question.number)
            if told == "UpdateRejected":
                return not takes(question.number)
            return told == known if isinstance(told, list) else not isinstance(known, list)


def _is_end(target: Case, told: Any) -> bool:
    closed = target.closed
    assert closed is not None, "all have ended"
    replaced = target.workflow == "victim" and told[0] == "completed"
    if closed.status in ("completed", "terminated"):
        return replaced or told == [closed.status, target.result]
    return replaced or told == _ERRORS[closed.status]


def _fit(targets: dict[str, Case], questions: list[Question], told: Any) -> bool:
    right = partial(_fits, targets)
    return len(told) == len(questions) and all(map(right, questions, told))


# --- the author -------------------------------------------------------------------------------


def asker_case(random: Random, cases: list[Case]) -> Case:
    """Return a workflow that asks some of the others, which have to be started."""
    questions: list[Question] = []
    tills = [each for each in cases if each.workflow == "Till"]
    for _ in range(random.randint(1, 6)):
        target = random.choice(tills or cases if random.random() < 0.5 else cases)
        within = random.choice((None, None, None, random.randint(0, 90)))
        kinds = ["result", "result"]
        if target.workflow == "Till":
            kinds += ["value", "value", *["update"] * 6]
        elif target.workflow == "Listener":
            kinds += ["query"] * 4
        number = random.choice(target.updates or [0])
        questions.append(Question(random.choice(kinds), target.workflow_id, number, within))
    if random.random() < 0.2:
        questions.append(Question("result", "nobody"))
    if random.random() < 0.4:
        within = random.choice((None, random.randint(0, 30)))
        number = random.randint(1, 9)
        questions.append(Question("signal", TOLD, number, within))
    targets = {each.workflow_id: each for each in cases}
    case = Case("asker", "asker", [questions, random.random() < 0.5], {})
    case.after = [targets[each.to] for each in questions if each.to in targets]
    case.ends["completed"] = lambda told: _fit(targets, questions, told)
    if random.random() < 0.2:
        let_stop(case, random, len(questions))
    return case
