"""Children: workflows that workflow code starts, and whose ends it may wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from functools import partial
from typing import (
    Any,
    Final,
    NamedTuple,
    TypedDict,
    TypeVar,
    TypeVarTuple,
    Unpack,
    cast,
    overload,
)

from processor import checks
from processor.attributes import Attributes, encoded
from processor.core.data.address import Address
from processor.core.data.failure import shortened, writable
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.nouns.child import (
    ChildCalled,
    ChildCancelRequested,
    ChildEnded,
    ChildStarted,
)
from processor.core.nouns.lineage import Lineage, Plan
from processor.core.nouns.start import StartChild
from processor.core.records.answers import Closed, Refused
from processor.errors import (
    ChildEnd,
    ChildFailed,
    InvalidArgument,
    SchemaMismatch,
    WorkflowAlreadyStarted,
)
from processor.failures import exception_of
from processor.policy import (
    CANCELLATIONS,
    PARENT_CLOSES,
    START_REUSES,
    Cancellation,
    ParentClose,
    RetryPolicy,
    StartReuse,
)
from processor.readable import readable
from processor.schedules.cron import check as check_cron
from processor.workflow._context import check_under_lock, current
from processor.workflow._definition import named
from processor.workflow._engine.runtime import Decode, Runtime, settles
from processor.workflow._frames import line_here
from processor.workflow._nouns.call import Opened, Sent, opens, signal_to
from processor.workflow._options import TypeForm, retry_options
from processor.workflow._outbound import ChildCall, chained, headers_of, size_of
from processor.workflow._outcomes import refused, terminated

__all__ = ("Child", "ChildOptions", "StartChildOptions", "call_child", "start_child")

R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class ChildOptions(TypedDict, total=False):
    """What ``call_child`` and ``start_child`` take beside the arguments of the child."""

    id: str | None
    namespace: str | None
    reuse: StartReuse
    parent_close: ParentClose
    cancellation: Cancellation
    execution_timeout: timedelta | float | None
    retry: RetryPolicy | None
    memo: Any
    attributes: Attributes | None
    delay: timedelta | float | None
    at: datetime | None
    last_result: Any


class StartChildOptions(ChildOptions, total=False):
    """What ``start_child`` takes beside the arguments of the child."""

    cron: str | None


class _Wanted(NamedTuple):
    """A child that the code asks for, checked. ``id`` is None where it gets one, ``namespace``
    where it is in that of the run.
    """

    name: str
    arguments: tuple[Any, ...]
    decode: Decode
    id: str | None
    reuse: str
    parent_close: str
    cancellation: str
    timeout_ms: int | None
    memo: Any
    plan: Plan | None
    last_result: Any
    line: str
    namespace: str | None


class Child(asyncio.Future[R]):
    """A child workflow. Await it for its result; ``id`` is its workflow id, and ``namespace`` where
    it lives, None for the namespace of this run.

    It is a future of asyncio's, so that ``gather``, ``wait`` and ``timeout`` take it. ``run_id`` is
    the run that it began with, None as long as nobody waited for its begin.
    """

    def __init__(self, runtime: Runtime, id: str, asked: _Wanted, call: int, index: int) -> None:
        super().__init__(loop=runtime.loop)
        self._number = runtime.loop.next_number()[0]
        self._runtime = runtime
        self._asked = asked
        self._call = call
        self._index = index
        self._turn = runtime.turn
        self._begun: asyncio.Future[None] | None = None
        self._is_asked_to_stop = False
        self.id = id
        self.namespace = asked.namespace
        self.run_id: str | None = None

    def __hash__(self) -> int:
        return self._number

    @property
    def bound(self) -> bool:
        """Whether the end of this run is to be its end, too."""
        return self._asked.parent_close != "abandon"

    @overload
    def signal(self, name: Callable[[*Ts], Any], *args: *Ts) -> Sent[None]: ...

    @overload
    def signal(self, name: str, *payload: Any) -> Sent[None]: ...

    def signal(self, name: Any, *payload: Any) -> Sent[None]:  # type: ignore[misc]  # as below
        """Send it an external event, as ``workflow.signal`` does."""
        return signal_to(Address(self.namespace, self.id), name, payload, line_here())

    def cancel(self, msg: Any = None) -> bool:
        """Ask the child to cancel itself, as its ``cancellation`` says.

        ``"wait"``: what awaits it goes on when the child has ended, and gets what it came to.
        ``"try"``: it is told so at once. ``"abandon"``: it is told so, and the child is not. One
        that has not left yet is not started. ``msg`` is the reason (its first 1,000 characters).
        False where it had ended.
        """
        runtime = self._runtime
        if self.done():
            return False
        if runtime.loop.dropped:
            return super().cancel(msg)
        if self._is_asked_to_stop:
            return True
        how, unsent = self._asked.cancellation, self._turn == runtime.turn
        if unsent or how != "abandon":
            text = str.__str__(msg) if isinstance(msg, str) else ""
            reason = shortened(writable(text), _REASON_MAX)
            size = len(reason.encode())
            if not runtime.decisions.has_room(size):
                reason, size = "", 0
            stop, line = partial(ChildCancelRequested, reason=reason), self._asked.line
            which = self._call, self._turn, self._index
            runtime.decisions.take_back(stop, *which, line, size)
            self._is_asked_to_stop = True
        if unsent:
            del runtime.open[self._call]
            runtime.part(Opened).count -= 1
        elif how == "wait":
            return True
        return super().cancel(msg)

    # --- what it comes to -------------------------------------------------------------------

    def _has_begun(self, run_id: str) -> None:
        self.run_id = run_id
        if self._begun is not None and not self._begun.done():
            self._begun.set_result(None)

    def _could_not(self, told: Refused) -> None:
        """Nothing was started: whoever waits for the begin hears why, or for the end."""
        error: BaseException = refused(told)
        if isinstance(error, WorkflowAlreadyStarted):
            error = WorkflowAlreadyStarted(
                f"{told.message}. Give this child another id, or none: it gets one of its own"
            )
        begun, self._begun = self._begun, None
        if begun is not None and not begun.done():
            begun.set_exception(error)
            super().cancel()
        elif not self.done():
            self.set_exception(error)

    def _has_ended(self, closed: Closed) -> None:
        if self.run_id is None:
            self._has_begun(closed.run_id)
        if self.done():
            return
        payloads, name = self._runtime.payloads, self._asked.name
        if closed.status == "completed":
            try:
                self.set_result(self._asked.decode(closed.result))
            except SchemaMismatch as error:
                mismatch = SchemaMismatch(f"the result of child workflow {name!r}: {error}")
                self.set_exception(mismatch)
        elif closed.status == "cancelled" and self._is_asked_to_stop:
            super().cancel(closed.reason)
        else:
            self.set_exception(self._failure(closed, payloads))

    @property
    def _shown(self) -> str:
        return Address(self.namespace, self.id).shown

    def _failure(self, closed: Closed, payloads: Any) -> ChildFailed:
        how = closed.status.replace("_", " ")
        text = f"child workflow {self._asked.name!r} ({self._shown}) {_ENDED.get(how, how)}"
        cause = None if closed.failure is None else exception_of(closed.failure, payloads)
        if closed.status == "terminated" and closed.result is not None:
            cause = terminated(self.id, closed, payloads)
        if closed.failure is not None:
            text += f": {closed.failure.type}: {cause}" if str(cause) else closed.failure.type
        elif closed.reason:
            text += f": {closed.reason}"
        kind = cast("ChildEnd", closed.status)
        failed = ChildFailed(
            text, kind=kind, workflow=self._asked.name, id=self.id, run_id=closed.run_id
        )
        failed.__cause__ = cause
        return failed


_REASON_MAX: Final = 1_000
"""Characters: each of the children that a turn may ask to stop has one in the record."""

_ENDED: Final = {"cancelled": "was cancelled", "terminated": "was terminated"}


@overload
def call_child(
    child: Callable[[*Ts], Coroutine[Any, Any, R]], *args: *Ts, **how: Unpack[ChildOptions]
) -> Coroutine[object, None, R]: ...


@overload
def call_child(
    child: str, *args: Any, result_type: type[T], **how: Unpack[ChildOptions]
) -> Coroutine[object, None, T]: ...


@overload
def call_child(
    child: str, *args: Any, result_type: TypeForm = ..., **how: Unpack[ChildOptions]
) -> Coroutine[object, None, Any]: ...


def call_child(  # type: ignore[misc]  # mypy cannot match *Ts with the implementation's *Any
    child: Any, *args: Any, result_type: Any = None, **how: Any
) -> Coroutine[object, None, Any]:
    """Run a workflow as a child of this run, and return its result.

    ``child`` is a workflow, the run method of a class, or a name; under a name, ``result_type``
    says what the result is read as (default: plain JSON). ``id`` is the child's workflow id
    (default: one of its own, the same at each replay); ``reuse`` says what a closed run of that id
    means. ``parent_close`` says what becomes of the child if this run ends before it
    ("terminate", "cancel", "abandon"), and ``cancellation`` what becomes of it if what awaits it is
    cancelled ("wait": it is asked to cancel itself, and waited for; "try": it is asked; "abandon").
    ``last_result`` is what ``workflow.info().last_result()`` of the child returns. ``namespace`` is
    another one of the same Kafka, whose workers run it. The rest is as for ``client.start``. Raises
    ``InvalidArgument`` at the call; where it is awaited ``WorkflowAlreadyStarted``,
    ``NamespaceNotFound``, ``NamespaceForbidden``; ``ChildFailed`` where the child has no result.
    """
    runtime, asked = _asked("call_child", child, args, result_type, how, line_here())
    coroutine: Any = _called(runtime, asked)
    coroutine.__qualname__ = readable(asked.name)
    return cast("Coroutine[object, None, Any]", coroutine)


@overload
def start_child(
    child: Callable[[*Ts], Coroutine[Any, Any, R]], *args: *Ts, **how: Unpack[StartChildOptions]
) -> Coroutine[object, None, Child[R]]: ...


@overload
def start_child(
    child: str, *args: Any, result_type: type[T], **how: Unpack[StartChildOptions]
) -> Coroutine[object, None, Child[T]]: ...


@overload
def start_child(
    child: str, *args: Any, result_type: TypeForm = ..., **how: Unpack[StartChildOptions]
) -> Coroutine[object, None, Child[Any]]: ...


def start_child(  # type: ignore[misc]  # as above
    child: Any, *args: Any, result_type: Any = None, **how: Any
) -> Coroutine[object, None, Child[Any]]:
    """Start a workflow as a child of this run, and return once it has begun.

    The ``Child`` can be awaited, signalled and cancelled. ``cron`` lets runs of it begin at the
    times of a cron string, one after the other: who awaits it waits for the end of them all. It
    does not go with ``delay`` and ``at``. The rest is as for ``call_child``.
    """
    runtime, asked = _asked("start_child", child, args, result_type, how, line_here())
    coroutine: Any = _started(runtime, asked)
    coroutine.__qualname__ = readable(asked.name)
    return cast("Coroutine[object, None, Child[Any]]", coroutine)


def _asked(
    verb: str, child: Any, args: tuple[Any, ...], result_type: Any, how: dict[str, Any], line: str
) -> tuple[Runtime, _Wanted]:
    """Return the run that asks for a child, and what it asks for, checked."""
    runtime, call = current(verb, awaited=True), f"workflow.{verb}"
    if verb == "call_child" and "cron" in how:
        raise InvalidArgument(
            f"{call}: cron: such a child has no end to wait for, as long as nobody ends it: use "
            "workflow.start_child(..., cron=...), which returns once its first run is there"
        )
    options = (StartChildOptions if verb == "start_child" else ChildOptions).__annotations__.keys()
    if unknown := sorted(map(checks.shown, how.keys() - options)):
        known = ", ".join(sorted(options))
        raise InvalidArgument(f"{call}: there is no option {', '.join(unknown)}; there are {known}")
    wanted = _wanted(call, runtime, child, args, result_type, line, **how)
    ends_with_it = verb == "start_child" and wanted.parent_close != "abandon"
    if ends_with_it and runtime.code.operating is not None:
        raise InvalidArgument(
            f'{call} in an entity: give parent_close="abandon": the workflow would end with the '
            "operation that starts it"
        )
    return runtime, wanted


def _wanted(
    call: str,
    runtime: Runtime,
    child: Any,
    args: tuple[Any, ...],
    result_type: Any,
    line: str,
    *,
    id: str | None = None,
    reuse: StartReuse = "allow",
    parent_close: ParentClose = "terminate",
    cancellation: Cancellation = "wait",
    execution_timeout: timedelta | float | None = None,
    retry: RetryPolicy | None = None,
    memo: Any = None,
    attributes: Attributes | None = None,
    delay: timedelta | float | None = None,
    at: datetime | None = None,
    last_result: Any = None,
    cron: str | None = None,
    namespace: str | None = None,
) -> _Wanted:
    name, result = named(call, child)
    if not isinstance(child, str):
        if result_type is not None:
            raise InvalidArgument(f"{call}: result_type is for workflows named by text")
        args = child.signature.positions(args, {})
        what = f"{call}: what workflow {name!r} returns"
    else:
        result, what = Any if result_type is None else result_type, f"{call}: result_type"
    begins_ms = checks.due_ms(delay, at, runtime.loop.now_ms, call)
    if cron is not None and begins_ms is not None:
        raise InvalidArgument(f"{call}: give one of delay, at and cron")
    options = None if retry is None else retry_options(retry, f"{call}: retry")
    limit = execution_timeout
    cron = None if cron is None else check_cron(cron, f"{call}: cron")
    found = encoded(attributes, f"{call}: attributes")
    plan = Plan(retry=options, cron=cron, start_at_ms=begins_ms, attributes=found)
    return _Wanted(
        name,
        args,
        runtime.decoder(result, what),
        None if id is None else checks.new_workflow_id(id, f"{call}: id"),
        checks.one_of(START_REUSES, reuse, f"{call}: reuse"),
        checks.one_of(PARENT_CLOSES, parent_close, f"{call}: parent_close"),
        checks.one_of(CANCELLATIONS, cancellation, f"{call}: cancellation"),
        None if limit is None else checks.duration_ms(limit, f"{call}: execution_timeout"),
        memo,
        None if plan == Plan() else plan,
        last_result,
        line,
        checks.namespace(namespace, f"{call}: namespace"),
    )


async def _called(runtime: Runtime, asked: _Wanted, headers: Headers | None = None) -> Any:
    """Send a child on the coroutine's first step, and return its result."""
    if headers is None:
        if runtime.decisions.outbound is not None:
            return await _intercepted(runtime, asked, _called)
        headers = NO_HEADERS
    return await _sent(runtime, asked, headers, tells_start=False)


