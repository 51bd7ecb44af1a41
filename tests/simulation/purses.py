"""Entities: workflows book into purses, one booking at a time, each of them once.

A purse tells whoever books the place of the booking. So a booking that ran twice leaves a gap among
the places, one that was lost or ran beside another one leaves a place twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from processor import ApplicationError, UpdateFailed, entity, workflow
from processor.core.entity_id import EntityId

from . import deeds
from .cases import Case

__all__ = (
    "CANCELLED",
    "ENTITIES",
    "FAILS",
    "HISTORY",
    "WORKFLOWS",
    "called",
    "payer_cases",
    "purses_of",
)

_STORIES: Final = 0.25
"""In so many stories there are purses."""

FAILS: Final = 4
"""Numbers that leave so much when they are divided by five are not booked."""


_LOOKS: Final = 500
"""So often a payer looks for what it has booked for later, once a minute."""


CANCELLED: Final = "cancelled"
"""What a payer says whose booking, which takes a while, somebody has cancelled."""


HISTORY: Final = 5
"""So many bookings a purse keeps."""


@entity.define(history=HISTORY)
class Purse:
    booked: list[int] = []  # noqa: RUF012  # each has a copy
    label: str = "new"

    def book(self, number: int) -> list[int]:
        self.booked.append(number)
        if number % 5 == FAILS:
            workflow.signal_entity(Purse.book_for_nobody, entity.info().key, number)
            raise ApplicationError(f"not {number}")
        return [number, len(self.booked)]

    async def book_slowly(self, number: int) -> list[int]:
        self.booked.append(number)
        place = len(self.booked)
        if number % 2:
            await asyncio.sleep(number % 7)
        if await deeds.double(number) != 2 * number:
            raise ApplicationError("a result that is no result")
        if number % 5 == FAILS:
            raise ApplicationError(f"not {number}")
        return [number, place]

    def book_for_nobody(self, number: int) -> None:
        self.booked.append(number)

    @entity.read
    def has(self, number: int) -> bool:
        return number in self.booked

    @entity.read
    def places(self) -> int:
        return len(self.booked)


@dataclass
class Booking:
    """``within``: after so many seconds the payer waits no more, if any."""

    purse: str
    number: int
    how: str


@workflow.define
async def payer(bookings: list[Booking], at_once: bool) -> list[Any]:
    if at_once:
        return list(await asyncio.gather(*map(_told, bookings)))
    return [await _told(each) for each in bookings]


async def _told(booking: Booking) -> Any:
    if booking.how == "read":
        return await workflow.call_entity(Purse.places, booking.purse)
    if booking.how == "signal":
        return await _signalled(booking)
    if booking.how == "slowly":
        return await _slowly(booking)
    try:
        return await workflow.call_entity(Purse.book, booking.purse, booking.number)
    except UpdateFailed as error:
        return str(error.__cause__)


async def _slowly(booking: Booking) -> Any:
    """Book, and in some cases cancel the booking that runs then, whosever it is."""
    purse, number = booking.purse, booking.number
    called = asyncio.create_task(workflow.call_entity(Purse.book_slowly, purse, number))
    if number % 3 == 0:
        await asyncio.sleep(number % 5)
        workflow.cancel(EntityId("Purse", purse).workflow_id)
    try:
        return await called
    except UpdateFailed as error:
        return CANCELLED if "was cancelled" in str(error) else str(error.__cause__)


async def _signalled(booking: Booking) -> str:
    """Book for nobody, at once or later. One that is due later is there in the end."""
    purse, number = booking.purse, booking.number
    if number % 3:
        await workflow.signal_entity(Purse.book_for_nobody, purse, number)
        return "taken"
    sent = workflow.signal_entity(Purse.book_for_nobody, purse, number, delay=number % 60)
    if number % 2:
        await sent
    for _ in range(_LOOKS):
        await asyncio.sleep(60)
        if await workflow.call_entity(Purse.has, purse, number):
            return "taken"
    return "lost"


ENTITIES: Final = (Purse,)
WORKFLOWS: Final = (payer,)


# --- the model --------------------------------------------------------------------------------


def _fits(bookings: list[Booking], told: Any) -> bool:
    """Return whether each was told what it may be."""
    for booking, answer in zip(bookings, told, strict=True):
        match booking.how:
            case "read":
                right = isinstance(answer, int)
            case "signal":
                right = answer == "taken"
            case "slowly" if answer == CANCELLED:
                right = True
            case _ if booking.number % 5 == FAILS:
                right = answer == f"not {booking.number}"
            case _:
                right = answer[0] == booking.number
        if not right:
            return False
    return True


def _agree(cases: list[Case], clients: Mapping[tuple[str, int], Any]) -> bool:
    """Return whether the places that all were told can be those of one purse after the other.

    Those of signals are told to nobody: so many are missing at the most. ``clients`` has what
    bookings of clients came to, by purse and number, None where nobody has heard.
    """
    places: dict[str, Counter[int]] = {}
    untold: Counter[str] = Counter()
    for case in cases:
        for booking, answer in zip(case.arguments[0], case.result, strict=True):
            if booking.how == "signal":
                untold[booking.purse] += 1
            elif isinstance(answer, list):
                places.setdefault(booking.purse, Counter())[answer[1]] += 1
    for (purse, _), answer in clients.items():
        if isinstance(answer, list):
            places.setdefault(purse, Counter())[answer[1]] += 1
        elif answer is None:
            untold[purse] += 1
    for purse, told in places.items():
        if max(told.values()) > 1 or max(told) > len(told) + untold[purse]:
            return False
    return True


def called(cases: list[Case]) -> set[str]:
    """Return the workflow ids of the purses that somebody books into."""
    return {EntityId("Purse", purse).workflow_id for purse in purses_of(cases)}


def purses_of(cases: list[Case]) -> list[str]:
    """Return the purses that workflows book into."""
    payers = [case for case in cases if case.workflow == "payer"]
    purses = {
        booking.purse for case in payers for booking in case.arguments[0] if booking.how != "read"
    }
    return sorted(purses)


def payer_cases(random: Random, clients: Mapping[tuple[str, int], Any]) -> list[Case]:
    """Return workflows that book into one or two purses, in some stories.

    ``clients`` has what bookings of clients come to, by purse and number.
    """
    if random.random() >= _STORIES:
        return []
    purses = [f"purse-{number}" for number in range(random.choice((1, 1, 2)))]
    numbers = random.sample(range(1_000), 30)
    cases: list[Case] = []
    for number in range(random.randint(1, 3)):
        count = random.randint(2, 8)
        bookings = [
            Booking(
                random.choice(purses),
                numbers.pop(),
                random.choice(("plain", "plain", "slowly", "slowly", "signal", "read")),
            )
            for _ in range(count)
        ]
        cases.append(Case(f"payer-{number}", "payer", [bookings, random.random() < 0.6], {}))
    for case in cases:
        own: list[Booking] = case.arguments[0]
        case.ends["completed"] = lambda told, own=own: _fits(own, told) and _agree(cases, clients)
    return cases
