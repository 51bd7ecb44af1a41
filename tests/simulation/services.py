"""Services that workflows call over HTTP, and activities that clients run without a workflow."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from random import Random
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from processor import (
    ActivityTimedOut,
    ApplicationError,
    ProcessorError,
    RetryPolicy,
    activity,
    workflow,
)
from processor.core.data.options import ActivityOptions
from processor.core.nouns.lineage import Plan
from processor.core.nouns.stop import CancelRun
from processor.http import calling
from processor.simulation.hosts.processes import ProcessEnded
from processor.simulation.scheduler import START_MS
from processor.workflow._alone import arguments_of
from processor.workflow._definition import ALONE
from processor.workflow._nouns.http import HTTP, HttpRequest, HttpResponse

from . import deeds
from .cases import Case, nothing

if TYPE_CHECKING:
    from .story import Story

__all__ = ("ACTIVITIES", "WORKFLOWS", "service_cases")

_STORIES: Final = 0.1
_HANG_S: Final = 1_000_000.0
_SITE: Final = "http://service"


@dataclass
class Service:
    """What a service was asked, and does: ``keys`` are those that each order came with."""

    keys: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    asked: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    async def answer(self, request: HttpRequest, url: str, key: str | None) -> HttpResponse:
        """Answer what the path says: ``/<kind>/<number>``."""
        kind, _, number = url.removeprefix(f"{_SITE}/").partition("/")
        self.asked[url] += 1
        times = self.asked[url]
        if kind in ("job", "order"):
            assert key is not None, "a POST says which one it is"
            self.keys[url].add(key)
        match kind:
            case "hangs" | "order" if times == 1:
                await asyncio.sleep(_HANG_S)
            case "closed" if times <= 2:
                raise ApplicationError("nobody listens", type="ConnectError")
            case "busy" if times <= 1 + int(number) % 3:
                return HttpResponse(503, {}, b"", float(int(number) % 4) or None)
            case "job":
                return HttpResponse(202, {"location": f"/state/{number}"}, b"", 2.0)
            case "state" if times <= int(number) % 4:
                return HttpResponse(202, {"location": f"/state/{number}"}, b"", None)
            case "state" if times <= 4:
                return HttpResponse(202, {"location": f"/moved/{number}"}, b"", 0.0)
            case "moved" if times == 1:
                return HttpResponse(202, {"location": f"{_SITE}/moved/{number}"}, b"", 5.0)
            case _:
                pass
        return HttpResponse(200, {}, number.encode())


_SERVED: list[Service] = [Service()]
"""That of the story which is played."""


async def _sent(request: HttpRequest, url: str, headers: dict[str, str], what: str) -> HttpResponse:
    return await _SERVED[0].answer(request, url, headers.get("idempotency-key"))


_answer = FunctionType(calling._answer.__code__, {**vars(calling), "_sent": _sent})
"""What the activity of ours makes of an answer; the network is left out."""


@activity.define(name=HTTP)
async def _http(request: HttpRequest) -> HttpResponse:
    answer: HttpResponse = await _answer(request, None)
    return answer


@activity.define(pool="processes")
def crunches(number: int) -> int:
    """Take no time; the processes of the first attempts end, for some numbers."""
    if activity.info().attempt <= number % 3:
        raise ProcessEnded
    return number * 11


@activity.define(pool="processes", retry=RetryPolicy(maximum_attempts=2))
def crunches_in_vain(number: int) -> int:
    raise ValueError(f"never {number}")


ACTIVITIES: Final = (_http, crunches, crunches_in_vain)


@workflow.define
async def fetches(paths: list[str]) -> list[str]:
    return list(await asyncio.gather(*map(_fetched, paths)))


async def _fetched(path: str) -> str:
    kind, _, number = path.partition("/")
    method = "POST" if kind in ("job", "order") else "GET"
    try:
        found = await workflow.call_http(
            method, f"{_SITE}/{path}", json={"n": number}, timeout=7, retry_on=[503]
        )
    except ActivityTimedOut as error:
        if error.kind != "lost":
            raise
        return "lost"
    return found.text


@workflow.define
async def crunches_all(numbers: list[int]) -> list[int | str]:
    return list(await asyncio.gather(*map(_crunched, numbers)))


async def _crunched(number: int) -> int | str:
    try:
        return await (crunches if number >= 0 else crunches_in_vain)(number)
    except ActivityTimedOut as error:
        return error.kind
    except ProcessorError:
        return "failed"


WORKFLOWS: Final = (fetches, crunches_all)


def service_cases(story: Story) -> list[Case]:
    """Return what calls services, runs functions in processes, or is an activity alone."""
    random = Random(f"services {story.seed}")
    if random.random() >= _STORIES:
        return []
    how = random.choice(("fetches", "crunches", "alone"))
    if how == "alone":
        return [_alone_case(random, number) for number in range(random.randint(1, 3))]
    if how == "crunches":
        numbers = [random.randint(-1, 9) for _ in range(random.randint(1, 5))]
        case = Case("crunches", "crunches_all", [numbers], {})
        case.ends["completed"] = partial(_were_crunched, numbers)
        return [case]
    kinds = ("plain", "hangs", "closed", "busy", "job", "job", "order")
    paths = [f"{random.choice(kinds)}/{n}" for n in range(random.randint(1, 5))]
    case = Case("fetches", "fetches", [paths], {})
    service = _SERVED[0] = Service()
    case.ends["completed"] = partial(_were_served, paths, service)
    return [case]


def _were_served(paths: list[str], service: Service, told: list[str]) -> bool:
    """Whether each has its own answer, and each order came with one key that no other one has."""
    keys = [key for each in service.keys.values() for key in each]
    one_each = len(keys) == len({*keys}) == len(service.keys)
    right = [path.partition("/")[2] for path in paths]
    return one_each and len(told) == len(right) and all(map(_is, told, right))


def _were_crunched(numbers: list[int], told: list[Any]) -> bool:
    right = ["failed" if number < 0 else number * 11 for number in numbers]
    return all(map(_is, told, right)) and len(told) == len(right)


def _is(told: Any, right: Any) -> bool:
    return told in (right, "lost")


def _alone_case(random: Random, number: int) -> Case:
    """Return an activity as its client starts it: with options of its own, delayed, or stopped."""
    fails = random.random() < 0.2
    deed = random.choice(["doomed", "doomed_far"] if fails else [*deeds.RESULTS])
    given = (deeds.FAILING if fails else deeds.DEEDS)[deed]
    wire: ActivityOptions = given.wire_options  # type: ignore[attr-defined]
    arguments = [*arguments_of(wire, random.choice(("try", "wait", "abandon")), (number,))]
    case = Case(f"alone-{number}", f"{ALONE}{deed}", arguments, {})
    if fails:
        case.ends["failed"] = nothing
    else:
        case.bounded = deed
        case.ends["completed"] = deeds.RESULTS[deed](number).__eq__
    if random.random() < 0.3:
        case.plan = Plan(start_at_ms=START_MS + random.randint(0, 100_000))
    if random.random() < 0.3:
        case.stop = CancelRun("a test")
        case.ends["cancelled"] = nothing
    return case
