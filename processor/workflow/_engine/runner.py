"""The runner: one run's code in memory, fed with facts, asked for decisions.

``activate`` is the whole of it, and it is synchronous: enter the loop; for each fact resolve what
the fact settles and run the loop until nothing is due; leave. The host's own running loop is put
aside meanwhile, and so is the cyclic garbage collector: what it would finalize, and when, is
nothing that replay could repeat.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import zlib
from collections.abc import Callable, Coroutine, Sequence, Set
from functools import partial
from typing import Any

from processor.config import Settings
from processor.core.data.failure import Failure
from processor.core.data.shown import name_of
from processor.core.event import Event
from processor.core.nouns.chain import events_after
from processor.core.nouns.external import EventReceived
from processor.core.nouns.run import (
    WorkflowStarted,
)
from processor.core.replay import failed
from processor.core.runner import Asked, CodeError, Kept
from processor.injection.interceptors import WorkflowRun
from processor.readable import readable
from processor.registry import Registry
from processor.workflow._asyncio import put_aside, put_back, running_loop, set_running_loop
from processor.workflow._definition import Workflow
from processor.workflow._engine.decisions import Decisions
from processor.workflow._engine.drop import drop
from processor.workflow._engine.ending import Ending
from processor.workflow._engine.flags import guard_of
from processor.workflow._engine.loop import WorkflowLoop
from processor.workflow._engine.runtime import SETTLES, Decode, Runtime
from processor.workflow._engine.watchdog import here, watching
from processor.workflow._frames import boundary, waiting_at
from processor.workflow._guard.generators import stand_in
from processor.workflow._guard.signals import is_signal
from processor.workflow._nouns.condition import check as check_conditions
from processor.workflow._nouns.external import ExternalEvents
from processor.workflow._nouns.handler import WorkflowCode, answer, go_on
from processor.workflow._nouns.run import info_of
from processor.workflow._nouns.update import accepts, refuse_unclaimed
from processor.workflow._outbound import chained

__all__ = ("WorkflowRunner",)

_log = logging.getLogger("processor.workflow")

_NONE: frozenset[int] = frozenset()


class WorkflowRunner:
    """One run's code. After the end of the code, or a ``CodeError``, nothing of it is left."""

    def __init__(
        self,
        workflow: Workflow[..., Any],
        started: WorkflowStarted,
        workflow_id: str,
        run_id: str,
        registry: Registry,
        settings: Settings,
    ) -> None:
        self._workflow = workflow
        self._settings = settings
        self._decisions = decisions = Decisions(registry.payloads, settings, registry.outbound)
        runtime = Runtime(workflow_id, run_id, started, registry.payloads, decisions)
        self._runtime = runtime
        around = registry.around_runs
        self._around = partial(_intercepted, around) if around else None
        # Prime, so that the numbers of one run are far from those of the next: all tasks of the
        # process share asyncio's one set.
        seed = zlib.crc32(run_id.encode()) * 1_000_003
        self._loop = WorkflowLoop(runtime, seed)  # type: ignore[abstract]  # see _forbid
        if started.flags:
            self._loop.guard = guard_of(started.flags)
        self._loop.passthrough = settings.passthrough
        decisions.attach(self._loop)
        runtime.attach(self._loop)
        self._interrupted: CodeError | None = None
        self._over = self._keeps = False
        self._left: Sequence[EventReceived] = ()
        plan = started.plan
        self._followed = plan is not None and (plan.retry is not None or plan.cron is not None)
        self._ending = Ending(runtime, workflow, settings, self._followed)

    @property
    def runtime(self) -> Runtime:
        return self._runtime

    def read_arguments(
        self, now_ms: int, arguments: bytes | None, decode: Decode | None = None
    ) -> None:
        """Decode the arguments, before the first turn, or let ``decode`` do it.

        Raises ``SchemaMismatch``, and ``CodeError`` where a class of the user's does not end.
        """
        if decode is None:
            decode = partial(self._workflow.signature.decode, payloads=self._runtime.payloads)
        self._runtime.begin(now_ms, 0)
        host = running_loop()
        set_running_loop(self._loop)
        try:
            decoded = watching(self._runtime, self._runtime.decoded, decode, arguments)
            self._runtime.code = WorkflowCode(self._workflow, decoded, self._around)
        except (KeyboardInterrupt, SystemExit, GeneratorExit) as error:
            if is_signal(error):
                raise
            raise failed(error) from None
        finally:
            set_running_loop(host)

    def activate(
        self,
        now_ms: int,
        number: int,
        facts: Sequence[Event],
        recorded: Sequence[Event] | None,
    ) -> list[Asked]:
        """Feed facts, run until everything waits, return what was asked for."""
        if self._over:
            raise RuntimeError(f"the code of run {self._runtime.run_id} is over: it takes no facts")
        arrived: Set[int | None] = _NONE
        if len(facts) > 1:
            arrived = {getattr(fact, "id", None) for fact in facts if type(fact) in SETTLES}
        self._decisions.begin(arrived, recorded)
        if self._followed:
            self._decisions.keep(self._ending.reserved(facts))
        self._runtime.begin(now_ms, number)
        try:
            last = self._advance(facts)
        except BaseException as error:
            self._end(error, facts)
        else:
            if last is not None or self._interrupted is not None:
                self._end(None, facts, last)
        return self._decisions.take()

    def snapshot(self) -> Kept | None:
        """Return None: a coroutine can be made again by replay only."""
        return None

    def waiting(self) -> list[str]:
        """Return where each unfinished task waits, in the order in which they were made."""
        if self._over:
            return []
        try:
            return watching(self._runtime, self._waiting)
        except CodeError as error:
            return [f"(where the code waits cannot be told: {error.error})"]

    def _waiting(self) -> list[str]:
        tasks = sorted((task for task in self._loop.tasks if not task.done()), key=hash)
        return [waiting_at(task.get_coro()) for task in tasks]

    def unread(self) -> tuple[int, int]:
        if self._over:
            return 0, 0
        events = self._runtime.part(ExternalEvents)
        return events.unread, events.unread_bytes

    def left(self) -> Sequence[EventReceived]:
        return self._left if self._over else self._runtime.part(ExternalEvents).left()

    def query(self, name: str, arguments: bytes | None) -> bytes | Failure | None:
        limit = self._settings.payload_bytes_max
        return watching(self._runtime, answer, self._runtime, name, arguments, limit)

    def accepts(self, name: str, arguments: bytes | None) -> bool:
        return watching(self._runtime, accepts, self._runtime, name, arguments)

    def undo(self, facts: Sequence[Event]) -> None:
        if not self._over:
            self._left = self._runtime.part(ExternalEvents).before(facts)
        self.forget()

    def keep(self) -> None:
        self._keeps = True

    def forget(self) -> None:
        self._keeps = False
        self.close()

    def close(self) -> None:
        """Drop the coroutine without running any more of it.

        Python unwinds a coroutine that it drops, ``finally`` blocks and all, and nothing keeps it
        from that. So the unwinding is made harmless: see ``drop``.
        """
        self._over = True
        if self._loop.dropped:
            return
        if self._keeps:  # nothing of it is run any more, and queries see what it left
            return
        drop(self._loop)
        run = self._runtime
        try:
            watching(run, run.clear)  # Python may run methods of the user's as it frees the rest
        except CodeError as error:
            text = "workflow %s, run %s: while it was dropped: %s"
            _log.error(text, readable(run.workflow_id), run.run_id, error.error)

    # --- one activation -----------------------------------------------------------------------

    def _advance(self, facts: Sequence[Event]) -> Event | None:
        """Enter the loop, feed the facts, leave; return the fact that ended the code."""
        host = running_loop()
        host_task = put_aside(host) if host is not None else None
        collects = gc.isenabled()
        loop = self._loop
        watched = here()
        if self._settings.guard:
            stand_in()
        set_running_loop(loop)
        try:
            gc.disable()
            watched.running = self._runtime
            try:
                return self._fed(facts)
            finally:
                watched.running = None  # as ``over`` does, which costs a call
                if watched.sent is not None:
                    watched.over()
        finally:
            if watched.sent is not None:
                self._interrupted = watched.taken()
            loop.library = None
            if collects:
                gc.enable()
            set_running_loop(host)
            if host_task is not None:
                put_back(host, host_task)

    @boundary
    def _fed(self, facts: Sequence[Event]) -> Event | None:
        loop, runtime = self._loop, self._runtime
        for fact in facts:
            settle = SETTLES.get(type(fact))
            if settle is not None:
                loop.library = runtime.library
                settle(runtime, fact)
                loop.library = None
                if self._settle():
                    return fact
        return None

    def _settle(self) -> bool:
        """Run until nothing is due and no condition becomes true; return whether it is over."""
        loop, runtime = self._loop, self._runtime
        main = runtime.main
        done = main.done if main is not None else runtime.is_cancelled
        loop.run(done)
        while runtime.conditions and not done() and check_conditions(runtime):
            loop.run(done)
        code = runtime.code
        if code.unclaimed and main is not None:
            refuse_unclaimed(runtime)
        if code.running and main is not None and _returned(main):
            go_on(runtime)
        ends = done() or loop.violation is not None or runtime.broken is not None
        return ends or code.failed is not None

    # --- the end ------------------------------------------------------------------------------

    def _end(
        self, interrupted: BaseException | None, facts: Sequence[Event], last: Event | None = None
    ) -> None:
        """Add the decision that ends the run, or raise the ``CodeError`` that parks it.

        ``last`` is the fact that ended it: the code was not given those after it.
        """
        code_error = self._interrupted
        try:
            if code_error is None:
                code_error = watching(self._runtime, self._ending.decide, interrupted, facts)
        except CodeError as error:
            code_error = error
        except BaseException as error:
            if is_signal(error):
                raise
            code_error = CodeError("bug", f"its error cannot be told: {name_of(error)}")
        finally:
            if code_error is not None:
                self.undo(facts)
            else:
                if last is not None and (self._followed or self._ending.goes_on):
                    self._left = [*self.left(), *events_after(facts, last)]
                self.close()
        if code_error is not None:
            raise code_error from None


def _returned(task: asyncio.Future[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _intercepted(
    around: Sequence[Callable[..., Any]],
    runtime: Runtime,
    arguments: tuple[Any, ...],
    code: Callable[..., Coroutine[Any, Any, Any]],
) -> Any:
    """Run the code of a run with what interceptors do around it."""
    run = WorkflowRun(info_of(runtime), arguments, lambda: runtime.replaying)
    return await chained(around, lambda run: code(*run.arguments))(run)
