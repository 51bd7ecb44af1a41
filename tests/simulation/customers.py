"""Clients that let purses do bookings: each runs once, however often and by whomever it is sent.

A client whose process ends before it is answered sends its booking again when it is back: with the
idempotency key of the first time, or with the id that the first one had.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Final

from processor.codec.payloads import JsonPayloads
from processor.core.data.cause import keyed
from processor.core.entity_id import EntityId
from processor.core.inputs import ClientCommand
from processor.core.nouns.start import begins
from processor.core.nouns.update import AwaitUpdate, UpdateRun
from processor.core.operation import Request
from processor.core.records.answers import Accepted, Refused, ReplyBody, UpdateEnded
from processor.simulation.clients import SimulatedClient

from .purses import CANCELLED, FAILS

if TYPE_CHECKING:
    from .story import Story

__all__ = ("OWN", "Customer", "Told", "customers")

Told = dict[tuple[str, int], Any]
"""What each booking came to, by its purse and its number; None where nobody has heard."""

_STORIES: Final = 0.5
"""In so many of the stories with purses there are clients that book into them."""

OWN: Final = "customers"
"""A purse of theirs. Nothing fails there, and so few book that it knows all outcomes."""

_PAYLOADS: Final = JsonPayloads()


class Customer:
    """Sends one booking, and with a key or an id (``how``) it may send it more than once."""

    def __init__(
        self, story: Story, random: Random, name: str, purse: str, number: int, how: str
    ) -> None:
        self._story = story
        self._random = random
        self._entity = EntityId("Purse", purse)
        self._booking = purse, number
        self._how = how
        self._operation = ("book", "book_slowly")[number % 2]
        self._left = 1 if how == "plain" else random.choice((1, 2, 2, 3))
        self._open = 0
        self.client: SimulatedClient = story.world.client(name)
        self.done = False
        self._later(self._send, 60_000)

    @property
    def workflow_id(self) -> str:
        return self._entity.workflow_id

    def _later(self, then: Callable[[], None], most_ms: int = 20_000) -> None:
        self._story.world.scheduler.after(self._random.randint(0, most_ms), "a customer", then)

    def _send(self) -> None:
        """Send the booking; whatever was asked before is forgotten, and its answer not heard."""
        self.client.forget(self._open)
        self._left -= 1
        number = self._booking[1]
        within_ms = self._random.choice((None, 100, 60_000))
        arguments = _PAYLOADS.encode([number])
        update = UpdateRun(f"c{number}", self._operation, arguments, outcome_within_ms=within_ms)
        body = begins(self._entity, update)
        cause = None
        if self._how == "key":
            cause = keyed(body.word, self.workflow_id, f"call/{number}", body.asks_for)
        self._open = self.client.request(ClientCommand(self.workflow_id, body, cause), self._sent)
        if self._left:
            self._later(self._send)

    def _ask(self, body: Request, answered: Callable[[ReplyBody], None]) -> None:
        self._open = self.client.request(ClientCommand(self.workflow_id, body), answered)

    def _sent(self, reply: ReplyBody) -> None:
        match reply:
            case Accepted():
                self._wait(reply.run_id)
            case UpdateEnded():
                self._over(reply)
            case Refused("RequestExpired") if self._story.forgetful:
                self._wait(None)
            case _:
                raise AssertionError(f"a customer is told {reply}")

    def _wait(self, run_id: str | None) -> None:
        body = AwaitUpdate(f"c{self._booking[1]}", run_id)
        left = self._left

        def ask() -> None:
            if self._left == left:  # else it is sent again meanwhile
                self._ask(body, self._told)

        self._later(ask)

    def _told(self, reply: ReplyBody) -> None:
        match reply:
            case UpdateEnded():
                self._over(reply)
            case Refused("UpdateNotFound") if self._booking[0] != OWN:
                self.done = not self._left  # others have booked since, and it is not kept any more
            case _:
                raise AssertionError(f"a customer whose booking counts is told: {reply}")

    def _over(self, reply: UpdateEnded) -> None:
        purse, number = self._booking
        told = reply.failure.message if reply.failure else _PAYLOADS.decoder(Any)(reply.result)
        if isinstance(told, str) and CANCELLED in told:
            told = CANCELLED
        assert _fits(purse, number, told), f"booking {number} of {purse} comes to {told}"
        before = self._story.told[self._booking]
        assert before in (None, told), f"booking {number} came to {before} and to {told}"
        self._story.told[self._booking] = told
        self.done = not self._left


def _fits(purse: str, number: int, told: Any) -> bool:
    if isinstance(told, list):
        return bool(told[0] == number)
    if told == CANCELLED:
        return purse != OWN and number % 2 == 1
    return bool(number % 5 == FAILS and told == f"not {number}")


def customers(story: Story, purses: list[str]) -> list[Customer]:
    """Return clients that book into these purses and into one of their own, in some stories."""
    random = Random(f"those by hand {story.seed}")
    if not purses or random.random() >= _STORIES:
        return []
    found: list[Customer] = []
    for index in range(random.randint(1, 5)):
        purse = random.choice((OWN, OWN, *purses))
        number = 1_000 + 10 * index + random.randint(0, 9)
        if purse == OWN and number % 5 == FAILS:
            number -= 1
        hows = ["plain"]
        if not story.forgetful:
            hows += ["key", "key"]
        if purse == OWN:
            hows += ["id", "id"]
        how = random.choice(hows)
        story.told[purse, number] = None
        for copy in range(1 if how == "plain" else random.choice((1, 1, 2))):
            name = f"customer-{number}-{copy}"
            found.append(Customer(story, random, name, purse, number, how))
    return found
