"""Promises that somebody outside resolves or rejects, and what they may come to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, Final

from processor import ActivityTimedOut, ApplicationError, activity, workflow
from processor.core.inputs import ClientCommand
from processor.core.nouns.promise import RejectPromise, ResolvePromise
from processor.core.records.answers import Accepted, Refused, ReplyBody
from processor.simulation.clients import SimulatedClient
from processor.simulation.scheduler import Scheduler

from .cases import Case

__all__ = ("PROMISED", "Keeper", "announces")

_ID: Final = "promises"
_HEARS: list[Callable[[list[str]], None]] = []
"""Who is told of the promises of the story that is played."""


@activity.define
async def announces(ids: list[str]) -> None:
    for hears in _HEARS:
        hears(ids)


@workflow.define
async def promises(count: int) -> list[str]:
    made = [workflow.promise(str) for _ in range(count)]
    waits = [asyncio.create_task(_kept(each, number)) for number, each in enumerate(made)]
    try:
        await announces([each.id for each in made])
    except ActivityTimedOut as error:
        if error.kind != "lost":
            raise
    return list(await asyncio.gather(*waits))


async def _kept(made: workflow.Promise[str], number: int) -> str:
    """Wait for a promise, and give up and begin anew now and then."""
    while True:
        try:
            async with asyncio.timeout(20 + number):
                return await made
        except TimeoutError:
            pass
        except ApplicationError as error:
            return error.message


PROMISED: Final = promises


class Keeper:
    """Settles each promise once, or twice, by one or two clients.

    ``said`` is what was answered to each time; None: nothing yet.
    """

    def __init__(
        self, random: Random, clients: list[SimulatedClient], scheduler: Scheduler, encode: Any
    ) -> None:
        self._random = random
        self._scheduler = scheduler
        self._encode = encode
        self._heard = False
        self.clients = clients
        self.said: dict[str, ReplyBody | None] = {}
        count = random.randint(1, 4)
        self.case = Case(_ID, promises.name, [count], {"completed": self._is_right})
        _HEARS[:] = [self._hears]

    def _is_right(self, result: list[str]) -> bool:
        """Whether each came to the one word on it that counted."""
        counted = [text for text, reply in self.said.items() if isinstance(reply, Accepted)]
        late = [text for text, reply in self.said.items() if isinstance(reply, Refused)]
        in_order = [text.partition(".")[0] for text in result] == [*map(str, range(len(result)))]
        return in_order and {*counted} <= {*result} and not {*late} & {*result}

    def _hears(self, ids: list[str]) -> None:
        """Take the ids, from the first attempt that tells them."""
        if self._heard:
            return
        self._heard = True
        for number, id in enumerate(ids):
            for again in range(self._random.choice((1, 1, 2))):
                text = f"{number}.{again}"
                self.said[text] = None
                said = ResolvePromise(id, self._encode(text))
                rejected = RejectPromise(id, text, "Refused")
                body = self._random.choice((said, said, rejected))
                delay_ms = self._random.randint(0, 60_000)
                self._scheduler.after(delay_ms, "a promise", partial(self._say, text, body))

    def _say(self, text: str, body: ResolvePromise | RejectPromise) -> None:
        client = self._random.choice(self.clients)
        client.request(ClientCommand(_ID, body), partial(self._told, text))

    def _told(self, text: str, reply: ReplyBody) -> None:
        late = isinstance(reply, Refused) and reply.error in ("PromiseNotOpen", "RequestExpired")
        assert late or isinstance(reply, Accepted), f"who settles promise {text} is told {reply}"
        if not isinstance(reply, Refused) or reply.error != "RequestExpired":
            self.said[text] = reply
