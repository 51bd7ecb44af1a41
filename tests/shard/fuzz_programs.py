"""The workflows of the fuzz: one hands on all that comes in, by each way out; one is a good one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from processor import (
    ActivityError,
    ChildFailed,
    ProcessorError,
    WorkflowAlreadyStarted,
    activity,
    workflow,
)

__all__ = ("ACTIVITIES", "WORKFLOWS")


@activity.define(eager=False)
async def echo(value: Any) -> Any:
    return value


@activity.define
async def here(value: Any) -> Any:
    return value


@workflow.define(name="mirror")
async def mirror(value: Any = None) -> Any:
    """Hand everything on that comes in, by each way out."""

    async def change(given: Any) -> Any:
        if given is None:
            raise ValueError("nothing is given") if workflow.random().random() < 0.1 else _REFUSED
        return await workflow.call_activity(here, given)

    def refuse(given: Any) -> None:
        if given == "refuse":
            raise ValueError("refused")

    workflow.on_update("u", change, validator=refuse)
    workflow.on_update(None, lambda name, *given: [name, *given])
    workflow.on_query("q", lambda *given: [value, *given])
    workflow.on_signal("s", lambda *given: workflow.set_value("signalled", given))
    workflow.set_status(value)
    promises = [workflow.promise(), workflow.promise(int)]
    other = workflow.handle("b" if workflow.info().workflow_id == "a" else "a")
    asked = [other.value("none"), other.result(), other.update("u", value), other.query("q")]
    answers = [asyncio.ensure_future(_word(each)) for each in asked]
    for turn in range(20):
        event = await workflow.wait_for_event("e")
        workflow.set_status(event)
        workflow.set_value(f"v{turn % 3}", event)
        workflow.publish("mirrored", str(turn), event)
        workflow.signal("b", "e", event)
        if turn % 3 == 0:
            await workflow.sleep(0.001)
        try:
            value = await workflow.call_activity(echo if turn % 2 else here, event)
            if turn % 5 == 1:
                value = await workflow.call_child(mirror, value, parent_close="cancel")
            elif turn % 5 == 2:
                child = await workflow.start_child(mirror, value, id="d", parent_close="abandon")
                value = child.run_id
        except (ActivityError, ChildFailed, WorkflowAlreadyStarted) as error:
            value = str(error)
        done, _ = await asyncio.wait(promises, timeout=0.001)
        settled = [str(each.exception() or each.result()) for each in done]
        workflow.set_value("promises", settled)
        workflow.set_value("answers", [each.result() for each in answers if each.done()])
        if turn == 12:
            workflow.continue_as_new(value)
    return value


async def _word(asked: Coroutine[Any, Any, Any]) -> str:
    """Return what another instance says, or with which error."""
    try:
        return str(await asked)
    except ProcessorError as error:
        return str(error)


class Refused(Exception):
    """An error of no account."""


_REFUSED: Final = Refused("no")


@workflow.define(name="good")
async def good(value: int) -> int:
    return await workflow.call_activity(here, value)


WORKFLOWS: Final = (mirror, good)
ACTIVITIES: Final = (echo, here)
