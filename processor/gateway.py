"""What a client needs of a runtime: send a command to a shard, get its answer."""

from __future__ import annotations

import itertools
import secrets
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

from processor.core.activity_requests import ReportAttempt
from processor.core.data.address import ReplyTo
from processor.core.data.cause import ClientRequest
from processor.core.inputs import ClientCommand
from processor.core.nouns.start import StartRun, StartWith
from processor.core.nouns.update import AwaitUpdate, UpdateRun
from processor.core.nouns.value import AwaitValue
from processor.core.operation import Operation, Request
from processor.core.questions import AwaitResult, QueryRun
from processor.core.records.answers import (
    Accepted,
    Closed,
    HeartbeatSeen,
    Page,
    QueryAnswered,
    Refused,
    ReplyBody,
    StopWanted,
    UpdateEnded,
    ValueIs,
)
from processor.policy import Status
from processor.workflow._asyncio import running_loop
from processor.workflow._engine.loop import WorkflowLoop

if TYPE_CHECKING:
    from processor.views.answers import Found, RunCount
    from processor.views.search import RunSearch
    from processor.views.tables.pages import TablePage, TableSearch

_CLOSED = frozenset(each.value for each in Status if not each.is_open)

CLOSED: Final = "the client was closed: make a new one, and close it after all that use it"
"""Said to those who ask after the end, and to those who waited for an answer until then."""

__all__ = ("CLOSED", "Gateway", "Requester", "is_answer", "new_client_id", "only_outside")


class Gateway(Protocol):
    @property
    def partitions(self) -> int:
        """How many shards the namespace has."""

    async def start(self) -> None:
        """Connect. Raises ``ShardUnavailable`` or ``TopicsNotReady``."""

    async def request(
        self, command: ClientCommand, *, timeout_s: float, partition: int | None = None
    ) -> ReplyBody:
        """Return the answer of the command's shard (or of the one at ``partition``).

        Raises ``ShardUnavailable`` when the time is up, ``PayloadTooLarge`` before sending.
        """

    async def search(self, search: RunSearch, *, timeout_s: float) -> Found | RunCount:
        """Return what a view of the log says. ``InvalidArgument`` where no view can run."""

    async def view(self, search: TableSearch, *, timeout_s: float) -> TablePage:
        """Return a page of a table of a user's. ``InvalidArgument`` where there is none."""

    async def close(self) -> None: ...


def only_outside() -> None:
    """Raise in workflow code: each replay would ask again, and would be answered otherwise."""
    loop = running_loop()
    if type(loop) is WorkflowLoop:
        raise loop.refused(
            "a Client",
            "Each replay would send its requests again. Send events with workflow.signal(), cancel "
            "with workflow.cancel(). For all else call an activity that uses the client.",
        )


def is_answer(body: Request, reply: ReplyBody) -> bool:
    """Return whether a shard may have given this reply: anybody can write to ``replies``."""
    match reply:
        case Refused():
            return True
        case Closed(_, status, _, failure):
            known = status in _CLOSED and (status != Status.FAILED or failure is not None)
            return known and isinstance(body, AwaitResult | StartRun)
        case Accepted():
            return isinstance(body, Operation)
        case Page():
            return not isinstance(
                body, Operation | AwaitResult | QueryRun | AwaitUpdate | AwaitValue
            )
        case QueryAnswered():
            return isinstance(body, QueryRun)
        case UpdateEnded():
            return isinstance(body, UpdateRun | AwaitUpdate | StartWith)
        case HeartbeatSeen():
            return isinstance(body, ReportAttempt)
        case ValueIs():
            return isinstance(body, AwaitValue)
        case StopWanted():
            return False


def new_client_id() -> str:
    """Return an id that no other client has: 64 random bits as text."""
    return secrets.token_urlsafe(8)


class Requester:
    """Gives the requests of one client their identities.

    Each has a number by which its answer is known. Those that may change something are numbered
    for their shard as well, in the order in which they are sent, so that the shard lets each count
    once however often it is sent. ``to`` is where the client reads; its client id never changes.
    """

    def __init__(self, to: ReplyTo) -> None:
        self.to = to
        self._requests = itertools.count(1)
        self._changes: Counter[int] = Counter()

    def identified(self, command: ClientCommand, partition: int) -> ClientCommand:
        """Return a command as the next request to a shard. Send it before the one after it."""
        to, cause = self.to, command.cause
        if cause is None and isinstance(command.body, Operation):
            self._changes[partition] += 1
            cause = ClientRequest(to.client, self._changes[partition])
        reply_to = to.numbered(next(self._requests))
        return ClientCommand(
            command.workflow_id, command.body, cause, command.again, reply_to, command.caller
        )
