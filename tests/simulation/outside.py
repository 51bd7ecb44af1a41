"""Activities that somebody outside ends, or that are asked to stop, and what they may come to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, Final

from processor import ActivityTimedOut, ApplicationError, RetryPolicy, activity, workflow
from processor.core.activity_requests import AdjustActivity, ReportAttempt
from processor.core.data.failure import Failure
from processor.core.data.task_token import named_by
from processor.core.inputs import ClientCommand
from processor.core.records.answers import Refused, ReplyBody
from processor.simulation.clients import SimulatedClient
from processor.simulation.scheduler import Scheduler

from .cases import Case

__all__ = ("OPEN_ACTIVITIES", "Outside", "opens")

_ID: Final = "opens"
_FAILURES_MAX: Final = 2
_FOR_EVER_S: Final = 1_000_000.0
_DOWN: Final = Failure("application", "Down", "the carrier is down")
_HEARS: list[Callable[[int, str], None]] = []
"""Who is told of the tokens of the story that is played."""


async def _hand_over(number: int) -> None:
    for hears in _HEARS:
        hears(number, activity.info().task_token)
    raise activity.CompleteAsync


@activity.define
async def left_open(number: int) -> str:
    await _hand_over(number)
    return ""


@activity.define(queue="far", eager=False)
async def left_open_far(number: int) -> str:
    await _hand_over(number)
    return ""


async def _tidied(number: int) -> str:
    try:
        for _ in range(20):
            activity.heartbeat()
            await asyncio.sleep(20)
        await asyncio.sleep(_FOR_EVER_S)
    except asyncio.CancelledError:
        await asyncio.sleep(3)
        if number % 2:
            raise
    return "a half"


@activity.define
async def tidies(number: int) -> str:
    return await _tidied(number)


@activity.define(queue="far", eager=False, heartbeat=60)
async def tidies_far(number: int) -> str:
    return await _tidied(number)


@activity.define(retry=RetryPolicy(initial_interval=40, maximum_interval=100))
async def is_down(number: int) -> str:
    raise ApplicationError("not yet")


OPENED: Final = (left_open, left_open_far)
STOPPED: Final = (tidies, tidies_far, is_down)
OPEN_ACTIVITIES: Final = (*OPENED, *STOPPED)


@workflow.define
async def opens(opened: list[int], stopped: list[int]) -> list[str]:
    ended = [OPENED[number % 2](number) for number in opened]
    return list(await asyncio.gather(*ended, *map(_stopped, stopped)))


async def _stopped(number: int) -> str:
    try:
        async with asyncio.timeout(30 + number):
            return await STOPPED[number % 3].options(cancellation="wait")(number)
    except TimeoutError:
        return "stopped"
    except ActivityTimedOut as error:
        return error.kind


class Outside:
    """Who ends what is left open, and an operator who pauses and resumes activities.

    ``said`` is what was answered to each result that it gave; None: nothing yet.
    """

    def __init__(
        self, random: Random, client: SimulatedClient, scheduler: Scheduler, encode: Any
    ) -> None:
        self._random = random
        self._scheduler = scheduler
        self._encode = encode
        self._failures: Counter[int] = Counter()
        self.client = client
        self.said: dict[str, ReplyBody | None] = {}
        opened = [*range(random.randint(1, 4))]
        stopped = [*range(random.randint(0, 3))]
        self.case = Case(_ID, opens.name, [opened, stopped], {"completed": self._is_right})
        _HEARS[:] = [self._hears]
        for id in range(1, len(opened) + len(stopped) + 1):
            if random.random() < 0.5:
                self._later(partial(self._adjust, id))

    def _is_right(self, result: list[str]) -> bool:
        """Whether each was ended by what was said of it, and by nothing that was refused."""
        opened, stopped = self.case.arguments
        ends, halves = result[: len(opened)], result[len(opened) :]
        for number, text in zip(opened, ends, strict=True):
            told = self.said.get(text)
            if text.partition(".")[0] != str(number) or _is_late(told):
                return False
        return len(halves) == len(stopped) and {*halves} <= {"stopped", "a half", "lost"}

    def _later(self, then: Callable[[], None]) -> None:
        self._scheduler.after(self._random.randint(0, 60_000), "from outside", then)

    def _hears(self, number: int, token: str) -> None:
        """Take the token of an attempt, while its function runs."""
        named = named_by(token, "a story")
        which: dict[str, Any] = {"attempt": named.attempt, "run_id": named.run_id}
        what = self._random.choice(("completed", "completed", "failed", "heartbeat"))
        if what == "failed" and self._failures[number] < _FAILURES_MAX:
            self._failures[number] += 1
            failed = ReportAttempt(named.id, "failed", failure=_DOWN, **which)
            self._later(lambda: self._ask(failed))
        elif what == "heartbeat":
            beats = ReportAttempt(named.id, "heartbeat", self._encode("alive"), **which)
            self._later(lambda: self._ask(beats))
        for _ in range(self._random.choice((1, 1, 2))):  # it may be said twice, or too late
            text = f"{number}.{named.attempt}.{len(self.said)}"
            self.said[text] = None
            ended = ReportAttempt(named.id, "completed", self._encode(text), **which)
            self._later(partial(self._say, text, ended))

    def _say(self, text: str, ended: ReportAttempt) -> None:
        self._ask(ended, lambda reply: self.said.update({text: reply}))

    def _adjust(self, id: int) -> None:
        """Pause an activity for a while, count its attempts anew, or try it now."""
        how = self._random.choice(("pause", "reset", "retry-now"))
        if how != "pause":
            self._ask(AdjustActivity(id, how))
            return
        resumes = AdjustActivity(id, "resume")
        self._ask(AdjustActivity(id, how), lambda reply: self._later(lambda: self._ask(resumes)))

    def _ask(
        self,
        body: ReportAttempt | AdjustActivity,
        answered: Callable[[ReplyBody], object] = lambda reply: None,
    ) -> None:
        self.client.request(ClientCommand(_ID, body), answered)


def _is_late(reply: ReplyBody | None) -> bool:
    return isinstance(reply, Refused) and reply.error == "ActivityNotOpen"
