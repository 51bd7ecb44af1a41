"""The handlers of one run: what takes its signals, and answers its queries.

A signal is an external event. The handler of its name takes it as soon as it is there, each in a
task of its own, in the order in which they arrived. Queries only read: see ``_engine.reading``.
Updates are in ``update.py``.
"""

from __future__ import annotations

import contextvars
import inspect
import logging
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from itertools import count
from typing import Any, Final

from processor import checks
from processor.core.data.failure import Failure
from processor.core.nouns.external import EventReceived, EventRejected
from processor.core.nouns.update import UpdateAccepted
from processor.core.runner import NeverEnds, Spoiled
from processor.errors import (
    InvalidArgument,
    PayloadTooLarge,
    QueryFailed,
    SchemaMismatch,
)
from processor.failures import failure_of
from processor.readable import readable
from processor.workflow._context import current, under_lock
from processor.workflow._definition import Workflow, called
from processor.workflow._engine.reading import reading
from processor.workflow._engine.runtime import Runtime
from processor.workflow._guard.signals import is_signal
from processor.workflow._handlers import (
    Handler,
    QueryHandler,
    SignalHandler,
    Unfinished,
    UpdateHandler,
    check_handler,
    check_query,
    check_unfinished,
)
from processor.workflow._nouns.condition import check as check_conditions
from processor.workflow._nouns.external import ExternalEvents
from processor.workflow._signature import Signature

__all__ = (
    "WorkflowCode",
    "all_handlers_finished",
    "answer",
    "arguments_of",
    "code_of",
    "go_on",
    "name_of",
    "on_query",
    "on_signal",
    "tell_unfinished",
)

_log = logging.getLogger("processor.workflow")

_LAST_STEPS_MAX: Final = 10_000
"""So many steps of tasks may follow the return of a run's code. Replay makes as many."""


def all_handlers_finished() -> bool:
    """Return whether no handler of a signal or an update runs.

    Await it before the end: ``await workflow.wait_until(workflow.all_handlers_finished)``.
    """
    return not code_of(current("all_handlers_finished")).running


def on_signal(
    name: str | None, function: Callable[..., Any], *, unfinished: Unfinished = "warn"
) -> None:
    """Let a function take the signals of a name from now on, also those that wait already.

    The function may be async. ``name`` None: it takes every name that no other handler has and
    nobody waits for, and gets the name before the arguments. A later one of a name takes its place.
    ``unfinished="abandon"``: the run may end before the function has. Raises ``InvalidArgument``.
    """
    runtime = current("on_signal")
    runtime.decisions.check("a handler of signals")
    name = name_of(name, function, "workflow.on_signal")
    check_unfinished(unfinished, "workflow.on_signal")
    code = code_of(runtime)
    handler: SignalHandler[..., Any] = SignalHandler(function, name, unfinished, is_method=False)
    code.signals = {**code.signals, name: handler}
    runtime.part(ExternalEvents).handle(name or None)


def on_query(name: str | None, function: Callable[..., Any]) -> None:
    """Let a plain function answer the queries of a name from now on.

    ``name`` None: it takes every name that no other handler has, and gets the name before the
    arguments. A later one of the same name takes its place. Raises ``InvalidArgument``.
    """
    runtime = current("on_query")
    runtime.decisions.check("a handler of queries")
    name = name_of(name, function, "workflow.on_query")
    check_query(function, "workflow.on_query: function")
    code = code_of(runtime)
    handler: QueryHandler[..., Any] = QueryHandler(function, name, is_method=False)
    code.queries = {**code.queries, name: handler}


def name_of(name: str | None, function: object, what: str) -> str:
    """Return the name under which a handler is registered; ``what`` names the call in errors."""
    if not callable(function):
        raise InvalidArgument(f"{what}: function: give a function, not {checks.shown(function)}")
    check_handler(function, what)
    return "" if name is None else checks.name(name, f"{what}: name")


def code_of(runtime: Runtime) -> WorkflowCode:
    """Return the code of a run, with its handlers."""
    code = runtime.code
    assert isinstance(code, WorkflowCode), "runs have no other code"
    return code


