"""Messages to other workflows. One that is awaited is a call: its target answers it, once."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator
from contextvars import Context
from functools import partial
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, TypeVarTuple, overload

from processor import checks
from processor.core.data.address import Address
from processor.core.nouns.call import (
    CallAnswered,
    CallGivenUp,
    CallSent,
    MessageDelayed,
    MessageRejected,
    MessageSent,
)
from processor.core.records.answers import Accepted, CallOutcome, Refused
from processor.errors import InvalidArgument
from processor.workflow._context import current, locked_here, runtime_or_none
from processor.workflow._engine.runtime import Runtime, settles
from processor.workflow._frames import line_here
from processor.workflow._handlers import SignalHandler, Unfinished, event_of, signal_handler
from processor.workflow._outbound import Signal, chained, headers_of, size_of
from processor.workflow._outcomes import refused

__all__ = (
    "Opened",
    "Sent",
    "cancel",
    "ends",
    "opens",
    "send",
    "signal",
    "signal_to",
    "terminate",
)

P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class Opened:
    """How many children and questions of a run have no outcome."""

    def __init__(self, runtime: Runtime) -> None:
        self.count = 0


def opens(runtime: Runtime, lacks: str) -> Opened:
    """Return what counts one more; where too many are open, park the run and say what it lacks."""
    opened, most = runtime.part(Opened), runtime.decisions.settings.children_open_max
    if opened.count >= most and not runtime.replaying:
        error = RuntimeError(
            f"run {runtime.run_id} of {runtime.workflow_id!r} has {opened.count:,} children that "
            "have not ended, with its questions to other workflows, and no more may be open at "
            f"once (children_open_max={most:,}): {lacks}. Await some of them before asking for "
            "more, or start the workers with Settings(children_open_max=...); the run goes on then"
        )
        runtime.breaks(error)
        raise error
    return opened


class Sent(asyncio.Future[R]):
    """A message that leaves with this turn. Await it to hear what its target made of it.

    It is a future of asyncio's, and the first one who waits for it makes the message a call. Await
    it where it is sent: a message that has left alone has no answer.
    """

    __slots__ = ("_call", "_index", "_line", "_message", "_runtime", "_turn")

    def __init__(self, runtime: Runtime, message: MessageSent, line: str) -> None:
        size = len(message.payload or b"") + len(message.reason)
        if message.headers:
            size += size_of(message.headers)
        what = f"a message to {message.to.shown}"
        self._index = runtime.decisions.add(message, line, size, what)
        super().__init__(loop=runtime.loop)
        self._runtime = runtime
        self._message = message
        self._line = line
        self._turn = runtime.turn
        self._call = 0

    def __hash__(self) -> int:
        """Replay repeats it, and it takes no number of the loop's: older histories have none."""
        return self._turn * 1_000_003 + self._index

    def __await__(self) -> Generator[Any, None, R]:
        self._ask()
        return super().__await__()

    def add_done_callback(
        self, fn: Callable[[Self], object], *, context: Context | None = None
    ) -> None:
        self._ask()
        super().add_done_callback(fn, context=context)

    def cancel(self, msg: Any = None) -> bool:
        """Give up waiting: the message is on its way.

        Another namespace may never answer, so nothing is kept of a message to it. Within this one
        the answer comes: a refusal is a dead letter then.
        """
        runtime, call = self._runtime, self._call
        is_foreign = self._message.to.namespace is not None
        if call and is_foreign and not self.done() and not runtime.loop.dropped:
            decisions = runtime.decisions
            if call not in decisions.arrived:
                decisions.give_back(CallGivenUp(call), self._line, "a cancellation")
                del runtime.open[call]
        return super().cancel(msg)

    async def awaited(self) -> R:
        """Return what it comes to, for whoever wants a coroutine."""
        return await self

    def _ask(self) -> None:
        """Make the message a call, once."""
        runtime, message = self._runtime, self._message
        if runtime_or_none() is not runtime:
            raise InvalidArgument(
                f"{self._named} was sent by run {runtime.run_id} of {runtime.workflow_id!r}, and "
                "other code cannot await it; await it where it is sent: await workflow.signal(...)"
            )
        if self._call or self.done():
            return
        decisions = runtime.decisions
        if decisions.turn != self._turn:
            raise InvalidArgument(
                f"{self._named} has left alone, in an earlier turn, so it has no answer; await it "
                "where it is sent: await workflow.signal(...)"
            )
        self._call = decisions.next_id
        decisions.exchange(self._index, CallSent(self._call, message.to, message.operation))
        runtime.open[self._call] = self

    @property
    def _named(self) -> str:
        return f"the message to {self._message.to.shown}"

    def answered(self, outcome: CallOutcome) -> None:
        """Hear what the target made of it. What it refused while nobody waits is not lost."""
        message = self._message
        if not self.done():
            if isinstance(outcome, Refused):
                self.set_exception(refused(outcome))
            else:
                assert isinstance(outcome, Accepted), f"a message is answered with {outcome}"
                told: Any = None if message.kind == "event" else outcome.created
                self.set_result(told)
        elif isinstance(outcome, Refused):
            reason = f"{outcome.error}: {outcome.message}"
            lost = MessageRejected(self._call, message.to, message.name, message.payload, reason)
            size = len(message.payload or b"") + len(reason)
            self._runtime.decisions.add(lost, self._line, size, f"the loss of {self._named}")


