"""Chains: the run goes on as another one of the same workflow id."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import EllipsisType
from typing import Any, NoReturn, TypeVarTuple, overload

from processor import checks
from processor.attributes import Attributes, encoded
from processor.core.data.shown import members_of
from processor.core.nouns.chain import too_large
from processor.core.nouns.lineage import Plan
from processor.core.nouns.run import Successor, WorkflowContinued, WorkflowStarted
from processor.errors import InvalidArgument, PayloadTooLarge, SchemaMismatch
from processor.policy import RetryPolicy
from processor.workflow._context import current
from processor.workflow._definition import Workflow, defined
from processor.workflow._engine.runtime import Runtime
from processor.workflow._frames import line_here
from processor.workflow._nouns.child import Child
from processor.workflow._options import retry_options

__all__ = ("GoesOn", "continue_as_new", "going_on")

Ts = TypeVarTuple("Ts")

_WHAT = "workflow.continue_as_new"
_MEMBERS_MAX = 1_000
_NAMED_MAX = 5


class GoesOn(BaseException):
    """Ends the code of a run that goes on as another one. No ``except Exception`` takes it."""

    def __init__(self, decision: WorkflowContinued, line: str) -> None:
        super().__init__(f"workflow.continue_as_new() at {line}: let it through, it ends the run")
        self.decision = decision
        self.line = line


@overload
def continue_as_new(
    *args: Any,
    memo: Any = ...,
    attributes: Attributes | EllipsisType | None = ...,
    retry: RetryPolicy | EllipsisType | None = ...,
    execution_timeout: timedelta | float | EllipsisType | None = ...,
) -> NoReturn: ...


@overload
def continue_as_new(
    *args: *Ts,
    workflow: Callable[[*Ts], Coroutine[Any, Any, Any]],
    memo: Any = ...,
    attributes: Attributes | EllipsisType | None = ...,
    retry: RetryPolicy | EllipsisType | None = ...,
    execution_timeout: timedelta | float | EllipsisType | None = ...,
) -> NoReturn: ...


@overload
def continue_as_new(
    *args: Any,
    workflow: str,
    memo: Any = ...,
    attributes: Attributes | EllipsisType | None = ...,
    retry: RetryPolicy | EllipsisType | None = ...,
    execution_timeout: timedelta | float | EllipsisType | None = ...,
) -> NoReturn: ...


def continue_as_new(  # type: ignore[misc]  # mypy cannot match *Ts with *Any
    *args: Any,
    workflow: Any = None,
    memo: Any = ...,
    attributes: Any = ...,
    retry: Any = ...,
    execution_timeout: Any = ...,
) -> NoReturn:
    """End this run and go on as a new one of the same id, with these arguments and no history.

    It never returns: what it raises is no ``Exception``, and ends the run when it leaves the code,
    or a handler. Activities and timers of this run are cancelled; events that no code has taken go
    to the next run, in order. ``workflow`` is another workflow to go on with. ``memo``,
    ``attributes``, ``retry`` and ``execution_timeout`` stay as they are unless given; the time-out
    is that of the whole chain, and a new one counts from the next run on. Raises
    ``InvalidArgument`` where the arguments do not fit, or where children of this run would end with
    it; ``SchemaMismatch``, ``PayloadTooLarge``.
    """
    runtime, line = current("continue_as_new"), line_here()
    runtime.decisions.check("a run that goes on")
    if waits := [each for each in runtime.open.values() if isinstance(each, Child) and each.bound]:
        names = ", ".join(repr(each.id) for each in waits[:_NAMED_MAX])
        more = f" and {len(waits) - _NAMED_MAX} more" if len(waits) > _NAMED_MAX else ""
        raise InvalidArgument(
            f"{_WHAT}: children of this run that have not ended would end with it: {names}{more}. "
            'Await them first, or start them with parent_close="abandon"'
        )
    started = runtime.started
    plan = started.plan or Plan()
    limit_ms, deadline_ms = started.execution_timeout_ms, started.deadline_ms(runtime.begun_ms)
    if execution_timeout is not ...:
        deadline_ms = limit_ms = None
        if execution_timeout is not None:
            limit_ms = checks.duration_ms(execution_timeout, f"{_WHAT}: execution_timeout")
    options = plan.retry
    if retry is not ...:
        options = None if retry is None else retry_options(retry, f"{_WHAT}: retry")
    name, arguments = _arguments(runtime, workflow, args)
    if memo is ...:
        kept = started.memo
    else:
        kept = runtime.decisions.encode(memo, f"{_WHAT}: memo")
    plan = replace(plan, retry=options, start_at_ms=None, deadline_ms=deadline_ms)
    if attributes is not ...:
        plan = replace(plan, attributes=encoded(attributes, f"{_WHAT}: attributes"))
    following = WorkflowStarted(
        name,
        arguments,
        b"",
        limit_ms,
        kept,
        started.headers,
        plan=None if plan == Plan() else plan,
    )
    if refused := too_large(following):
        raise PayloadTooLarge(refused.message)
    raise GoesOn(WorkflowContinued(Successor("", following)), line)


def _arguments(runtime: Runtime, workflow: Any, args: tuple[Any, ...]) -> tuple[str, bytes | None]:
    """Return the name of the workflow that goes on, and its arguments: they have to fit."""
    known: Workflow[..., Any] | None = runtime.code.workflow
    if isinstance(workflow, str):
        name, known = checks.name(workflow, f"{_WHAT}: workflow"), None
    elif workflow is not None and (known := defined(workflow)) is not workflow:
        which = "" if known is None else ": name the method of the class that is run"
        raise InvalidArgument(
            f"{_WHAT}: workflow: give a workflow, not {checks.shown(workflow)}{which}"
        )
    if known is None:
        return name, runtime.decisions.encode(list(args), f"the arguments of workflow {name!r}")
    name = known.name
    args = known.signature.positions(args, {})
    arguments = runtime.decisions.encode(list(args), f"the arguments of workflow {name!r}")
    try:
        runtime.decoded(partial(known.signature.decode, payloads=runtime.payloads), arguments)
    except SchemaMismatch as error:
        raise InvalidArgument(f"{_WHAT}: {error}") from error
    return name, arguments


def going_on(error: BaseException) -> GoesOn | None:
    """Return what lets a run go on, where nothing else ended its code; a group may hold it."""
    waits, found = [error], None
    for _ in range(_MEMBERS_MAX):
        if not waits:
            return found
        each = waits.pop()
        if isinstance(each, GoesOn):
            found = each
        elif members := members_of(each):
            waits += members
        else:
            return None
    return None
