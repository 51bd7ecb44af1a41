"""The run itself: its start and its cancellation, and what the code may know of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from random import Random
from typing import Any, Final, TypeVar, overload
from uuid import UUID

from processor.attributes import AttributeValue
from processor.core.data.address import RunRef
from processor.core.nouns.external import EventReceived
from processor.core.nouns.lineage import Lineage
from processor.core.nouns.run import BEGIN, WorkflowCancelRequested, WorkflowStarted
from processor.core.nouns.timer import TimerFired
from processor.core.nouns.update import UpdateAccepted
from processor.errors import PayloadCodecError
from processor.failures import exception_of
from processor.workflow._context import current, runtime_or_none
from processor.workflow._engine.flags import suggested_from
from processor.workflow._engine.runtime import SETTLES, Runtime, settles
from processor.workflow._nouns.value import attributes_of, memo_of
from processor.workflow._options import TypeForm

__all__ = ("WorkflowInfo", "info", "info_of", "logger", "now", "random", "uuid4")

T = TypeVar("T")


def _no_result(type: Any) -> None:
    return None


def _no_memo() -> None:
    return None


def _no_attributes() -> dict[str, AttributeValue]:
    return {}


@dataclass(frozen=True)
class WorkflowInfo:
    """Which run this is. ``started`` is the time of the turn in which its code began.

    ``headers`` came with its start. ``attempt`` counts the runs of a workflow with a retry policy,
    the first one is 1. ``first_run_id`` is the first run of the chain, ``previous_run_id`` the one
    before, and ``last_failure`` its error. ``parent`` is the run that started this one as a child,
    ``root`` the first one of all; None where there is none. ``parent_namespace`` is that of the
    parent, None for this one. ``history_events`` counts the events
    before this turn; ``suggests_continue_as_new``: there are so many that a run without a history
    would be better.
    """

    workflow_id: str
    run_id: str
    workflow: str
    started: datetime
    headers: Mapping[str, bytes] = field(default_factory=dict)
    attempt: int = 1
    first_run_id: str = ""
    previous_run_id: str | None = None
    last_failure: BaseException | None = None
    parent: RunRef | None = None
    root: RunRef | None = None
    parent_namespace: str | None = None
    history_events: int = field(default=0, compare=False)
    suggests_continue_as_new: bool = field(default=False, compare=False)
    _result: Callable[[Any], Any] = field(default=_no_result, repr=False, compare=False)
    _memo: Callable[[], Any] = field(default=_no_memo, repr=False, compare=False)
    _attributes: Callable[[], dict[str, AttributeValue]] = field(
        default=_no_attributes, repr=False, compare=False
    )

    @property
    def memo(self) -> Any:
        """The memo of the run as plain JSON, as ``workflow.upsert_memo`` has left it."""
        return self._memo()

    @property
    def attributes(self) -> dict[str, AttributeValue]:
        """The search attributes of the run, as ``workflow.upsert_attributes`` has left them."""
        return self._attributes()

    @overload
    def last_result(self, type: type[T]) -> T | None: ...

    @overload
    def last_result(self, type: TypeForm = ...) -> Any: ...

    def last_result(self, type: Any = Any) -> Any:
        """Return the result of the last run of this cron chain that had one; None: none had."""
        return self._result(type)


def info() -> WorkflowInfo:
    """Return which run of which workflow this is."""
    return info_of(current("info"))


def now() -> datetime:
    """Return the time of this turn (aware, UTC). It stands still while the code runs."""
    return current("now").now


def random() -> Random:
    """Return this run's random generator, seeded by random bytes in the run's history."""
    return current("random").part(_random)


def uuid4() -> UUID:
    """Return a random UUID that replay repeats."""
    return UUID(int=current("uuid4").part(_random).getrandbits(128), version=4)


class _Logger(logging.LoggerAdapter[logging.Logger]):
    """Silent during replay, and with the run's ids in ``extra``. A plain logger elsewhere."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  logging's name
        runtime = runtime_or_none()
        if runtime is not None and runtime.replaying:
            return False
        return self.logger.isEnabledFor(level)

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        runtime = runtime_or_none()
        if runtime is not None:
            run = info_of(runtime)
            ids = {"workflow_id": run.workflow_id, "run_id": run.run_id, "workflow": run.workflow}
            kwargs["extra"] = {**ids, **(kwargs.get("extra") or {})}
        return msg, kwargs


_ALONE: Final = Lineage()

logger = _Logger(logging.getLogger("processor.workflow"), {})


@settles(WorkflowStarted)
def _started(runtime: Runtime, fact: WorkflowStarted) -> None:
    runtime.code.begin(runtime)
    if fact.lineage is not None and fact.lineage.carried is not None:
        for event in fact.lineage.carried.events:
            SETTLES[EventReceived](runtime, event)
        for each in fact.lineage.carried.updates:
            if not each.over:
                update = UpdateAccepted(each.id, each.name, each.payload, validated=False)
                SETTLES[UpdateAccepted](runtime, update)
    if fact.begins_ms is None:
        _begin(runtime)


@settles(TimerFired)
def _fired(runtime: Runtime, fact: TimerFired) -> None:
    if fact.id == BEGIN:
        runtime.code_begins(runtime.loop.now_ms)
        _begin(runtime)
    else:
        runtime.loop.fire(fact.id)


def _begin(runtime: Runtime) -> None:
    assert runtime.main is None, f"run {runtime.run_id} began twice"
    runtime.main = runtime.loop.create_task(
        runtime.code.coroutine(runtime), context=runtime.code.context
    )


@settles(WorkflowCancelRequested)
def _cancel_requested(runtime: Runtime, fact: WorkflowCancelRequested) -> None:
    if runtime.cancel_reason is None:
        runtime.cancel_reason = fact.reason
        if runtime.main is not None:
            runtime.main.cancel(fact.reason)


def info_of(runtime: Runtime) -> WorkflowInfo:
    """Return which run this is, while its code runs."""
    started = runtime.started
    headers = dict(started.headers)
    which = runtime.workflow_id, runtime.run_id, started.workflow, runtime.begun, headers
    events = runtime.library.number
    history = events, events >= suggested_from(started.flags)
    lineage = started.lineage or _ALONE
    failure = lineage.previous_failure
    try:
        error = None if failure is None else exception_of(failure, runtime.payloads)
    except PayloadCodecError as unreadable:
        runtime.breaks(unreadable)
        raise
    first = lineage.first_run_id or runtime.run_id
    parent = lineage.parent
    namespace = None if lineage.caller is None else lineage.caller.address.namespace
    lines = lineage.attempt, first, lineage.previous_run_id, error
    result = partial(_last_result, runtime, lineage.previous_result)
    memo, attributes = partial(memo_of, runtime), partial(attributes_of, runtime)
    ancestors = parent, lineage.root or parent, namespace
    return WorkflowInfo(*which, *lines, *ancestors, *history, result, memo, attributes)


def _last_result(runtime: Runtime, result: bytes | None, type: Any) -> Any:
    decode = runtime.decoder(type, "workflow.info: last_result: type")
    return None if result is None else runtime.decoded(decode, result)


def _random(runtime: Runtime) -> Random:
    return Random(b"workflow" + runtime.started.seed)