class _Handles(Protocol):
    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> SignalHandler[P, R]: ...


@overload
def signal(function: Callable[Concatenate[Any, P], R], /) -> SignalHandler[P, R]: ...


@overload
def signal(
    *, name: str | None = None, dynamic: bool = False, unfinished: Unfinished = "warn"
) -> _Handles: ...


@overload
def signal(workflow_id: str, name: Callable[[*Ts], Any], *args: *Ts) -> Sent[None]: ...


@overload
def signal(workflow_id: str, name: str, *payload: Any) -> Sent[None]: ...


def signal(  # type: ignore[misc]  # mypy cannot match *Ts with the implementation's *Any
    workflow_id: Any = None,
    name: Any = None,
    *payload: Any,
    dynamic: bool = False,
    unfinished: Unfinished = "warn",
) -> Any:
    """Send an external event to another workflow; or, as a decorator, take such events.

    ``signal(workflow_id, name, payload)``: It is sent at the call; nothing happens if the workflow
    does not run. Await what this returns to know that a run took the event: ``WorkflowNotFound`` is
    raised where none is open, ``CommandRejected`` where it takes no more. ``name`` may be a handler
    of the other workflow's class. Its arguments follow, as they do behind a name.

    ``@signal`` makes a method of a workflow's class the handler of the events of its name, or of
    ``name``. It may be async. ``dynamic``: it takes every name that no other handler has, and gets
    the name before the arguments. The end of the run warns of handlers that have not ended, unless
    ``unfinished="abandon"``. Raises ``InvalidArgument``.
    """
    if workflow_id is None:
        return partial(signal_handler, name=name, dynamic=dynamic, unfinished=unfinished)
    if inspect.isfunction(workflow_id):
        return signal_handler(workflow_id)
    current("signal")
    line = line_here()
    workflow_id = checks.workflow_id(workflow_id, "workflow.signal: workflow_id")
    return signal_to(Address(None, workflow_id), name, payload, line)


def signal_to(to: Address, name: Any, payload: tuple[Any, ...], line: str) -> Sent[None]:
    """Send an instance an external event, as ``signal`` does."""
    return send(current("signal"), to, *event_of(name, payload, "workflow.signal"), line)


def send(
    runtime: Runtime,
    to: Address,
    name: str,
    value: Any,
    line: str,
    kind: str = "event",
    due_ms: int | None = None,
) -> Sent[None]:
    """Send a message of a kind to another instance; interceptors may change what it carries.

    ``due_ms``: it is kept there until then.
    """
    if (held := locked_here()) is not None:
        call = "workflow.signal_entity" if kind == "entity" else "workflow.signal"
        held.check_signal(to.workflow_id, call)
    last = partial(_sent, runtime, to, name, line, kind, due_ms)
    signal = Signal(to.workflow_id, name, value, runtime.replaying, namespace=to.namespace)
    outbound = runtime.decisions.outbound
    if outbound is None:
        return last(signal)
    sent: Sent[None] = chained(outbound.signals, last)(signal)
    return sent


def _sent(
    runtime: Runtime,
    to: Address,
    name: str,
    line: str,
    kind: str,
    due_ms: int | None,
    signal: Signal,
) -> Sent[None]:
    """Send an event as the interceptors left it."""
    encoded = runtime.decisions.encode(signal.payload, f"a message to {to.shown}")
    runtime.decisions.check_message(len(encoded or b""), f"a message to {to.shown}")
    what = kind, name, "", encoded, headers_of(signal.headers)
    if due_ms is None:
        return Sent(runtime, MessageSent(to, *what), line)
    return Sent(runtime, MessageDelayed(to, *what, due_ms), line)


def cancel(workflow_id: str, reason: str = "") -> Sent[bool]:
    """Ask another workflow to cancel.

    It is sent at the call; nothing happens if the workflow does not run. Await what this returns
    to know that it was told: False where its latest run had ended before; ``WorkflowNotFound`` is
    raised where there is none.
    """
    return ends("cancel", _address("cancel", workflow_id), reason, line_here())


def terminate(workflow_id: str, reason: str = "") -> Sent[bool]:
    """End another workflow without running its code; what this returns is as for ``cancel``."""
    return ends("terminate", _address("terminate", workflow_id), reason, line_here())


def _address(kind: str, workflow_id: str) -> Address:
    current(kind)
    return Address(None, checks.workflow_id(workflow_id, f"workflow.{kind}: workflow_id"))


def ends(kind: str, to: Address, reason: str, line: str) -> Sent[bool]:
    """Ask an instance to cancel itself, or terminate it, as ``kind`` says."""
    runtime = current(kind)
    reason = checks.text(reason, f"workflow.{kind}: reason")
    return Sent(runtime, MessageSent(to, kind, "", reason, None), line)


@settles(CallAnswered)
def _answered(runtime: Runtime, fact: CallAnswered) -> None:
    runtime.open.pop(fact.id).answered(fact.outcome)
