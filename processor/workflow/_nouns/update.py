"""The updates of one run: a handler does something, and what comes of it goes to who asked.

The validator is asked first, and only reads: see ``_engine.reading``. Then the handler runs in a
task of its own, and its outcome is recorded.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from processor import checks
from processor.core.data.bounds import size_of
from processor.core.data.failure import Failure
from processor.core.data.shown import shown
from processor.core.nouns.update import UpdateAccepted, UpdateCompleted
from processor.core.runner import NeverEnds, Spoiled
from processor.errors import (
    InvalidArgument,
    PayloadCodecError,
    PayloadTooLarge,
    SchemaMismatch,
    UpdateRejected,
)
from processor.failures import failure_of
from processor.workflow._context import current
from processor.workflow._engine.failing import fails
from processor.workflow._engine.reading import reading
from processor.workflow._engine.runtime import Runtime, settles
from processor.workflow._guard.signals import is_signal
from processor.workflow._handlers import (
    Unfinished,
    UpdateHandler,
    check_unfinished,
    check_validator,
)
from processor.workflow._nouns.handler import WorkflowCode, code_of, name_of

__all__ = ("accepts", "on_update", "refuse_unclaimed")

_DETAILS_BYTES_MAX: Final = 1_000_000


def on_update(
    name: str | None,
    function: Callable[..., Any],
    *,
    validator: Callable[..., Any] | None = None,
    unfinished: Unfinished = "warn",
) -> None:
    """Let a function take the updates of a name from now on; what it returns goes to who asked.

    The function may be async. ``validator`` is plain, takes the same arguments, and refuses an
    update by raising any error. ``name`` None: the function takes every name that no other handler
    has, and gets the name before the arguments, as the validator does. A later one of the same name
    takes its place. Register it before the code first waits: updates of names that nobody takes
    then are refused. ``unfinished="abandon"``: the run may end before the function has. Raises
    ``InvalidArgument``.
    """
    runtime = current("on_update")
    runtime.decisions.check("a handler of updates")
    name = name_of(name, function, "workflow.on_update")
    check_unfinished(unfinished, "workflow.on_update")
    handler: UpdateHandler[..., Any] = UpdateHandler(function, name, unfinished, is_method=False)
    if validator is not None:
        if not callable(validator):
            given = checks.shown(validator)
            raise InvalidArgument(f"workflow.on_update: validator: give a function, not {given}")
        check_validator(validator, "workflow.on_update: validator")
        handler.check = validator
    code = code_of(runtime)
    code.updates = {**code.updates, name: handler}
    waiting, code.unclaimed = code.unclaimed, []
    for update in waiting:
        _accepted(runtime, update)


def accepts(runtime: Runtime, name: str, payload: bytes | None) -> bool:
    """Ask the validator of an update; see ``Runner.accepts``."""
    code = code_of(runtime)
    with _validating(runtime, name):
        handler = _handler(code, name)
        if handler is None:
            if runtime.main is None:
                return False
            raise _unknown(code, name)
        decode = partial(handler.signature.decode, payloads=runtime.payloads)
        _validate(code, handler, name, runtime.decoded(decode, payload))
    return True


@settles(UpdateAccepted)
def _accepted(runtime: Runtime, update: UpdateAccepted) -> None:
    """Let a handler take an update, at once or when there is one."""
    code = code_of(runtime)
    handler = _handler(code, update.name)
    if handler is None:
        code.unclaimed.append(update)
    else:
        code.running.append(handler)
        code.beside(runtime, _updated(runtime, code, handler, update))


def refuse_unclaimed(runtime: Runtime) -> None:
    """Refuse the updates that no handler has taken: the code has begun without one."""
    code = code_of(runtime)
    unclaimed, code.unclaimed = code.unclaimed, []
    for update in unclaimed:
        _over(runtime, update, "", failed=_unknown(code, update.name))


def _handler(code: WorkflowCode, name: str) -> UpdateHandler[..., Any] | None:
    return code.updates.get(name) or code.updates.get("")


def _unknown(code: WorkflowCode, name: str) -> UpdateRejected:
    known = ", ".join(sorted(map(repr, code.updates))) or "none"
    return UpdateRejected(f"there is no update {name!r}; the workflow has: {known}")


async def _updated(
    runtime: Runtime,
    code: WorkflowCode,
    handler: UpdateHandler[..., Any],
    update: UpdateAccepted,
) -> None:
    try:
        decode = partial(handler.signature.decode, payloads=runtime.payloads)
        arguments = _fitting(runtime, decode, update)
        if not update.validated:
            _validate_here(runtime, code, handler, update, arguments)
        result = code.called(handler, update.name, arguments)
        if inspect.isawaitable(result):
            result = await result
        _over(runtime, update, handler.place, result)
    except asyncio.CancelledError as error:
        if runtime.loop.dropped:
            raise
        _over(runtime, update, handler.place, failed=error)
    except Exception as error:
        if not fails(error, code.workflow.failure_exception_types):
            raise
        _over(runtime, update, handler.place, failed=error)
    finally:
        code.running.remove(handler)


# --- validators -------------------------------------------------------------------------------


@contextmanager
def _validating(runtime: Runtime, name: str, seed: bytes | None = None) -> Iterator[None]:
    """Ask a validator, which only reads; whatever it raises refuses the update."""
    with reading(runtime, f"the validator of update {name!r}", seed):
        try:
            yield
        except (UpdateRejected, SchemaMismatch, PayloadCodecError, Spoiled, NeverEnds):
            raise
        except BaseException as error:
            if is_signal(error):
                raise
            raise UpdateRejected(shown(error).words) from error


def _validate(
    code: WorkflowCode, handler: UpdateHandler[..., Any], name: str, arguments: tuple[Any, ...]
) -> None:
    if handler.check is None:
        return
    if handler.is_method and code.instance is None:
        raise UpdateRejected("it has no state: __init__ of the class failed")
    result = code.called(handler, name, arguments, handler.check)
    if inspect.iscoroutine(result):
        result.close()
        raise UpdateRejected("its validator returned a coroutine: it only reads, at once")


def _validate_here(
    runtime: Runtime,
    code: WorkflowCode,
    handler: UpdateHandler[..., Any],
    update: UpdateAccepted,
    arguments: tuple[Any, ...],
) -> None:
    """Ask the validator while the code runs, so that replay has to see the same random numbers."""
    seed = hashlib.blake2b(update.id.encode(), key=runtime.started.seed, digest_size=16).digest()
    try:
        with _validating(runtime, update.name, seed):
            _validate(code, handler, update.name, arguments)
    except (SchemaMismatch, PayloadCodecError, Spoiled) as error:
        raise UpdateRejected(str(error)) from None


def _fitting(
    runtime: Runtime, decode: Callable[[bytes | None], Any], update: UpdateAccepted
) -> tuple[Any, ...]:
    """Return the arguments of an update; those that nobody has looked at may not fit."""
    try:
        arguments: tuple[Any, ...] = runtime.decoded(decode, update.arguments)
    except SchemaMismatch as error:
        if update.validated:
            raise
        raise UpdateRejected(str(error)) from None
    return arguments


# --- outcomes ---------------------------------------------------------------------------------


def _over(
    runtime: Runtime,
    update: UpdateAccepted,
    line: str,
    result: Any = None,
    failed: BaseException | None = None,
) -> None:
    """Record the outcome of an update. A result that cannot be recorded is a failure."""
    what = f"the result of update {update.name!r}"
    if failed is None:
        payload = runtime.decisions.encode(result, what)
        completed = UpdateCompleted(update.id, payload)
        runtime.decisions.add(completed, line, len(payload or b""), what)
    else:
        failure = failure_of(failed, runtime.payloads, _DETAILS_BYTES_MAX)
        try:
            _failed(runtime, update, line, failure, what)
        except PayloadTooLarge:
            _failed(runtime, update, line, failure_of(failed, runtime.payloads, 0), what)


def _failed(
    runtime: Runtime, update: UpdateAccepted, line: str, failure: Failure, what: str
) -> None:
    completed = UpdateCompleted(update.id, failure=failure)
    runtime.decisions.add(completed, line, size_of(failure), what)
