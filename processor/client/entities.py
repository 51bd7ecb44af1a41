"""One entity in the hands of a client: calls that are answered, signals, and its state."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Generic, TypeVar, TypeVarTuple, overload

from processor import arguments as given
from processor import checks
from processor.arguments import Seconds
from processor.client.calls import ClientCalls, deadline_of
from processor.client.descriptions import EntityOperation, RunDescription
from processor.client.handle import Handle
from processor.client.updates import outcome_within_ms
from processor.client.vigil import Parked
from processor.core.entity_id import EntityId
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.locks.granting import UnlockEntity
from processor.core.nouns.start import begins
from processor.core.nouns.timer import RaiseEventAt
from processor.core.nouns.update import UpdateRun
from processor.core.questions import QueryRun
from processor.core.records.answers import QueryAnswered
from processor.errors import InvalidArgument, RequestExpired, UpdateNotFound, WorkflowNotFound
from processor.workflow._engine.runtime import reader
from processor.workflow._entities.definition import HISTORY, STATE, Entity
from processor.workflow._entities.naming import (
    entity_id,
    entity_named,
    operation_named,
)
from processor.workflow._outcomes import answered
from processor.workflow._signature import event_value

__all__ = ("EntityHandle", "HasEntities")

E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class EntityHandle(Generic[E]):
    """One entity: the ``name`` of its class, and its ``key``. ``id`` is that of its run."""

    def __init__(
        self, calls: ClientCalls, handle: Handle[Any], entity: Entity | str, key: str
    ) -> None:
        self._calls = calls
        self._handle = handle
        self._entity = entity
        self.id = handle.id
        self.name = entity.name if isinstance(entity, Entity) else entity
        self.key = key

    def __repr__(self) -> str:
        return f"EntityHandle(name={self.name!r}, key={self.key!r})"

    @overload
    async def call(
        self,
        operation: Callable[[E, *Ts], Coroutine[Any, Any, R]],
        /,
        *args: *Ts,
        key: str | None = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> R: ...

    @overload
    async def call(
        self,
        operation: Callable[[E, *Ts], R],
        /,
        *args: *Ts,
        key: str | None = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> R: ...

    @overload
    async def call(
        self,
        operation: str,
        /,
        *args: Any,
        result_type: type[T],
        key: str | None = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> T: ...

    @overload
    async def call(
        self,
        operation: str,
        /,
        *args: Any,
        key: str | None = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> Any: ...

    async def call(  # type: ignore[misc]  # *Ts
        self,
        operation: Any,
        /,
        *args: Any,
        result_type: Any = None,
        key: str | None = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> Any:
        """Let the entity do an operation, or answer a read, and return the result.

        ``operation`` is a method of the class (``Account.deposit``), or its name. ``key`` is an
        idempotency key: a call with one that this entity has taken is not run again, and has the
        outcome of the first. ``timeout`` (a ``timedelta`` or seconds; default: none) ends the wait
        and not the operation, ``parked`` is as for ``Handle.result``. Raises ``UpdateFailed`` (the
        cause is the operation's error; of a read ``QueryFailed``), ``UpdateRejected`` (there is no
        such operation, or its arguments do not fit), ``CommandRejected`` (the entity is parked, or
        has too much to do), ``RequestExpired`` (it ran, and its outcome is not kept any more),
        ``SchemaMismatch``, ``ShardUnavailable``, ``TimeoutError``.
        """
        limit_s = given.seconds(timeout, "call: timeout")
        named = operation_named(operation, "call", self._entity)
        args = args if named.signature is None else named.signature.positions(args, {})
        type = named.result
        if result_type is not None:
            reader(self._calls.payloads, type := result_type, "call: result_type")
        what = f"the arguments of operation {named.name!r}"
        encoded = self._calls.encoded(what, list(args))
        if named.is_read:
            return await self._read(named.name, encoded, type, limit_s)
        deadline = deadline_of(limit_s)
        id = uuid.uuid4().hex if key is None else checks.name(key, "call: key")
        within_ms = outcome_within_ms(self._calls, limit_s)
        first = UpdateRun(id, named.name, encoded, outcome_within_ms=within_ms)
        body = begins(EntityId(self.name, self.key), first)
        once = None if key is None else f"call/{key}"
        async with self._handle._vigil(parked, "call: parked"):
            try:
                sent = await self._handle._sent(
                    body, id, type, limit_s, name=named.name, again=key is not None, key=once
                )
                return await sent._result(limit_s, deadline)
            except UpdateNotFound as error:
                raise RequestExpired(
                    f"operation {named.name!r} of {self.id!r} was taken, once, and its outcome is "
                    "not kept any more: an entity keeps those of its last operations. Look at its "
                    "state"
                ) from error

    @overload
    async def signal(
        self,
        operation: Callable[[E, *Ts], Any],
        /,
        *args: *Ts,
        key: str | None = None,
        delay: Seconds | None = None,
        at: datetime | None = None,
    ) -> None: ...

    @overload
    async def signal(
        self,
        operation: str,
        /,
        *args: Any,
        key: str | None = None,
        delay: Seconds | None = None,
        at: datetime | None = None,
    ) -> None: ...

    async def signal(  # type: ignore[misc]  # *Ts
        self,
        operation: Any,
        /,
        *args: Any,
        key: str | None = None,
        delay: Seconds | None = None,
        at: datetime | None = None,
    ) -> None:
        """Ask the entity for an operation, and go on: it is durable once this returns.

        The entity keeps it for ``delay`` (a ``timedelta`` or seconds), or until ``at`` (an aware
        ``datetime``). Nobody is told the result: a failure is logged by the worker. ``operation``
        and ``key`` are as for ``call``. Raises ``CommandRejected``, ``SchemaMismatch``,
        ``ShardUnavailable``.
        """
        due_ms = checks.due_ms(delay, at, self._calls.now_ms(), "signal")
        named = operation_named(operation, "signal", self._entity)
        if named.is_read:
            raise InvalidArgument(
                f"signal: {named.name!r} is a read, and nobody would be told its answer: call it"
            )
        payload = self._calls.encoded(
            f"operation {named.name!r}", event_value(named.signature, args)
        )
        key = None if key is None else checks.name(key, "signal: key")
        first = RaiseEvent(named.name, payload)
        if due_ms is not None:
            first = RaiseEventAt(named.name, payload, due_ms=due_ms)
        body = begins(EntityId(self.name, self.key), first)
        await self._calls.accepted(self.id, body, key=key)

    async def cancel(self, reason: str = "") -> bool:
        """Cancel the operation that runs; return False where none does.

        ``asyncio.CancelledError`` is raised where the operation waits. It may clean up and await:
        the next one begins when it has ended. Its fields are restored, and whoever called it gets
        ``UpdateFailed`` with the ``CancelledError`` as its cause. Raises ``ShardUnavailable``.
        """
        try:
            return await self._handle.cancel(reason)
        except WorkflowNotFound:
            return False

    async def state(self, timeout: Seconds | None = None) -> E | None:
        """Return the state that is recorded; None where there is none.

        It is a copy: an object of the class, or where the entity was named by text, its fields as
        plain JSON. ``timeout`` is a ``timedelta`` or seconds. Raises ``SchemaMismatch``,
        ``QueryFailed``, ``ShardUnavailable``.
        """
        limit_s = given.seconds(timeout, "state: timeout")
        fields: Any = await self._read(STATE, None, Any, limit_s, raw=True)
        entity = self._entity
        if fields is None or not isinstance(entity, Entity):
            decode = self._calls.payloads.decoder(Any)
            plain: E | None = None if fields is None else decode(fields)
            return plain
        found: E = entity.copied(fields, self._calls.payloads)
        return found

    async def history(self, timeout: Seconds | None = None) -> list[EntityOperation]:
        """Return the operations that ended last, the oldest first: those that the class keeps.

        ``@entity.define(history=10)`` says how many. What a signal returned is not kept, and of
        values and texts that are too long only their size. ``timeout`` is a ``timedelta`` or
        seconds. Raises ``QueryFailed`` (the class keeps none), ``ShardUnavailable``.
        """
        limit_s = given.seconds(timeout, "history: timeout")
        found: list[EntityOperation] = await self._read(
            HISTORY, None, list[EntityOperation], limit_s
        )
        return found

    async def describe(self) -> RunDescription:
        """Return how its run stands. Raises ``WorkflowNotFound`` where nobody has called it."""
        return await self._handle.describe()

    async def unlock(self, reason: str = "", *, number: int | None = None) -> bool:
        """Free the entity from the run that holds its lock; return whether one did.

        The holder's next call raises ``LockLost``; an operation of its that runs goes on to its
        end. With a ``number`` only the grant of that fencing number is freed: ``describe`` tells
        it. Raises ``WorkflowNotFound`` where nobody has called the entity, ``InvalidArgument``,
        ``ShardUnavailable``.
        """
        if number is not None:
            number = checks.whole(number, "unlock: number", 1)
        body = UnlockEntity(checks.text(reason, "unlock: reason"), number)
        return (await self._calls.accepted(self.id, body)).created

    async def _read(
        self, name: str, encoded: bytes | None, type: Any, limit_s: float | None, raw: bool = False
    ) -> Any:
        body = QueryRun(name, encoded)
        answer = await self._calls.ask(self.id, body, limit_s)
        assert isinstance(answer, QueryAnswered), f"a shard answers {body} with {answer}"
        if raw and answer.failure is None:
            return answer.result
        return answered(self.id, name, answer, self._calls.payloads, type)


class HasEntities(ABC):
    """The part of a client that names entities."""

    _calls: ClientCalls

    @abstractmethod
    def _handle(self, id: str, run_id: str | None, result_type: Any) -> Handle[Any]: ...

    @overload
    def entity(self, entity: type[E], key: str) -> EntityHandle[E]: ...

    @overload
    def entity(self, entity: str, key: str) -> EntityHandle[Any]: ...

    def entity(self, entity: Any, key: str) -> EntityHandle[Any]:
        """Return an entity by its class, or its name, and its key, without asking anybody.

        It is there as soon as somebody calls it. Raises ``InvalidArgument``.
        """
        name, known = entity_named(entity, "entity")
        handle = self._handle(entity_id(name, key, "entity"), None, Any)
        return EntityHandle(self._calls, handle, known or name, key)
