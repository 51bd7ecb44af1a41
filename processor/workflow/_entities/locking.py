"""Locks of entities in the hands of workflow code: a block in which nobody else works with them.

The run asks each entity itself, one after the other, in the order of their ids, which is the same
for all runs. So two runs never wait for each other's locks.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self

from processor import checks
from processor.core.data.address import Address
from processor.core.entity_id import EntityId, entity_of, is_entity_id
from processor.core.nouns.locks.holding import LockAnswered, LockCalled, LockReleased
from processor.core.records.answers import Locked, Refused
from processor.errors import InvalidArgument
from processor.workflow._context import current, under_lock
from processor.workflow._engine.runtime import Runtime, settles
from processor.workflow._entities.naming import entity_id, entity_named
from processor.workflow._frames import line_here
from processor.workflow._nouns.call import Opened, opens
from processor.workflow._outcomes import refused

__all__ = ("EntityLock", "at", "lock")

_ENTITIES_MAX: Final = 100
"""So many entities one lock has at the most."""

_CALL: Final = "workflow.lock"


def at(entity: type[Any] | str, key: str) -> EntityId:
    """Name an entity: its class (or the name of that), and its key. Raises ``InvalidArgument``."""
    return _checked(entity, key, "entity.at")


def _checked(entity: type[Any] | str, key: str, call: str) -> EntityId:
    name, _ = entity_named(entity, call)
    entity_id(name, key, call)
    return EntityId(name, key)


def lock(*entities: EntityId | str) -> EntityLock:
    """Lock entities for a block: ``async with workflow.lock(entity.at(Account, "ada")) as lock:``.

    An entity is named by ``entity.at``, or by its id ("@Account@ada"). The lock is there when all
    that was asked of the entities before is done; other operations wait until the block ends, or
    the run does. In the block, operations of other entities, a second one of the same entity at
    once, signals to these entities, children, and other locks raise ``InvalidArgument``; reads do
    not. An operation raises ``LockLost`` where an operator has freed the entity. Raises
    ``InvalidArgument`` for what is no entity, named twice, none, or more than 100 of them; at the
    begin of the block ``CommandRejected`` (an entity is parked, or has too much to do).
    """
    runtime = current("lock", awaited=True)
    if not 0 < len(entities) <= _ENTITIES_MAX:
        raise InvalidArgument(
            f"{_CALL}: it was given {len(entities):,} entities; give it 1 to {_ENTITIES_MAX}"
        )
    ids: list[str] = []
    for each in entities:
        id = named(each, _CALL)
        if id in ids:
            raise InvalidArgument(f"{_CALL}: {id!r} is named twice: name each entity once")
        ids.append(id)
    return EntityLock(runtime, sorted(ids), line_here())


def named(entity: Any, call: str) -> str:
    """Return the id of an entity that ``at`` or a text names. Raises ``InvalidArgument``."""
    if isinstance(entity, EntityId):
        return _checked(entity.name, entity.key, call).workflow_id
    if isinstance(entity, str) and entity_of(entity) is not None:
        return checks.workflow_id(entity, call)
    given = checks.shown(entity)
    raise InvalidArgument(
        f"{call}: {given} names no entity: give entity.at(Account, 'ada'), or '@Account@ada'"
    )


class _Request(asyncio.Future[int]):
    """A request for the lock of one entity: the number of the grant, once there is one."""

    def __init__(self, runtime: Runtime, id: str, line: str) -> None:
        self._runtime = runtime
        self._line = line
        decisions, what = runtime.decisions, f"the lock of {id!r}"
        decisions.check(what)
        self._opened: Opened = opens(runtime, f"{what} was not asked for")
        self._call, self._turn = decisions.next_id, runtime.turn
        called = LockCalled(self._call, Address(None, id))
        self._index = decisions.add_identified(called, line, 0, what)
        super().__init__(loop=runtime.loop)
        self._order = runtime.loop.next_number()[0]
        self._granted = False
        self._opened.count += 1
        runtime.open[self._call] = self

    def __hash__(self) -> int:
        return self._order

    def cancel(self, msg: Any = None) -> bool:
        runtime = self._runtime
        if not self.done() and not runtime.loop.dropped:
            decisions, unsent = runtime.decisions, self._turn == runtime.turn
            decisions.take_back(LockReleased, self._call, self._turn, self._index, self._line)
            if unsent or self._call not in decisions.arrived:
                del runtime.open[self._call]
                self._opened.count -= 1
        return super().cancel(msg)

    def answered(self, told: Locked | Refused) -> None:
        """Hear what the entity says. A grant that nobody waits for any more is given back."""
        self._opened.count -= 1
        self._granted = isinstance(told, Locked)
        if self.done():
            self.give_back()
        elif isinstance(told, Locked):
            self.set_result(told.number)
        else:
            self.set_exception(refused(told))

    def give_back(self) -> None:
        """Free the entity, where it was locked, once."""
        if self._granted:
            released, what = LockReleased(self._call), "the end of a lock"
            self._runtime.decisions.give_back(released, self._line, what)
            self._granted = False


class EntityLock:
    """Some entities that one run works with alone. ``is_held``: the block has begun, and not ended.

    ``async with`` begins and ends the block.
    """

    def __init__(self, runtime: Runtime, ids: list[str], line: str) -> None:
        self._runtime = runtime
        self._ids = ids
        self._line = line
        self._requests: list[_Request] = []
        self._numbers: dict[str, int] = {}
        self._called: set[str] = set()
        self._began = False
        self.is_held = False

    def __repr__(self) -> str:
        return f"<lock of {', '.join(self._ids)}>"

    def number(self, entity: EntityId | str) -> int:
        """Return the fencing number of the grant: it is higher than those of all grants before.

        Give it to what the block changes elsewhere, which can refuse a lower one than it has seen.
        Raises ``InvalidArgument`` for an entity that is not locked here.
        """
        call = "lock.number"
        id = named(entity, call)
        if id not in self._numbers:
            raise InvalidArgument(f"{call}: {id!r} is not locked here: {self._known}")
        return self._numbers[id]

    async def __aenter__(self) -> Self:
        current("lock", awaited=True)
        if self._began:
            raise InvalidArgument(f"{_CALL}: this lock was used before: make another one")
        if _ends_at_once(asyncio.current_task()):
            raise InvalidArgument(
                f"{_CALL}: a task of its own begins the block (asyncio.wait_for makes one), so the "
                "code behind would not be in it: use async with asyncio.timeout(...)"
            )
        self._began = True
        try:
            for id in self._ids:
                request = _Request(self._runtime, id, self._line)
                self._requests.append(request)
                self._numbers[id] = await request
        except BaseException:
            self._give_back()
            raise
        self.is_held = True
        under_lock.set(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.is_held = False
        self._give_back()

    def _give_back(self) -> None:
        for request in self._requests:
            request.give_back()

    @property
    def _known(self) -> str:
        return f"this lock has {', '.join(map(repr, self._ids))}"

    # --- what the code asks for in the block --------------------------------------------------

    def check_call(self, id: str, call: str) -> None:
        """Raise ``InvalidArgument`` where the block may not call this entity now."""
        if id not in self._numbers:
            raise InvalidArgument(
                f"{call}: {id!r} is not locked here, and calling it inside of {_CALL} could wait "
                f"for ever: {self._known}. Lock it as well, or call it outside of the block"
            )
        if id in self._called:
            raise InvalidArgument(
                f"{call}: {id!r} has not answered the call before, and a holder has one call of "
                "an entity at a time: await them one after the other"
            )

    def check_made(self, id: str, what: str) -> None:
        """Raise ``InvalidArgument`` for a call of an entity that was made outside of the block."""
        if is_entity_id(id):
            raise InvalidArgument(
                f"workflow.call_entity: {what} was asked for outside of {_CALL}, and awaiting it "
                "inside could wait for ever: make the call where it is awaited"
            )

    def check_signal(self, id: str, call: str) -> None:
        """Raise ``InvalidArgument`` where an entity is locked here, and would not begin."""
        if id in self._numbers:
            raise InvalidArgument(
                f"{call}: {id!r} is locked here, so the signal would wait for the end of the "
                "block: call it, or signal it behind the block"
            )

    def begin_call(self, id: str, call: str) -> None:
        self.check_call(id, call)
        self._called.add(id)

    def end_call(self, id: str) -> None:
        self._called.discard(id)


def _ends_at_once(task: asyncio.Task[Any] | None) -> bool:
    """Return whether a task is over as soon as a block begins."""
    code = getattr(None if task is None else task.get_coro(), "cr_code", None)
    return code in (EntityLock.__aenter__.__code__, AsyncExitStack.enter_async_context.__code__)


@settles(LockAnswered)
def _answered(runtime: Runtime, fact: LockAnswered) -> None:
    runtime.open.pop(fact.id).answered(fact.outcome)
