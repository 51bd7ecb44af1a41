"""A till that takes updates: each counts once, however often and by whomever it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from random import Random
from typing import Any, Final

from processor import ApplicationError, workflow
from processor.codec.payloads import JsonPayloads
from processor.core.inputs import ClientCommand
from processor.core.nouns.start import StartPlanned, StartWith
from processor.core.nouns.update import AwaitUpdate, UpdateRun
from processor.core.nouns.value import AwaitValue
from processor.core.records.answers import (
    Accepted,
    Closed,
    Refused,
    ReplyBody,
    UpdateEnded,
    ValueIs,
)
from processor.simulation.clients import SimulatedClient
from processor.simulation.scheduler import Scheduler

from . import deeds

__all__ = ("Buyer", "Till", "first_of", "takes", "wrong")

_PAYLOADS: Final = JsonPayloads()
_REFUSED: Final = 4
_FAILS: Final = 3
"""Numbers that leave so much when they are divided by five are not booked."""
_WAITS: Final = 5
"""Those that leave so much when they are divided by ten wait for what the till does last."""
_STALE_MAX: Final = 5
"""So often a look may be answered from an old state."""


@workflow.define
class Till:
    """Ends when it has booked all that can be; some of it takes an activity or a while."""

    def __init__(self) -> None:
        self.booked: list[int] = []
        self.failed: list[int] = []
        self.closed = False

    @workflow.run
    async def run(self, count: int) -> list[int]:
        await workflow.wait_until(lambda: len(self.booked) + len(self.failed) >= count)
        self.closed = True
        return self.booked

    @workflow.update
    async def book(self, number: int) -> list[int]:
        if number % 5 == 1:
            await deeds.double(number)
        if number % 5 == 2:
            await asyncio.sleep(number)
        if number % 5 == _FAILS:
            self.failed.append(number)
            raise ApplicationError(f"not {number}")
        self.booked.append(number)
        place = len(self.booked)
        workflow.set_value("booked", place)
        if number % 10 == _WAITS:
            await workflow.wait_until(lambda: self.closed)
        return [number, place]

    @book.validator
    def check(self, number: int) -> None:
        if number % 5 == _REFUSED:
            raise ApplicationError(f"never {number}")


def takes(number: int) -> bool:
    """Return whether the validator lets an update pass."""
    return number % 5 != _REFUSED


def first_of(numbers: list[int], start: StartPlanned) -> StartPlanned:
    """Return a start, which brings the first of several updates along where their number is odd."""
    if len(numbers) % 2 == 0:
        return start
    update = UpdateRun(f"u{numbers[0]}", "book", _PAYLOADS.encode([numbers[0]]))
    known = {each.name: getattr(start, each.name) for each in fields(start)}
    return StartWith(**known, first=update)


class Buyer:
    """Sends one update, sometimes more than once, until it has an outcome; all are the same one."""

    def __init__(
        self,
        client: SimulatedClient,
        scheduler: Scheduler,
        random: Random,
        workflow_id: str,
        number: int,
        outcomes: dict[int, Any],
    ) -> None:
        self.client = client
        self._scheduler = scheduler
        self._random = random
        self._workflow_id = workflow_id
        self._number = number
        self._outcomes = outcomes
        self._stale = 0
        self.done = False

    @property
    def update(self) -> UpdateRun:
        within_ms = self._random.choice((None, 100, 60_000))
        arguments = _PAYLOADS.encode([self._number])
        return UpdateRun(f"u{self._number}", "book", arguments, outcome_within_ms=within_ms)

    def begin(self) -> None:
        body: UpdateRun | StartWith = self.update
        if self._random.random() < 0.2:
            body = StartWith("Till", b"[0]", "reject", "use-existing", first=body)
        self.client.request(ClientCommand(self._workflow_id, body), self._sent)

    def _later(self, then: Callable[[], None]) -> None:
        self._scheduler.after(self._random.randint(0, 20_000), "a buyer", then)

    def _is_refusal(self, reply: UpdateEnded) -> bool:
        return reply.failure is not None and reply.failure.type == "UpdateRejected"

    def _sent(self, reply: ReplyBody) -> None:
        match reply:
            case Accepted():
                self._later(partial(self._ask, reply.run_id))
            case UpdateEnded():
                self._over(reply)
            case Refused("UpdateRejected"):
                self._over(reply)
            case Refused("CommandRejected") if "send it again" in reply.message:
                self._later(self.begin)
            case Refused("CommandRejected" | "WorkflowAlreadyStarted" | "WorkflowNotFound"):
                self._ask(None)  # the run has ended, and may have had it
            case Refused("RequestExpired"):
                self._later(self.begin)
            case _:
                raise AssertionError(f"an update is told {reply}")

    def _ask(self, run_id: str | None) -> None:
        body = AwaitUpdate(f"u{self._number}", run_id)
        self.client.request(ClientCommand(self._workflow_id, body), self._told)

    def _told(self, reply: ReplyBody) -> None:
        match reply:
            case UpdateEnded():
                self._over(reply)
            case Refused("UpdateNotFound"):
                known = "was purged" not in reply.message and takes(self._number)
                assert not known, f"{self._number} did not count: {reply}"
                self.done = True
            case _:
                raise AssertionError(f"who waits for update {self._number} is told {reply}")

    def _over(self, reply: UpdateEnded | Refused) -> None:
        refused = isinstance(reply, Refused) or self._is_refusal(reply)
        assert refused != takes(self._number), f"{self._number} was to be refused, or not: {reply}"
        told: Any = "refused"
        if not refused and isinstance(reply, UpdateEnded):
            told = reply.failure.message if reply.failure else _PAYLOADS.decoder(Any)(reply.result)
        first = self._outcomes.setdefault(self._number, told)
        assert told == first, f"update {self._number} came to {first} and to {told}"
        if self._random.random() < 0.3:
            self._later(self.begin)
        elif isinstance(told, list):
            self._look(told[1])
        else:
            self.done = True

    def _look(self, place: int) -> None:
        """Look at the value that the till has set: it knows of what was told before.

        A former owner that has not heard of the next one may answer from what it knows, but no more
        than a few times.
        """
        command = ClientCommand(self._workflow_id, AwaitValue("booked"))
        self.client.request(command, partial(self._seen, place))

    def _seen(self, place: int, reply: ReplyBody) -> None:
        if not (isinstance(reply, Refused) and "was purged" in reply.message):
            assert isinstance(reply, ValueIs), f"the value of the till is {reply}"
            booked = _PAYLOADS.decoder(int)(reply.value)
            if booked < place:
                self._stale += 1
                assert self._stale <= _STALE_MAX, f"the till shows {booked}, and has told {place}"
                self._later(partial(self._look, place))
                return
        self.done = True


def wrong(closed: Closed, outcomes: dict[int, Any]) -> str:
    """Return what a till that has completed did not book as those were told who asked."""
    booked = _PAYLOADS.decoder(list[int])(closed.result)
    if len(set(booked)) != len(booked):
        return f"something was booked twice: {booked}"
    for number, told in outcomes.items():
        if isinstance(told, list) and (number not in booked or booked.index(number) + 1 != told[1]):
            return f"{number} was told {told}, and the till has {booked}"
    return ""
