"""Business keys: somebody sends items to a key, and workflows hold it, one after the other."""

from __future__ import annotations

import asyncio
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final

from processor import CorrelationTaken, workflow
from processor.core.correlation import delivered, delivers, key_id
from processor.core.inputs import ClientCommand
from processor.core.records.answers import Accepted, Refused, ReplyBody
from processor.correlation import keys
from processor.simulation.clients import SimulatedClient

from .cases import Case, let_stop, nothing

if TYPE_CHECKING:
    from .story import Story

__all__ = ("KEY_ID", "WORKFLOWS", "Shipper", "shipment_cases")

_STORIES: Final = 0.12
_NAMED: Final = ("shipment", "S-7")
KEY_ID: Final = key_id(*_NAMED, "")

_PATIENCE_S: Final = 40
_ASK_AGAIN_S: Final = 20
_TRIES: Final = 100

keys._EVENTS_MAX = 25
"""So that keys go on as new runs within a story."""


@workflow.define
async def shipment(most: int, pause: int, how: str, found: list[int]) -> list[int]:
    """Hold the key, and take items: so many, or until none comes."""
    if workflow.info().first_run_id == workflow.info().run_id and not await _holds(how):
        return found
    try:
        while len(found) < most:
            async with asyncio.timeout(_PATIENCE_S):
                found.append(await workflow.wait_for_event("item", int))
            await asyncio.sleep(pause)
            if how == "goes on":
                break
    except TimeoutError:
        pass
    if how == "goes on":
        workflow.continue_as_new(most, pause, "", found)
    if how == "gives back":
        await workflow.uncorrelate(*_NAMED)
        await asyncio.sleep(pause)
    return found


async def _holds(how: str) -> bool:
    """Return whether it got the key in the end. Who meddles gives back what others hold."""
    for _ in range(_TRIES):
        try:
            await workflow.correlate(*_NAMED)
            return True
        except CorrelationTaken:
            if how == "meddles":
                await workflow.uncorrelate(*_NAMED)
            await asyncio.sleep(_ASK_AGAIN_S)
    return False


WORKFLOWS: Final = (shipment,)


class Shipper:
    """Sends items to the key, each when the one before is taken."""

    def __init__(self, story: Story, random: Random, client: SimulatedClient) -> None:
        self._story = story
        self._random = random
        self._client = client
        self._count = random.randint(1, 12)
        self._after(1)

    def _after(self, number: int) -> None:
        delay_ms = self._random.choice((0, 0, 1_000, 20_000, 60_000))
        send = partial(self._send, number)
        self._story.world.scheduler.after(delay_ms, "an item", send)

    def _send(self, number: int) -> None:
        keep_ms = self._random.choice((0, 10_000, 100_000, 1_000_000, 1_000_000))
        told = self._story.encode(delivered("item", number, keep_ms))
        self._client.request(ClientCommand(KEY_ID, delivers(told)), partial(self._told, number))

    def _told(self, number: int, reply: ReplyBody) -> None:
        late = isinstance(reply, Refused) and reply.error == "RequestExpired"
        assert late or isinstance(reply, Accepted), f"who sends item {number} is told {reply}"
        if number < self._count:
            self._after(number + 1)


def shipment_cases(story: Story) -> list[Case]:
    """Return those that hold the key in a story, and let somebody send items to it."""
    random = Random(f"shipments {story.seed}")
    if random.random() >= _STORIES:
        return []
    Shipper(story, random, story.world.client("shipper"))
    cases = []
    for number in range(random.randint(1, 4)):
        how = random.choice(("", "meddles", "gives back", "goes on"))
        most, pause = random.randint(1, 5), random.choice((0, 0, 1, 10))
        case = Case(f"shipment-{number}", "shipment", [most, pause, how, []], {})
        case.ends["completed"] = partial(_fits, most)
        case.runs = 1 + (how == "goes on")
        if how != "goes on" and random.random() < 0.3:
            let_stop(case, random, number)
        elif how != "goes on" and random.random() < 0.2:
            case.timeout_ms = random.randint(1, 100_000)
            case.ends["timed_out"] = nothing
        cases.append(case)
    return cases


def _fits(most: int, found: list[Any]) -> bool:
    """Return whether items came in their order, and no more than were wanted."""
    return len(found) <= most and found == sorted(set(found))
