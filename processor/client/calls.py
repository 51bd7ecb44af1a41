"""What a client and its handles have in common: they ask shards, and encode what they send."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

from processor import arguments as given
from processor.client.vigil import Vigils
from processor.config import Settings
from processor.core.data.cause import Cause, keyed
from processor.core.inputs import ClientCommand
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.start import StartRun, StartWith
from processor.core.nouns.update import UpdateRun
from processor.core.operation import Operation, Request
from processor.core.questions import QueryRun
from processor.core.records.answers import Accepted, Page, Refused, ReplyBody
from processor.errors import InvalidArgument, SchemaMismatch, ShardUnavailable
from processor.failures import refusal
from processor.gateway import Gateway, only_outside
from processor.injection.interceptors import ClientCall, Injected
from processor.workflow._outbound import chained, headers_of

__all__ = ("WAIT_MS", "ClientCalls", "deadline_of")

_log = logging.getLogger("processor.client")

WAIT_MS: Final = 30_000
"""How long a shard keeps a waiting client, which then asks again."""

_ASK_AGAIN_S: Final = 0.2

_LOOK_S: Final = 0.1
"""How long the first question may take, however short the wait is to be."""


def deadline_of(limit_s: float | None) -> float | None:
    """Return when a wait that begins now is over (``time.monotonic``); None: never."""
    return None if limit_s is None else time.monotonic() + limit_s


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class ClientCalls:
    """Asks the shards through a gateway. ``vigils`` look after those who wait for results.

    ``now_ms`` is the clock by which delays are reckoned.
    """

    def __init__(self, gateway: Gateway, settings: Settings, injected: Injected) -> None:
        self.gateway = gateway
        self.settings = settings
        self.payloads = injected.payloads
        self._around = injected.around("request")
        self.vigils = Vigils()
        self.now_ms = _now_ms

    def ask(
        self,
        workflow_id: str,
        body: Request,
        timeout: float | None = None,
        partition: int | None = None,
        key: str | None = None,
        asks_for: str | None = None,
    ) -> Awaitable[ReplyBody]:
        """Ask a shard. ``key``: an idempotency key of the user's, with which it counts once.

        The key is for one thing: ``asks_for``, or what ``body`` says.
        """
        only_outside()
        cause = None
        if key is not None:
            assert isinstance(body, Operation), f"{body} counts once by itself"
            asked_for = body.asks_for if asks_for is None else asks_for
            cause = keyed(body.word, workflow_id, key, asked_for)
        if self._around:
            last = partial(
                self._asked, workflow_id, timeout=timeout, partition=partition, cause=cause
            )
            return self._intercepted(workflow_id, body, last)
        return self._asked(workflow_id, body, timeout, partition, cause)

    async def _intercepted(
        self,
        workflow_id: str,
        body: Request,
        last: Callable[[Request], Awaitable[ReplyBody]],
    ) -> ReplyBody:
        """Ask with what interceptors do around it: they hear what is raised."""
        answers: list[ReplyBody] = []

        async def asked(request: ClientCall) -> None:
            sent = body
            if isinstance(body, StartRun | RaiseEvent | UpdateRun):
                headers = headers_of(request.headers)
                sent = replace(body, headers=headers)
                if isinstance(sent, StartWith) and isinstance(sent.first, RaiseEvent | UpdateRun):
                    sent = replace(sent, first=replace(sent.first, headers=headers))
            answers.append(await last(sent))

        name = body.workflow if isinstance(body, StartRun) else ""
        if isinstance(body, RaiseEvent | QueryRun | UpdateRun):
            name = body.name
        request = ClientCall(body.word, workflow_id, name)
        await chained(self._around, asked)(request)
        if not answers:
            raise InvalidArgument(
                f"{body.word} of {workflow_id!r}: an interceptor returned without `await "
                "next(request)`, so nothing was sent. Raise an error where a request is refused"
            )
        return answers[-1]

    async def _asked(
        self,
        workflow_id: str,
        body: Request,
        timeout: float | None,
        partition: int | None,
        cause: Cause | None,
    ) -> ReplyBody:
        timeout_s = self.settings.request_timeout_s if timeout is None else timeout
        command = ClientCommand(workflow_id, body, cause)
        answer = await self.gateway.request(command, timeout_s=timeout_s, partition=partition)
        if isinstance(answer, Refused):
            raise refusal(answer)
        return answer

    async def accepted(
        self,
        workflow_id: str,
        body: Request,
        timeout: float | None = None,
        key: str | None = None,
        asks_for: str | None = None,
    ) -> Accepted:
        answer = await self.ask(workflow_id, body, timeout, key=key, asks_for=asks_for)
        assert isinstance(answer, Accepted), f"a shard answers {body} with {answer}"
        return answer

    async def page(self, workflow_id: str, body: Request, partition: int | None = None) -> Page:
        answer = await self.ask(workflow_id, body, partition=partition)
        assert isinstance(answer, Page), f"a shard answers {body} with {answer}"
        return answer

    async def awaited(
        self, workflow_id: str, body: Request, deadline: float | None, what: str
    ) -> ReplyBody | None:
        """Return the answer to a request that waits in the shard; None when the time is up.

        It is asked once at least, and again as long as it takes. ``what`` names what is waited for
        in warnings.
        """
        least_s = _LOOK_S
        while True:
            asked, left_s = time.monotonic(), WAIT_MS / 1000
            if deadline is not None:
                left_s = max(min(deadline - asked, left_s), least_s)
            if left_s <= 0:
                return None
            least_s = 0.0
            try:
                return await self.ask(workflow_id, body, left_s)
            except ShardUnavailable as error:
                if time.monotonic() - asked < left_s:  # else it is not there yet
                    _log.warning("still waiting for %s: %s", what, error)
                await asyncio.sleep(min(left_s, _ASK_AGAIN_S))

    def encoded_arguments(self, workflow: Any, name: str, args: tuple[Any, ...]) -> bytes | None:
        """Encode the arguments of a workflow; an error says which one does not fit."""
        try:
            return self.encoded(f"the arguments of workflow {name!r}", list(args))
        except SchemaMismatch:
            for number, each in enumerate(args):  # which one is it?
                which = given.argument(workflow, number)
                self.encoded(f"argument {which} of workflow {name!r}", each)
            raise

    def encoded(self, what: str, value: Any) -> bytes | None:
        """Encode a value of the user's; ``what`` names it in errors."""
        return given.encoded(self.payloads, self.settings.payload_bytes_max, what, value)