class WorkflowCode:
    """A workflow with the arguments of a run, and the handlers that the run has.

    ``around`` runs the code, if interceptors do. ``instance`` is that of a class, once it is made.
    ``context`` is that of the code; handlers begin in a copy. ``running`` are the handlers that
    are to run or run. It knows no runtime: queries ask it also when the run is over.
    """

    def __init__(
        self,
        workflow: Workflow[..., Any],
        arguments: tuple[Any, ...],
        around: Callable[..., Coroutine[Any, Any, Any]] | None = None,
    ) -> None:
        self.instance: Any = None
        self.operating: Any = None
        self.context = contextvars.Context()
        self.ran = False
        self.failed: BaseException | None = None
        self.signals: Mapping[str, SignalHandler[..., Any]] = workflow.handlers.signals
        self.queries: Mapping[str, QueryHandler[..., Any]] = workflow.handlers.queries
        self.updates: Mapping[str, UpdateHandler[..., Any]] = workflow.handlers.updates
        self.running: list[SignalHandler[..., Any] | UpdateHandler[..., Any]] = []
        self.unclaimed: list[UpdateAccepted] = []
        self.workflow = workflow
        self.arguments = arguments
        self._around = around

    def begin(self, runtime: Runtime) -> None:
        """Make the instance of a class, before any handler and before the code."""
        make = self.workflow.make
        if make is not None:
            self.ran = True
            self.beside(runtime, self._make(make))

    async def _make(self, make: Callable[..., Any]) -> None:
        self.instance = make(*self.arguments)

    def coroutine(self, runtime: Runtime) -> Coroutine[Any, Any, Any]:
        if self._around is None:
            return self._main(*self.arguments)
        return self._around(runtime, self.arguments, self._main)

    def _main(self, *arguments: Any) -> Coroutine[Any, Any, Any]:
        if self.workflow.make is None:
            return called(self.workflow, arguments)
        return self._of_instance(*arguments)

    async def _of_instance(self, *arguments: Any) -> Any:
        return await called(self.workflow, (self.instance, *arguments))

    # --- signals ------------------------------------------------------------------------------

    def takes(self, name: str) -> bool:
        return name in self.signals or "" in self.signals

    def names(self, name: str) -> bool:
        return name in self.signals

    def receive(self, runtime: Runtime, event: EventReceived, taken: Callable[[], None]) -> bool:
        """Let the handler of an event take it. False: its value does not fit, and it is buried."""
        handler = self.signals.get(event.name) or self.signals[""]
        try:
            decode = partial(arguments_of, runtime, handler.signature)
            arguments = runtime.decoded(decode, event.payload)
        except SchemaMismatch as error:
            rejected = EventRejected(event.name, event.payload, str(error))
            what = f"the rejection of event {event.name!r}"
            size = len(event.payload or b"")
            runtime.decisions.add(rejected, handler.place, size, what)
            return False
        self.running.append(handler)
        self.beside(runtime, self._handled(handler, event.name, arguments, taken))
        return True

    async def _handled(
        self,
        handler: SignalHandler[..., Any],
        name: str,
        arguments: tuple[Any, ...],
        taken: Callable[[], None],
    ) -> None:
        taken()
        try:
            result = self.called(handler, name, arguments)
            if inspect.isawaitable(result):
                await result
        finally:
            self.running.remove(handler)

    def called(
        self,
        handler: Handler[..., Any],
        name: str,
        arguments: tuple[Any, ...],
        function: Callable[..., Any] | None = None,
    ) -> Any:
        """Call a handler, or its validator. One that takes all names gets the name first."""
        receiver = (self.instance,) if handler.is_method else ()
        names = () if handler.name else (name,)
        return (function or handler.function)(*receiver, *names, *arguments)

    def beside(self, runtime: Runtime, code: Coroutine[Any, Any, None]) -> None:
        """Run code beside the main task, in no block of that. An error of it ends the run."""
        context = self.context.copy()
        context.run(under_lock.set, None)
        runtime.loop.create_task(self._ending(runtime, code), context=context)

    async def _ending(self, runtime: Runtime, code: Coroutine[Any, Any, None]) -> None:
        try:
            await code
        except BaseException as error:
            if is_signal(error) or runtime.loop.dropped:
                raise
            if self.failed is None:
                self.failed = error
            runtime.loop.ready.clear()

    # --- queries ------------------------------------------------------------------------------

    def answer(self, runtime: Runtime, name: str, payload: bytes | None) -> Any:
        handler = self.queries.get(name) or self.queries.get("")
        if handler is None:
            known = ", ".join(sorted(map(repr, self.queries))) or "none"
            raise QueryFailed(f"there is no query {name!r}; the workflow has: {known}")
        decode = partial(handler.signature.decode, payloads=runtime.payloads)
        arguments = runtime.decoded(decode, payload)
        if handler.is_method and self.instance is None:
            raise QueryFailed(f"query {name!r} has no state: __init__ of the class failed")
        result = self.called(handler, name, arguments)
        if inspect.iscoroutine(result):
            result.close()
            raise QueryFailed(f"query {name!r} returned a coroutine: a query only reads, at once")
        return result


