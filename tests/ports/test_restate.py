"""Restate: examples, python/."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

import pytest

from processor import (
    ActivityError,
    ApplicationError,
    ProcessorError,
    RequestError,
    RetryPolicy,
    WorkflowFailed,
    activity,
    workflow,
)
from processor.testing import Environment

# --- patterns/sagas


@dataclass
class Booking:
    customer: str
    flight: str
    car: str
    hotel: str


TRIPS: list[str] = []


@activity.define
async def reserve(what: str, customer: str) -> None:
    if what == "full hotel":
        raise ApplicationError("the hotel is fully booked", retryable=False)
    TRIPS.append(f"+{what}")


@activity.define
async def give_back(what: str, customer: str) -> None:
    TRIPS.append(f"-{what}")


@workflow.define
async def books_trip(booking: Booking) -> None:
    async with workflow.Saga() as saga:
        for what in (booking.flight, booking.car, booking.hotel):
            saga.compensate(give_back, what, booking.customer)
            await reserve(what, booking.customer)


def test_sagas() -> None:
    """patterns/sagas: 28 lines, theirs 101. What was booked is given back, the last one first."""

    async def main() -> None:
        async with Environment([books_trip], [reserve, give_back]) as env:
            with pytest.raises(WorkflowFailed, match="fully booked"):
                await env.run(books_trip, Booking("Ada", "flight", "car", "full hotel"))
            assert TRIPS == ["+flight", "+car", "-full hotel", "-car", "-flight"]

    asyncio.run(main())


# --- patterns/signalspayments

STRIPE: dict[str, str] = {}


@dataclass
class Intent:
    status: Literal["succeeded", "processing", "canceled"]


@activity.define
async def stripe(amount: int, key: UUID, webhook: str, late: bool) -> Intent:
    STRIPE[webhook] = str(key)
    return Intent("processing" if late else "succeeded")


@workflow.define
async def pays(amount: int, late: bool = False) -> str:
    key = workflow.uuid4()
    intent = await stripe(amount, key, workflow.info().workflow_id, late)
    if intent.status == "processing":
        intent = await workflow.wait_for_event("webhook", Intent)
    if intent.status != "succeeded":
        raise ApplicationError(f"the payment is {intent.status}")
    return intent.status


def test_signals_payments() -> None:
    """patterns/signalspayments: 28 lines, theirs 128. An answer at once, or by a webhook."""

    async def main() -> None:
        async with Environment([pays], [stripe]) as env:
            assert await env.run(pays, 10) == "succeeded"
            handle = await env.start(pays, 10, True, id="pay-7")
            await env.sleep(1)
            assert "pay-7" in STRIPE
            await env.handle("pay-7").raise_event("webhook", {"status": "canceled"})
            with pytest.raises(WorkflowFailed, match="canceled"):
                await handle.result()

    asyncio.run(main())


# --- patterns/syncasync


@activity.define
async def make_bucket() -> str:
    return "s3://bucket"


@activity.define
async def upload(url: str, seconds: int) -> None:
    await asyncio.sleep(seconds)


@activity.define
async def mail(to: str, url: str) -> None:
    MAILED.append(f"{to}: {url}")


MAILED: list[str] = []


@workflow.define
class Upload:
    def __init__(self) -> None:
        self.url = ""

    @workflow.run
    async def run(self, seconds: int) -> str:
        url = await make_bucket()
        await upload(url, seconds)
        self.url = url
        await workflow.wait_until(workflow.all_handlers_finished)
        return url

    @workflow.signal
    async def mail_it(self, to: str) -> None:
        await workflow.wait_until(lambda: self.url)
        await mail(to, self.url)


async def upload_page(env: Environment, seconds: int) -> str:
    handle = await env.start(Upload.run, seconds)
    try:
        return await handle.result(within=5)
    except TimeoutError:
        await handle.signal(Upload.mail_it, "ada@example.com")
        return "later, by mail"


def test_syncasync() -> None:
    """patterns/syncasync: 40 lines, theirs 71. A caller that waits in vain asks for a mail."""

    async def main() -> None:
        async with Environment([Upload], [make_bucket, upload, mail]) as env:
            assert await upload_page(env, 3) == "s3://bucket"
            assert await upload_page(env, 60) == "later, by mail"
            await env.sleep(60)
            assert MAILED == ["ada@example.com: s3://bucket"]

    asyncio.run(main())


# --- patterns/queueing


@workflow.define
async def heavy(task: str) -> str:
    await asyncio.sleep(10)
    return f"finished {task}"


def test_queueing() -> None:
    """patterns/queueing: 12 lines, theirs 45. Who asks again with the same id gets the result."""

    async def main() -> None:
        async with Environment([heavy]) as env:
            handle = await env.start(heavy, "task-1", id="task-1", delay=10)
            assert await handle.result() == "finished task-1"
            again = await env.start(heavy, "task-1", id="task-1", reuse="use-existing")
            assert not again.created and await again.result() == "finished task-1"

    asyncio.run(main())


# --- patterns/parallelizework


@activity.define
async def split(task: str) -> list[str]:
    return task.split(",")


@activity.define
async def executes(part: str) -> str:
    await asyncio.sleep(len(part))
    return part.upper()


@activity.define
async def aggregates(parts: list[str]) -> str:
    return "+".join(parts)


@workflow.define
async def parallelizes(task: str) -> str:
    parts = await split(task)
    return await aggregates(await asyncio.gather(*map(executes, parts)))


def test_parallelize_work() -> None:
    """patterns/parallelizework: 19 lines, theirs 61. Split, execute, aggregate."""

    async def main() -> None:
        async with Environment([parallelizes], [split, executes, aggregates]) as env:
            assert await env.run(parallelizes, "get,out,of,bed") == "GET+OUT+OF+BED"

    asyncio.run(main())


# --- tour-of-workflows/events


@activity.define
async def create_user(name: str) -> bool:
    await asyncio.sleep(10)
    return name != "Mallory"


@activity.define
async def activate(name: str) -> None:
    await asyncio.sleep(10)


@workflow.define
class SignUp:
    def __init__(self, name: str) -> None:
        self.created: asyncio.Future[str] = asyncio.Future()

    @workflow.run
    async def run(self, name: str) -> bool:
        is_created = await create_user(name)
        if is_created:
            self.created.set_result(f"{name} is created")
            await activate(name)
        else:
            self.created.set_exception(ApplicationError("the user was not created"))
        await workflow.wait_until(workflow.all_handlers_finished)
        return is_created

    @workflow.update
    async def wait_for_creation(self) -> str:
        return await asyncio.shield(self.created)


def test_signup_with_events() -> None:
    """tour-of-workflows/events: 39 lines, theirs 18. Others wait for a value in the middle."""

    async def main() -> None:
        async with Environment([SignUp], [create_user, activate]) as env:
            handle = await env.start(SignUp.run, "Ada")
            begun = env.now()
            waits = [handle.update(SignUp.wait_for_creation) for _ in range(2)]
            assert await asyncio.gather(*waits) == ["Ada is created"] * 2
            assert env.now() - begun < timedelta(seconds=12)
            assert await handle.result()
            with pytest.raises(RequestError, match="is completed"):  # theirs still answers
                await handle.update(SignUp.wait_for_creation)
            failed = await env.start(SignUp.run, "Mallory")
            with pytest.raises(ProcessorError, match="not created"):
                await failed.update(SignUp.wait_for_creation)

    asyncio.run(main())


# --- tour-of-workflows/timers


@activity.define
async def remind(name: str, secret: str) -> None:
    REMINDED.append(secret)


REMINDED: list[str] = []


@workflow.define
async def verifies(name: str, patience: timedelta = timedelta(days=1)) -> bool:
    secret = str(workflow.uuid4())
    await remind(name, secret)
    try:
        async with asyncio.timeout(patience.total_seconds()):
            while True:
                try:
                    return secret == await workflow.wait_for_event("verified", str, timeout=15)
                except TimeoutError:
                    await remind(name, secret)
    except TimeoutError:
        raise ApplicationError("nobody verified it in time") from None


def test_signup_with_timers() -> None:
    """tour-of-workflows/timers: 28 lines, theirs 46. Reminders, and a time-out over all."""

    async def main() -> None:
        async with Environment([verifies], [remind]) as env:
            handle = await env.start(verifies, "Ada")
            await env.sleep(50)
            assert len(REMINDED) == 4
            await handle.raise_event("verified", REMINDED[-1])
            assert await handle.result()
            with pytest.raises(WorkflowFailed, match="in time"):
                await env.run(verifies, "Bob", timedelta(minutes=5))

    asyncio.run(main())


# --- tour-of-workflows/retries


@activity.define(retry=RetryPolicy(initial_interval=1, maximum_attempts=3))
async def welcome(name: str) -> None:
    if name == "Bounce":
        raise ConnectionError("the mail server is away")


@workflow.define
async def signs_up(name: str) -> bool:
    try:
        await welcome(name)
    except ActivityError:
        workflow.logger.warning("no mail to %s", name)
        return False
    return True


def test_signup_with_retries() -> None:
    """tour-of-workflows/retries: 18 lines, theirs 24. A step gives up after three attempts."""

    async def main() -> None:
        async with Environment([signs_up], [welcome]) as env:
            assert await env.run(signs_up, "Ada")
            assert not await env.run(signs_up, "Bounce")

    asyncio.run(main())


# --- tour-of-workflows/signals


@workflow.define
async def clicks(secret: str) -> bool:
    return await workflow.wait_for_event("clicked", str) == secret


def test_signup_with_signals() -> None:
    """tour-of-workflows/signals: 10 lines, theirs 20. A click in a mail, whenever it comes."""

    async def main() -> None:
        async with Environment([clicks]) as env:
            handle = await env.start(clicks, "secret", id="ada")
            await env.handle("ada").raise_event("clicked", "secret")
            assert await handle.result()

    asyncio.run(main())
