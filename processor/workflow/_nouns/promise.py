"""Promises: the code waits until somebody outside resolves or rejects them, by their ids."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any, Final, TypeVar, overload

from processor.core.nouns.promise import PromiseId, PromiseMade, PromiseSettled
from processor.errors import InvalidArgument, SchemaMismatch
from processor.failures import exception_of
from processor.workflow._asyncio import Shielded
from processor.workflow._context import current
from processor.workflow._engine.runtime import Decode, Runtime, settles
from processor.workflow._frames import line_here
from processor.workflow._options import TypeForm

__all__ = ("Promise", "promise")

T = TypeVar("T")

_OPEN_MAX: Final = 10_000
"""So many promises of a run are open at once."""


class Promise(Shielded, asyncio.Future[T]):
    """What somebody outside resolves or rejects. Await it for the value, as often as you like.

    ``id`` names it to whoever does that: ``client.resolve(id, value)``, ``client.reject(id,
    message)``, from any process. It may stand in a URL. Whoever knows it can settle the promise.
    Where a time-out or a cancellation ends an await, the promise stays open.
    """

    __slots__ = ("_decode", "_number", "id")

    def __init__(self, runtime: Runtime, number: int, decode: Decode) -> None:
        super().__init__(loop=runtime.loop)
        self._number = runtime.loop.next_number()[0]
        self._decode = decode
        self.id = PromiseId(runtime.workflow_id, runtime.run_id, number).text

    def __hash__(self) -> int:
        return self._number

    def __repr__(self) -> str:
        return f"Promise(id={self.id!r})"

    def __await__(self) -> Generator[Any, None, T]:
        if not self.done():
            waiter = self.get_loop().create_future()

            def wake(settled: object) -> None:
                if not waiter.done():
                    waiter.set_result(None)

            self.add_done_callback(wake)
            try:
                yield from waiter
            finally:
                self.remove_done_callback(wake)
        return self.result()

    async def awaited(self) -> T:
        """Return the value, for whoever wants a coroutine."""
        return await self

    def settle(self, runtime: Runtime, fact: PromiseSettled) -> None:
        """Hear what it comes to."""
        if self.done():  # the code has cancelled it
            return
        if fact.failure is not None:
            self.set_exception(exception_of(fact.failure, runtime.payloads))
            return
        try:
            self.set_result(self._decode(fact.value))
        except SchemaMismatch as error:
            what = f"the value of promise {fact.id}"
            self.set_exception(SchemaMismatch(f"{what} ({self.id}): {error}"))


class _Open:
    """How many promises of a run nobody has settled."""

    def __init__(self, runtime: Runtime) -> None:
        self.count = 0


@overload
def promise(type: type[T]) -> Promise[T]: ...


@overload
def promise(type: TypeForm = ...) -> Promise[Any]: ...


def promise(type: Any = Any) -> Promise[Any]:
    """Make a promise, which somebody outside resolves with a value of ``type``, or rejects.

    Hand its ``id`` out: in a mail, a URL, a call of an activity. Awaiting it returns the value, and
    raises the ``ApplicationError`` with which it was rejected; ``SchemaMismatch`` where the value
    does not fit ``type``. It is open until it is settled or the run ends: another run of a chain
    does not get it. A run has 10,000 open ones at the most. Raises ``InvalidArgument``.
    """
    runtime, line = current("promise", awaited=True), line_here()
    decode = runtime.decoder(type, "workflow.promise: type")
    decisions = runtime.decisions
    opened = runtime.part(_Open)
    if opened.count >= _OPEN_MAX:
        raise InvalidArgument(
            f"workflow.promise: this run has {_OPEN_MAX:,} promises that nobody has settled: await "
            "some of them first"
        )
    number = decisions.next_id
    decisions.add_identified(PromiseMade(number), line, 0, "a promise")
    made: Promise[Any] = Promise(runtime, number, decode)
    runtime.open[number] = made
    opened.count += 1
    return made


@settles(PromiseSettled)
def _settled(runtime: Runtime, fact: PromiseSettled) -> None:
    runtime.part(_Open).count -= 1
    made: Promise[Any] = runtime.open.pop(fact.id)
    made.settle(runtime, fact)