def arguments_of(runtime: Runtime, signature: Signature, payload: bytes | None) -> tuple[Any, ...]:
    """Return the arguments of a signal's handler.

    The value of an event is the one argument of a handler with one; a handler with several takes a
    list of them, or its first argument alone.
    """
    if signature.limit == 0:
        if payload is not None and runtime.payloads.decoder(Any)(payload) is not None:
            raise SchemaMismatch(f"{signature.what} takes no value")
        return ()
    if payload is None and signature.required == 0:
        return ()
    several = signature.limit > 1
    if several and isinstance(runtime.payloads.decoder(Any)(payload), list):
        return signature.decode(payload, runtime.payloads)
    if not signature.fits(1):
        raise SchemaMismatch(
            f"{signature.what} takes {signature.required} arguments or more: send a list of them"
        )
    return (runtime.payloads.decoder(signature.type_of(0))(payload),)


def answer(
    runtime: Runtime, name: str, payload: bytes | None, limit: int
) -> bytes | Failure | None:
    """Answer a query: the code's own fields and variables are read, and nothing else happens."""
    code = code_of(runtime)
    with reading(runtime, f"query {name!r}"):
        try:
            encoded = runtime.payloads.encode(code.answer(runtime, name, payload))
        except (QueryFailed, SchemaMismatch, Spoiled, NeverEnds):
            raise
        except BaseException as error:
            if is_signal(error):
                raise
            return failure_of(error, runtime.payloads, limit)
    if encoded is not None and len(encoded) > limit:
        raise PayloadTooLarge(
            f"the answer of query {name!r}: {len(encoded):,} bytes; the limit is {limit:,} "
            "(payload_bytes_max). Ask for less of it"
        )
    return encoded


def go_on(runtime: Runtime) -> None:
    """Let the handlers of a run whose code has returned go on until each waits for a fact.

    They have a bound, so that one that never waits does not keep the run from its end.
    """
    code, loop, steps = code_of(runtime), runtime.loop, count()

    def done() -> bool:
        stopped = code.failed is not None or loop.violation is not None
        over = stopped or runtime.broken is not None or not code.running
        return over or next(steps) >= _LAST_STEPS_MAX

    loop.run(done)
    while runtime.conditions and not done() and check_conditions(runtime):
        loop.run(done)


def tell_unfinished(runtime: Runtime) -> None:
    """Say in the log which handlers run while their run ends."""
    running = code_of(runtime).running
    left = [each for each in running if each.unfinished == "warn"]
    if left and not runtime.replaying:
        names = ", ".join(sorted({repr(each.name) if each.name else "dynamic" for each in left}))
        _log.warning(
            "workflow %s, run %s: it ends while handlers run (%s); they are dropped. "
            "Await workflow.wait_until(workflow.all_handlers_finished) before the end, or say "
            'unfinished="abandon"',
            readable(runtime.workflow_id),
            runtime.run_id,
            names,
        )
