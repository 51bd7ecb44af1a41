"""Promises in the hands of a client: any process settles them, by their ids."""

from __future__ import annotations

from typing import Any

from processor import checks
from processor.client.calls import ClientCalls
from processor.core.nouns.promise import RejectPromise, ResolvePromise, promise_named
from processor.errors import ApplicationError
from processor.failures import failure_of

__all__ = ("PromiseCalls",)


class PromiseCalls:
    """What a client says about promises, from any process.

    ``id`` is that of a ``workflow.promise()``. The first word on a promise counts. Each later one
    raises ``PromiseNotOpen``, and so does one after the end of the run.
    """

    _calls: ClientCalls

    async def resolve(self, id: str, value: Any = None) -> None:
        """Resolve a promise with a value; it is durable once this returns."""
        named = promise_named(id, "resolve: id")
        encoded = self._calls.encoded("the value of the promise", value)
        await self._calls.accepted(named.workflow_id, ResolvePromise(id, encoded))

    async def reject(
        self, id: str, message: str, *, type: str | None = None, details: Any = None
    ) -> None:
        """Reject a promise: who awaits it gets an ``ApplicationError`` with these.

        ``type`` has 1 to 1,000 bytes. Raises ``SchemaMismatch`` where ``details`` cannot be
        encoded, and ``PayloadTooLarge``: the promise is open as before.
        """
        named = promise_named(id, "reject: id")
        message = checks.text(message, "reject: message")
        kind = ApplicationError.__name__ if type is None else checks.name(type, "reject: type")
        if details is not None:
            self._calls.encoded("the details of the error", details)
        error = ApplicationError(message, type=kind, details=details)
        failure = failure_of(error, self._calls.payloads)
        body = RejectPromise(id, failure.message, kind, failure.details)
        await self._calls.accepted(named.workflow_id, body)