async def _started(runtime: Runtime, asked: _Wanted, headers: Headers | None = None) -> Child[Any]:
    """Send a child on the coroutine's first step, and return it once it has begun."""
    if headers is None:
        if runtime.decisions.outbound is not None:
            found: Child[Any] = await _intercepted(runtime, asked, _started)
            return found
        headers = NO_HEADERS
    child = _sent(runtime, asked, headers, tells_start=True)
    child._begun = begun = runtime.loop.create_future()
    try:
        await begun
    except asyncio.CancelledError as error:
        child.cancel(*error.args)
        if not child.done():
            await child
        raise
    return child


async def _intercepted(runtime: Runtime, asked: _Wanted, last: Callable[..., Any]) -> Any:
    """Let interceptors have a child, and do what they make of it."""

    def called(call: ChildCall) -> Coroutine[object, None, Any]:
        changed = asked._replace(arguments=tuple(call.arguments))
        return last(runtime, changed, headers_of(call.headers))  # type: ignore[no-any-return]

    outbound = runtime.decisions.outbound
    assert outbound is not None, "interceptors have the call"
    how = last is _started, runtime.replaying
    call = ChildCall(asked.name, asked.arguments, *how, namespace=asked.namespace)
    return await chained(outbound.children, called)(call)


def _sent(runtime: Runtime, asked: _Wanted, headers: Headers, *, tells_start: bool) -> Child[Any]:
    """Send a child with this turn."""
    decisions, what = runtime.decisions, "child workflow"
    decisions.check(what, asked.name)
    check_under_lock("start_child" if tells_start else "call_child")
    opened = opens(runtime, f"child workflow {asked.name!r} was not started")
    arguments = decisions.encode(
        list(asked.arguments), "the arguments of child workflow", asked.name
    )
    memo = None if asked.memo is None else decisions.encode(asked.memo, "the memo of", asked.name)
    last = asked.last_result
    last = None if last is None else decisions.encode(last, "the last result for", asked.name)
    call = decisions.next_id
    id = f"{runtime.run_id}.{call}" if asked.id is None else asked.id
    lineage = runtime.started.lineage or Lineage()
    start = StartChild(
        asked.name,
        arguments,
        asked.reuse,
        execution_timeout_ms=asked.timeout_ms,
        memo=memo,
        headers=headers,
        plan=asked.plan,
        root=lineage.root or lineage.parent,
        tells_start=tells_start,
        last_result=last,
    )
    size = len(arguments or b"") + len(memo or b"") + len(last or b"") + size_of(headers)
    size += 0 if asked.plan is None else len(asked.plan.attributes or b"")
    decisions.check_message(size, "the start of child workflow", asked.name)
    decided = ChildCalled(call, Address(asked.namespace, id), start, asked.parent_close)
    index = decisions.add_identified(decided, asked.line, size, what, asked.name)
    child: Child[Any] = Child(runtime, id, asked, call, index)
    runtime.open[call] = child
    opened.count += 1
    return child


@settles(ChildStarted)
def _begins(runtime: Runtime, fact: ChildStarted) -> None:
    runtime.open[fact.call]._has_begun(fact.run_id)


@settles(ChildEnded)
def _ends(runtime: Runtime, fact: ChildEnded) -> None:
    child: Child[Any] = runtime.open.pop(fact.id)
    runtime.part(Opened).count -= 1
    if isinstance(fact.outcome, Refused):
        child._could_not(fact.outcome)
    else:
        child._has_ended(fact.outcome)
