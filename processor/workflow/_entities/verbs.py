"""Entities in the hands of workflow code: calls that are answered, signals, and what methods ask.

A call is an update, and a signal an external event, that begin the entity where it is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar, TypeVarTuple, overload

from processor import checks
from processor.core.data.address import Address
from processor.core.entity_id import EntityId
from processor.core.nouns.locks.granting import CallUnderLock
from processor.core.nouns.start import begins
from processor.core.nouns.update import UpdateRun
from processor.core.questions import QueryRun
from processor.errors import InvalidArgument, LockLost, WorkflowNotFound
from processor.workflow._context import current, locked_here
from processor.workflow._engine.runtime import Runtime
from processor.workflow._entities.definition import EntityInfo, Operating
from processor.workflow._entities.locking import EntityLock
from processor.workflow._entities.naming import entity_id, operation_named
from processor.workflow._frames import line_here
from processor.workflow._nouns.call import Sent, send
from processor.workflow._nouns.instance import Asks, InstanceQuestion, asked
from processor.workflow._outbound import InstanceCall, headers_of, size_of
from processor.workflow._outcomes import answered, updated
from processor.workflow._signature import event_value

__all__ = ("call_entity", "delete", "info", "signal_entity")

R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@overload
def call_entity(
    operation: Callable[[Any, *Ts], Coroutine[Any, Any, R]], key: str, /, *args: *Ts
) -> Coroutine[object, None, R]: ...


@overload
def call_entity(
    operation: Callable[[Any, *Ts], R], key: str, /, *args: *Ts
) -> Coroutine[object, None, R]: ...


@overload
def call_entity(
    operation: str, key: str, /, *args: Any, result_type: type[T]
) -> Coroutine[object, None, T]: ...


@overload
def call_entity(operation: str, key: str, /, *args: Any) -> Coroutine[object, None, Any]: ...


def call_entity(  # type: ignore[misc]  # *Ts
    operation: Any, key: str, /, *args: Any, result_type: Any = None
) -> Coroutine[object, None, Any]:
    """Let the entity under a key do an operation, or answer a read, and return the result.

    ``operation`` is a method of the class (``Account.deposit``), or "Account.deposit". It counts
    once, and runs when those before it have ended. Whoever gives up waiting does not stop it.
    Operations of entities cannot call others: two that call each other would wait for ever. Raises
    ``InvalidArgument``, and where it is awaited ``UpdateFailed`` (the cause is the operation's
    error; of a read ``QueryFailed``), ``UpdateRejected`` (there is no such operation, or its
    arguments do not fit), ``CommandRejected`` (the entity is parked, or has too much to do);
    inside of ``workflow.lock``, also ``LockLost``.
    """
    call, line = "workflow.call_entity", line_here()
    runtime = current("call_entity", awaited=True)
    named = operation_named(operation, call)
    id = entity_id(named.entity, key, call)
    args = args if named.signature is None else named.signature.positions(args, {})
    type = named.result if result_type is None else result_type
    if runtime.code.operating is not None and not named.is_read:
        raise InvalidArgument(
            f"{call}: an operation of an entity cannot call {named.entity}.{named.name}: two "
            "entities that call each other would wait for ever. Signal it "
            "(workflow.signal_entity), or let a workflow call both"
        )
    what = f"operation {named.name!r} of {id!r}"
    told = _answered if named.is_read else _updated
    held: EntityLock | None = None if named.is_read else locked_here()
    if held is not None:
        held.check_call(id, call)
    read = partial(told, runtime, id, named.name, type)
    asks = Asks(runtime, Address(None, id), what, type, read, line)

    def made(call: InstanceCall) -> InstanceQuestion:
        arguments = list(call.arguments)
        encoded = runtime.decisions.encode(arguments, f"the arguments of {what}")
        if named.is_read:
            return InstanceQuestion(QueryRun(named.name, encoded))
        headers = headers_of(call.headers)
        if held is not None:
            number = held.number(id)
            under = CallUnderLock("", named.name, encoded, headers=headers, number=number)
            return InstanceQuestion(under, size_of(headers))
        first = UpdateRun("", named.name, encoded, headers=headers)
        return InstanceQuestion(begins(EntityId(named.entity, key), first), size_of(headers))

    answer = asked(asks, made, "query" if named.is_read else "update", named.name, args)
    return answer if held is None else _under_lock(held, id, answer)


async def _under_lock(held: EntityLock, id: str, answer: Coroutine[object, None, Any]) -> Any:
    """Ask an entity that is locked here, when it has answered the call before."""
    try:
        held.begin_call(id, "workflow.call_entity")
    except InvalidArgument:
        answer.close()
        raise
    try:
        return await answer
    except WorkflowNotFound as error:
        raise LockLost(
            f"entity {id!r} has ended, and the lock under number {held.number(id)} with it: end "
            "the block, look at the entities, and lock them again"
        ) from error
    finally:
        held.end_call(id)


def _answered(runtime: Runtime, id: str, name: str, type: Any, told: Any) -> Any:
    return answered(id, name, told, runtime.payloads, type)


def _updated(runtime: Runtime, id: str, name: str, type: Any, told: Any) -> Any:
    return updated(id, told.id, told, runtime.payloads, type)


@overload
def signal_entity(
    operation: Callable[[Any, *Ts], Any],
    key: str,
    /,
    *args: *Ts,
    delay: timedelta | float | None = None,
    at: datetime | None = None,
) -> Sent[None]: ...


@overload
def signal_entity(
    operation: str,
    key: str,
    /,
    *args: Any,
    delay: timedelta | float | None = None,
    at: datetime | None = None,
) -> Sent[None]: ...


def signal_entity(  # type: ignore[misc]  # *Ts
    operation: Any,
    key: str,
    /,
    *args: Any,
    delay: timedelta | float | None = None,
    at: datetime | None = None,
) -> Sent[None]:
    """Ask the entity under a key for an operation, and go on: nobody is told its result.

    It leaves at the call, also from an operation, and counts once. The entity keeps it for
    ``delay`` (a ``timedelta`` or seconds), or until ``at`` (an aware ``datetime``). Await what this
    returns to know that the entity took it. ``operation`` and the arguments are as for
    ``workflow.call_entity``; one whose arguments do not fit goes to the dead letters. Raises
    ``InvalidArgument``.
    """
    call, line = "workflow.signal_entity", line_here()
    runtime = current("signal_entity")
    due_ms = checks.due_ms(delay, at, runtime.loop.now_ms, call)
    named = operation_named(operation, call)
    if named.is_read:
        which = f"{named.entity}.{named.name}"
        raise InvalidArgument(f"{call}: {which} is a read, and nobody would be told its answer")
    id = entity_id(named.entity, key, call)
    value = event_value(named.signature, args)
    return send(runtime, Address(None, id), named.name, value, line, "entity", due_ms)


def info() -> EntityInfo:
    """Return which operation of which entity this is."""
    return _operating("info").info


def delete() -> None:
    """Give up the state when this operation ends well: the next one begins with a fresh object."""
    runtime = current("delete")
    operating = _operating("delete")
    runtime.decisions.check("the end of the state")
    operating.deleted = True


def _operating(verb: str) -> Operating:
    operating: Operating | None = current(verb).code.operating
    if operating is None:
        raise RuntimeError(
            f"entity.{verb}() was called outside of an entity. It works in the methods of a class "
            "under @entity.define that a worker (or processor.testing.Environment) runs"
        )
    return operating
