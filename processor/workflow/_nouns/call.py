"""Messages to other workflows. One that is awaited is a call: its target answers it, once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from functools import partial
from typing import Any, Generic, TypeVar

from processor import checks
from processor.core.data.address import Address
from processor.core.nouns.call import CallAnswered, CallSent, MessageSent
from processor.core.records.answers import Accepted, Refused
from processor.errors import InvalidArgument
from processor.failures import refusal
from processor.workflow._context import current
from processor.workflow._engine.runtime import Runtime, settles
from processor.workflow._frames import line_here
from processor.workflow._outbound import Signal, chained, headers_of, size_of

__all__ = ("Sent", "cancel", "signal")

R_co = TypeVar("R_co", covariant=True)


class Sent(Awaitable[R_co], Generic[R_co]):
    """A message that leaves with this turn. Await it to hear what its target made of it.

    Await it where it is sent: a message that has left alone has no answer.
    """

    __slots__ = ("_answer", "_index", "_message", "_runtime", "_turn")

    def __init__(self, runtime: Runtime, message: MessageSent, line: str) -> None:
        size = len(message.payload or b"") + len(message.reason)
        if message.headers:
            size += size_of(message.headers)
        what = f"a message to {message.to.workflow_id!r}"
        self._index = runtime.decisions.add(message, line, size, what)
        self._runtime = runtime
        self._message = message
        self._turn = runtime.turn
        self._answer: asyncio.Future[Any] | None = None

    def __await__(self) -> Generator[Any, None, R_co]:
        if self._answer is None:
            self._answer = self._asked()
        answer: Generator[Any, None, R_co] = self._answer.__await__()
        return answer

    def _asked(self) -> asyncio.Future[Any]:
        """Make the message a call."""
        runtime, message = self._runtime, self._message
        decisions = runtime.decisions
        if decisions.turn != self._turn:
            raise InvalidArgument(
                f"the message to {message.to.workflow_id!r} has left alone, in an earlier turn, so "
                "it has no answer; await it where it is sent: await workflow.signal(...)"
            )
        called = CallSent(decisions.next_id, message.to, message.operation)
        decisions.exchange(self._index, called)
        answer: asyncio.Future[Any] = asyncio.Future(loop=runtime.loop)
        runtime.open[called.id] = answer, message.kind == "cancel"
        return answer


def signal(workflow_id: str, name: str, payload: Any = None) -> Sent[None]:
    """Send an external event to another workflow.

    It is sent at the call; nothing happens if the workflow does not run. Await what this returns
    to know that a run took the event: ``WorkflowNotFound`` is raised where none is open,
    ``CommandRejected`` where it takes no more.
    """
    runtime, line = current("signal"), line_here()
    workflow_id = checks.workflow_id(workflow_id, "workflow.signal: workflow_id")
    name = checks.name(name, "workflow.signal: name")
    outbound = runtime.decisions.outbound
    if outbound is not None:
        asked = Signal(workflow_id, name, payload, runtime.replaying)
        last = partial(_sent, runtime, workflow_id, name, line)
        sent: Sent[None] = chained(outbound.signals, last)(asked)
        return sent
    encoded = runtime.decisions.encode(payload, f"a message to {workflow_id!r}")
    return Sent(runtime, MessageSent(Address(None, workflow_id), "event", name, "", encoded), line)


def _sent(runtime: Runtime, workflow_id: str, name: str, line: str, signal: Signal) -> Sent[None]:
    """Send an event as the interceptors left it."""
    encoded = runtime.decisions.encode(signal.payload, f"a message to {workflow_id!r}")
    what = "event", name, "", encoded, headers_of(signal.headers)
    return Sent(runtime, MessageSent(Address(None, workflow_id), *what), line)


def cancel(workflow_id: str, reason: str = "") -> Sent[bool]:
    """Ask another workflow to cancel.

    It is sent at the call; nothing happens if the workflow does not run. Await what this returns
    to know that it was told: False where its latest run had ended before; ``WorkflowNotFound`` is
    raised where there is none.
    """
    runtime, line = current("cancel"), line_here()
    workflow_id = checks.workflow_id(workflow_id, "workflow.cancel: workflow_id")
    reason = checks.text(reason, "workflow.cancel: reason")
    return Sent(runtime, MessageSent(Address(None, workflow_id), "cancel", "", reason, None), line)


@settles(CallAnswered)
def _answered(runtime: Runtime, fact: CallAnswered) -> None:
    answer: asyncio.Future[Any]
    answer, tells_whether = runtime.open.pop(fact.id)
    outcome = fact.outcome
    if answer.done():  # who waited was cancelled
        return
    if isinstance(outcome, Refused):
        answer.set_exception(refusal(outcome))
    else:
        assert isinstance(outcome, Accepted), f"an event or a cancel is answered with {outcome}"
        answer.set_result(outcome.created if tells_whether else None)
