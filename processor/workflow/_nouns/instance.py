"""Other instances in the hands of workflow code: what it asks of them is answered once.

The answer is recorded with the turn that heard it, so that a replay has the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import (
    Any,
    Generic,
    NamedTuple,
    TypeAlias,
    TypeVar,
    TypeVarTuple,
    cast,
    overload,
)

from processor import checks
from processor.attributes import Attributes, encoded
from processor.core.data.address import Address
from processor.core.entity_id import is_entity_id
from processor.core.nouns.call import CallGivenUp, CallOperation, CallSent
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.lineage import Plan
from processor.core.nouns.start import StartWith
from processor.core.nouns.update import UpdateRun
from processor.core.nouns.value import AwaitValue
from processor.core.questions import REJECTS, AwaitResult, QueryRun
from processor.core.records.answers import CallOutcome, Closed, Refused
from processor.errors import InvalidArgument, PayloadCodecError, ProcessorError
from processor.policy import START_REUSES, Reject, StartReuse, Status
from processor.workflow._context import current, locked_here
from processor.workflow._definition import named
from processor.workflow._engine.runtime import Runtime
from processor.workflow._frames import line_here
from processor.workflow._handlers import event_of, parts_of, query_of, update_of
from processor.workflow._nouns.call import Sent, ends, opens, signal_to
from processor.workflow._outbound import InstanceCall, Signal, chained, headers_of, size_of
from processor.workflow._outcomes import answered, outcome, refused, updated, valued

__all__ = (
    "Answer",
    "Asks",
    "InstanceHandle",
    "InstanceQuestion",
    "asked",
    "handle",
    "signal_with_start",
)

R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Us = TypeVarTuple("Us")


class Asks(NamedTuple):
    """Whom the code asks, and what of: ``read`` makes a value of the answer, or raises an error.

    ``type`` is that of the value.
    """

    runtime: Runtime
    to: Address
    what: str
    type: Any
    read: Callable[[Any], Any]
    line: str


class InstanceQuestion(NamedTuple):
    """What is asked. ``beside``: bytes that go with its own payload."""

    operation: CallOperation
    beside: int = 0


class _Next(NamedTuple):
    """Another run of the chain has to be asked."""

    run_id: str | None


class Answer(asyncio.Future[Any]):
    """The answer to a question that leaves with this turn. Whoever cancels it gives the call up."""

    def __init__(self, asks: Asks, question: InstanceQuestion) -> None:
        operation, beside = question
        if isinstance(operation, StartWith) and (held := locked_here()) is not None:
            held.check_made(asks.to.workflow_id, asks.what)
        runtime = self._runtime = asks.runtime
        decisions = runtime.decisions
        decisions.check(asks.what)
        self._opened = opens(runtime, f"{asks.what} was not sent")
        self._call, self._turn = decisions.next_id, runtime.turn
        operation = _numbered(operation, f"{runtime.run_id}.{self._call}")
        sent = CallSent(self._call, asks.to, operation)
        size = len(sent.payload or b"") + beside
        decisions.check_message(size, asks.what)
        self._index = decisions.add_identified(sent, asks.line, size, asks.what)
        super().__init__(loop=runtime.loop)
        self._number = runtime.loop.next_number()[0]
        self._asks = asks
        runtime.open[self._call] = self
        self._opened.count += 1

    def __hash__(self) -> int:
        return self._number

    def cancel(self, msg: Any = None) -> bool:
        runtime = self._runtime
        if not self.done() and not runtime.loop.dropped:
            decisions, unsent = runtime.decisions, self._turn == runtime.turn
            line = self._asks.line
            decisions.take_back(CallGivenUp, self._call, self._turn, self._index, line)
            if unsent or self._call not in decisions.arrived:
                del runtime.open[self._call]
                self._opened.count -= 1
        return super().cancel(msg)

    def answered(self, told: CallOutcome) -> None:
        self._opened.count -= 1
        if self.done():
            return
        try:
            if isinstance(told, Refused):
                raise refused(told)
            self.set_result(self._asks.read(told))
        except ProcessorError as error:
            if isinstance(error, PayloadCodecError):
                self._runtime.breaks(error)
            self.set_exception(error)


def _numbered(operation: CallOperation, id: str) -> CallOperation:
    """Return an operation with an id for the update in it, where that has none."""
    match operation:
        case UpdateRun(id=""):
            return replace(operation, id=id)
        case StartWith(first=UpdateRun(id="") as first):
            return replace(operation, first=replace(first, id=id))
        case _:
            return operation


class InstanceHandle(Generic[R]):
    """Another instance, by its workflow ``id``: its latest run, and those that follow it.

    ``namespace`` is the one that it is in, None for that of the run that asks.
    All that is asked of it leaves with the turn that awaits it first. ``WorkflowNotFound`` is
    raised where no run took it. To cancel what awaits an answer is to give up waiting.
    """

    __slots__ = ("_result_type", "id", "namespace")

    def __init__(self, id: str, result_type: Any, namespace: str | None = None) -> None:
        self.id = id
        self.namespace = namespace
        self._result_type = result_type

    def __repr__(self) -> str:
        where = "" if self.namespace is None else f", namespace={self.namespace!r}"
        return f"InstanceHandle(id={self.id!r}{where})"

    @overload
    def signal(self, name: Callable[[*Ts], Any], *args: *Ts) -> Sent[None]: ...

    @overload
    def signal(self, name: str, *payload: Any) -> Sent[None]: ...

    def signal(self, name: Any, *payload: Any) -> Sent[None]:  # type: ignore[misc]  # *Ts
        """Send it an external event, as ``workflow.signal`` does."""
        return signal_to(self._address, name, payload, line_here())

    def cancel(self, reason: str = "") -> Sent[bool]:
        """Ask it to stop, as ``workflow.cancel`` does."""
        return ends("cancel", self._address, reason, line_here())

    def terminate(self, reason: str = "") -> Sent[bool]:
        """End it without running its code; its children end as their ``parent_close`` says.

        It is sent at the call. Await what this returns to know that it was told: False where its
        latest run had ended before; ``WorkflowNotFound`` where there is none.
        """
        return ends("terminate", self._address, reason, line_here())

    @overload
    def query(
        self, handler: Callable[[*Ts], T], /, *args: *Ts, reject: Reject = "none"
    ) -> Coroutine[object, None, T]: ...

    @overload
    def query(
        self, handler: str, /, *args: Any, result_type: type[T], reject: Reject = "none"
    ) -> Coroutine[object, None, T]: ...

    @overload
    def query(
        self, handler: str, /, *args: Any, reject: Reject = "none"
    ) -> Coroutine[object, None, Any]: ...

    def query(  # type: ignore[misc]  # *Ts
        self, handler: Any, /, *args: Any, result_type: Any = None, reject: Reject = "none"
    ) -> Coroutine[object, None, Any]:
        """Ask its code, by a handler of its class or by its name, and return the answer.

        ``reject`` is as for the query of a client. Raises ``QueryFailed`` (the cause is the
        handler's error), ``WorkflowNotFound``, ``SchemaMismatch``, ``PayloadTooLarge``.
        """
        call = "workflow.handle: query"
        name, type, arguments = query_of(handler, args, call)
        type = type if result_type is None else result_type
        reject = checks.one_of(tuple(REJECTS), reject, f"{call}: reject")
        runtime = current("handle().query", awaited=True)

        def read(told: Any) -> Any:
            return answered(self.id, name, told, runtime.payloads, type)

        what = self._what("query", name)
        asks = Asks(runtime, self._address, what, type, read, line_here())

        def made(call: InstanceCall) -> InstanceQuestion:
            return InstanceQuestion(QueryRun(name, _encoded(asks, call.arguments), reject=reject))

        return asked(asks, made, "query", name, arguments)

    @overload
    def update(
        self, handler: Callable[[*Ts], T], /, *args: *Ts, id: str | None = None
    ) -> Coroutine[object, None, T]: ...

    @overload
    def update(
        self, handler: str, /, *args: Any, result_type: type[T], id: str | None = None
    ) -> Coroutine[object, None, T]: ...

    @overload
    def update(
        self, handler: str, /, *args: Any, id: str | None = None
    ) -> Coroutine[object, None, Any]: ...

    def update(  # type: ignore[misc]  # *Ts
        self, handler: Any, /, *args: Any, result_type: Any = None, id: str | None = None
    ) -> Coroutine[object, None, Any]:
        """Let a handler of its class, or of its name, do something, and return the result.

        It counts once: its ``id`` comes of this run and the place of the call, unless it is given.
        Whoever gives up waiting does not stop it. Raises ``UpdateRejected``, ``UpdateFailed`` (the
        cause is the handler's error), ``UpdateUnfinished``, ``CommandRejected`` (the run is parked,
        or runs too many updates), ``WorkflowNotFound``, ``SchemaMismatch``.
        """
        call = "workflow.handle: update"
        name, type, arguments = update_of(handler, args, call)
        type = type if result_type is None else result_type
        known = "" if id is None else checks.name(id, f"{call}: id")
        runtime = current("handle().update", awaited=True)
        if is_entity_id(self.id):
            how = "use workflow.call_entity"
            if self.namespace is not None:
                how = "a workflow of its namespace can call it: start one there as a child"
            raise InvalidArgument(f"{call}: {self._address.shown} is an entity: {how}")

        def read(told: Any) -> Any:
            return updated(self.id, told.id, told, runtime.payloads, type)

        what = self._what("update", name)
        asks = Asks(runtime, self._address, what, type, read, line_here())

        def made(call: InstanceCall) -> InstanceQuestion:
            headers = headers_of(call.headers)
            operation = UpdateRun(known, name, _encoded(asks, call.arguments), headers=headers)
            return InstanceQuestion(operation, size_of(headers))

        return asked(asks, made, "update", name, arguments)

    @overload
    def value(self, name: str, *, result_type: type[T]) -> Coroutine[object, None, T]: ...

    @overload
    def value(self, name: str) -> Coroutine[object, None, Any]: ...

    def value(self, name: str, *, result_type: Any = Any) -> Coroutine[object, None, Any]:
        """Return a value that it has set (``workflow.set_value``), or wait until it is set.

        Raises ``ValueNotSet`` where it ends without, ``WorkflowNotFound``, ``SchemaMismatch``.
        """
        name = checks.name(name, "workflow.handle: value: name")
        runtime = current("handle().value", awaited=True)

        def read(told: Any) -> Any:
            if isinstance(told, Closed):
                return _Next(told.reason)
            return valued(self.id, name, told, runtime.payloads.decoder(result_type))

        what = self._what("value", name)
        asks = Asks(runtime, self._address, what, result_type, read, line_here())
        return asked(asks, lambda call: InstanceQuestion(AwaitValue(name)), "value", name)

    def result(self) -> Coroutine[object, None, R]:
        """Wait for its end, that of its whole chain, and return the result.

        Raises ``WorkflowFailed`` (the cause is the code's error), ``WorkflowCancelled``,
        ``WorkflowTerminated``, ``WorkflowTimedOut``, ``WorkflowNotFound``.
        """
        runtime = current("handle().result", awaited=True)
        if self.namespace is None and self.id == runtime.workflow_id:
            raise InvalidArgument(
                "workflow.handle: result: a run that waits for its own end does not end"
            )

        def read(told: Any) -> Any:
            if told.status == Status.CONTINUED:
                return _Next(told.reason)
            return outcome(self.id, told, runtime.payloads, self._result_type)

        what = f"the wait for the result of {self._address.shown}"
        asks = Asks(runtime, self._address, what, self._result_type, read, line_here())
        return asked(asks, lambda call: InstanceQuestion(AwaitResult()), "result")

    @property
    def _address(self) -> Address:
        return Address(self.namespace, self.id)

    def _what(self, kind: str, name: str) -> str:
        return f"{kind} {name!r} of {self._address.shown}"


_Makes: TypeAlias = Callable[[InstanceCall], InstanceQuestion]
"""Makes a question of what interceptors left of a call."""


def asked(
    asks: Asks,
    made: _Makes,
    operation: str,
    name: str = "",
    arguments: Sequence[Any] = (),
    signal: Signal | None = None,
) -> Coroutine[object, None, Any]:
    """Return the coroutine that asks on its first step, and returns what is told.

    What cannot be the type of an answer is refused before anybody is asked.
    """
    runtime = asks.runtime
    runtime.decoder(asks.type, f"{asks.what}: result_type")
    to, given = asks.to, (tuple(arguments), runtime.replaying, signal)
    call = InstanceCall(operation, to.workflow_id, name, *given, namespace=to.namespace)
    coroutine: Any
    if runtime.decisions.outbound is None:
        coroutine = _told(asks, made(call), asks.line)
    else:
        coroutine = _intercepted(asks, call, made)
    coroutine.__qualname__ = asks.what
    return cast("Coroutine[object, None, Any]", coroutine)


async def _intercepted(asks: Asks, call: InstanceCall, made: _Makes) -> Any:
    """Let interceptors have a question, and ask what they make of it."""
    outbound = asks.runtime.decisions.outbound
    assert outbound is not None, "interceptors have the call"
    for each in (call, call.signal):
        if each is not None:
            each.replaying = asks.runtime.replaying
    last = chained(outbound.instances, lambda left: _told(asks, made(left), asks.line))
    return await last(call)


def _encoded(asks: Asks, arguments: Sequence[Any]) -> bytes | None:
    return asks.runtime.decisions.encode(list(arguments), f"the arguments of {asks.what}")


async def _told(asks: Asks, question: InstanceQuestion, line: str) -> Any:
    """Ask on the coroutine's first step, and return what is told; ask on along a chain.

    ``line`` is for whoever looks where the code waits.
    """
    while True:
        told = await Answer(asks, question)
        if not isinstance(told, _Next):
            return told
        operation = question.operation
        assert isinstance(operation, AwaitValue | AwaitResult), f"{operation} is of no chain"
        question = InstanceQuestion(replace(operation, run_id=told.run_id))


@overload
def handle(
    id: str, *, workflow: Callable[..., Coroutine[Any, Any, R]], namespace: str | None = None
) -> InstanceHandle[R]: ...


@overload
def handle(id: str, *, namespace: str | None = None) -> InstanceHandle[Any]: ...


def handle(id: str, *, workflow: Any = None, namespace: str | None = None) -> InstanceHandle[Any]:
    """Return another instance by its workflow id, without asking anybody.

    ``workflow`` gives its result a type. ``namespace`` is another one of the same Kafka. Raises
    ``InvalidArgument``; what is asked of it ``NamespaceNotFound`` and ``NamespaceForbidden``.
    """
    current("handle")
    result_type = Any if workflow is None else named("workflow.handle", workflow)[1]
    namespace = checks.namespace(namespace, "workflow.handle: namespace")
    return InstanceHandle(checks.workflow_id(id, "workflow.handle: id"), result_type, namespace)


@overload
def signal_with_start(
    workflow: Callable[[*Ts], Coroutine[Any, Any, R]],
    *args: *Ts,
    id: str,
    signal: tuple[Callable[[*Us], Any], *Us] | tuple[str, *tuple[Any, ...]],
    reuse: StartReuse = "allow",
    execution_timeout: timedelta | float | None = None,
    memo: Any = None,
    attributes: Attributes | None = None,
    namespace: str | None = None,
) -> Coroutine[object, None, InstanceHandle[R]]: ...


@overload
def signal_with_start(
    workflow: str,
    *args: Any,
    id: str,
    signal: tuple[Any, ...],
    reuse: StartReuse = "allow",
    execution_timeout: timedelta | float | None = None,
    memo: Any = None,
    attributes: Attributes | None = None,
    namespace: str | None = None,
) -> Coroutine[object, None, InstanceHandle[Any]]: ...


def signal_with_start(  # type: ignore[misc]  # mypy cannot match *Ts with *Any
    workflow: Any,
    *args: Any,
    id: str,
    signal: tuple[Any, ...],
    reuse: StartReuse = "allow",
    execution_timeout: timedelta | float | None = None,
    memo: Any = None,
    attributes: Attributes | None = None,
    namespace: str | None = None,
) -> Coroutine[object, None, InstanceHandle[Any]]:
    """Send a signal to another instance, which is started with it where it does not run.

    ``signal`` is a handler of the workflow's class, or its name, and the arguments:
    ``signal=(Cart.add, "apple")``. A run that begins has the signal before its code does, and is no
    child of this run. Both are one message, which counts once. ``reuse`` says what a closed run of
    that id means; ``execution_timeout`` is a ``timedelta`` or seconds; ``namespace`` is another one
    of the same Kafka. Raises ``InvalidArgument`` at the call; where it is awaited
    ``WorkflowAlreadyStarted``, ``CommandRejected``, ``NamespaceNotFound``, ``NamespaceForbidden``.
    """
    call = "workflow.signal_with_start"
    runtime, line = current("signal_with_start", awaited=True), line_here()
    name, result = named(call, workflow)
    if not isinstance(workflow, str):
        args = workflow.signature.positions(args, {})
    handler, rest = parts_of(signal, f"{call}: signal")
    event, value = event_of(handler, rest, f"{call}: signal")
    id = checks.new_workflow_id(id, f"{call}: id")
    limit_ms = None
    if execution_timeout is not None:
        limit_ms = checks.duration_ms(execution_timeout, f"{call}: execution_timeout")
    what, encode = f"the start of workflow {name!r} with a signal", runtime.decisions.encode
    reuse = checks.one_of(START_REUSES, reuse, f"{call}: reuse")
    attached = None if memo is None else encode(memo, "the memo of", name)
    searched = encoded(attributes, f"{call}: attributes")
    namespace = checks.namespace(namespace, f"{call}: namespace")
    found: InstanceHandle[Any] = InstanceHandle(id, result, namespace)

    def made(asked: InstanceCall) -> InstanceQuestion:
        told = asked.signal
        assert told is not None, "a signal goes with it"
        payload, headers = encode(told.payload, f"event {event!r}"), headers_of(asked.headers)
        first = RaiseEvent(event, payload, headers=headers_of(told.headers))
        start = StartWith(
            name,
            encode(list(asked.arguments), "the arguments of workflow", name),
            reuse,
            "use-existing",
            execution_timeout_ms=limit_ms,
            memo=attached,
            headers=headers,
            plan=None if searched is None else Plan(attributes=searched),
            first=first,
        )
        beside = len(payload or b"") + len(attached or b"") + len(searched or b"")
        return InstanceQuestion(start, beside + size_of(headers) + size_of(first.headers))

    asks = Asks(runtime, found._address, what, result, lambda told: found, line)
    goes_with = Signal(id, event, value, runtime.replaying, namespace=namespace)
    return asked(asks, made, "signal_with_start", name, args, goes_with)
