"""However an attempt ends, exactly one report leaves, and it says what happened."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from processor import ApplicationError, Client, RetryPolicy, Worker, activity, workflow
from processor.activities.executor import Executor
from processor.codec.payloads import JsonPayloads
from processor.codec.records import encode
from processor.config import Settings
from processor.core.data.failure import Failure
from processor.core.inputs import ActivityReport
from processor.embedded.runtime import SystemClock
from processor.failures import exception_of, failure_of
from processor.injection.interceptors import Injected
from processor.kafka.clients.connection import COMMAND_BYTES_MAX
from processor.kafka.queues.reports import encoded
from processor.registry import Registry
from tests.core.broken import Data, NoSuper

from .test_executor import outcome_of, task


class OwnBase(BaseException):
    pass


ENDS: list[BaseException] = [
    *(asyncio.CancelledError("inner"), concurrent.futures.CancelledError("inner")),
    *(StopIteration(7), StopAsyncIteration(7), GeneratorExit("inner"), SystemExit(3)),
    *(KeyboardInterrupt("inner"), OwnBase("inner")),
]


def failure_in(reports: list[ActivityReport]) -> Failure:
    """Return the failure of the one outcome there is."""
    (outcome,) = (report for report in reports if report.kind in ("completed", "failed"))
    assert outcome.failure is not None
    encode(outcome)
    return outcome.failure


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "async"])
@pytest.mark.parametrize("error", ENDS, ids=lambda error: type(error).__qualname__)
@pytest.mark.parametrize("limit_ms", [None, 60_000], ids=["no time-out", "a time-out"])
def test_an_attempt_ends_whatever_is_raised(
    error: BaseException, plain: bool, limit_ms: int | None
) -> None:
    def raises() -> None:
        raise error

    async def raises_async() -> None:
        raise error

    failure = failure_in(outcome_of(raises if plain else raises_async, start_to_close_ms=limit_ms))
    bent = not plain and isinstance(error, StopIteration)  # by Python itself
    name = "RuntimeError" if bent else type(error).__name__
    assert (failure.kind, failure.type, failure.retryable) == ("exception", name, True)
    assert failure.message
    told = failure.cause if bent else failure
    assert told is not None and told.type == type(error).__name__
    assert told.traceback is not None and "raise error" in told.traceback


async def cancels_an_inner_task() -> None:
    inner = asyncio.ensure_future(asyncio.sleep(9))
    asyncio.get_running_loop().call_soon(inner.cancel)
    await inner


async def takes_it_out_of_its_scope() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep(9)
        except asyncio.CancelledError as error:
            kept = error
    raise kept


@pytest.mark.parametrize("cancels", [cancels_an_inner_task, takes_it_out_of_its_scope])
def test_a_cancellation_of_the_code_s_own_fails_the_attempt(cancels: Any) -> None:
    failure = failure_in(outcome_of(cancels))
    assert (failure.kind, failure.type) == ("exception", "CancelledError")
    said = "activity 'wait' was cancelled by its own code, and by nobody else"
    assert failure.message.startswith(said)


def test_an_activity_that_cancels_itself_fails_the_attempt() -> None:
    async def cancels() -> None:
        itself = asyncio.current_task()
        assert itself is not None
        itself.cancel("enough")
        await asyncio.sleep(9)

    assert "by its own code, and by nobody else: enough" in failure_in(outcome_of(cancels)).message


# --- errors that cannot be told as they are -----------------------------------------------------


class BrokenStr(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class NoText(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


class BrokenEverywhere(Exception):
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise SystemExit(1)

    def __repr__(self) -> str:
        raise ValueError

    @property
    def __notes__(self) -> Any:
        raise OwnBase

    def __reduce__(self) -> Any:
        raise TypeError


class BrokenType(ApplicationError):
    def __getattribute__(self, name: str) -> Any:
        if name == "type":
            raise OwnBase
        return super().__getattribute__(name)


class Meta(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise OwnBase


class BadName(Exception, metaclass=Meta):
    pass


class Unwritable:
    def __getattribute__(self, name: str) -> Any:
        raise OwnBase


def caused(error: BaseException) -> BaseException:
    error.__cause__ = BrokenEverywhere()
    return error


ODD: list[Callable[[], BaseException]] = [
    NoSuper,
    Data,
    BrokenStr,
    NoText,
    BrokenEverywhere,
    BrokenType,
    BadName,
    lambda: caused(ValueError("caf\udce9")),
    lambda: type("Caf\udce9", (Exception,), {})("\udce9"),
    lambda: type("N" * 10_000_000, (Exception,), {})("long"),
    lambda: ApplicationError("caf\udce9", type="caf\udce9"),
    lambda: ApplicationError("m", type=KeyError),  # type: ignore[arg-type]
    lambda: ApplicationError("m", retryable="no"),  # type: ignore[arg-type]
    lambda: ApplicationError("m", details=Unwritable()),
    lambda: ApplicationError("m", details=object()),
    lambda: ApplicationError("m", next_delay=timedelta.max),
    lambda: ApplicationError("m", next_delay=timedelta(-1)),
    lambda: ApplicationError("m", next_delay="soon"),  # type: ignore[arg-type]
    lambda: ExceptionGroup("many", [ValueError("x" * 9_000)] * 5_000),
    lambda: caused(BaseExceptionGroup("broken", [BrokenStr(), BrokenEverywhere()])),
    lambda: SyntaxError("bad", (1, 2, 3, 4)),
]


@pytest.mark.parametrize("made", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "async"])
def test_an_error_that_is_hard_to_tell_fails_the_attempt(
    made: Callable[[], BaseException], plain: bool
) -> None:
    def raises() -> None:
        raise made()

    async def raises_async() -> None:
        raise made()

    reports = outcome_of(raises if plain else raises_async)
    failure_in(reports)
    assert len(encode(reports[-1])) < 200_000


def test_what_cannot_be_told_of_an_error_is_said_to_be_missing() -> None:
    failure = failure_of(NoSuper(), JsonPayloads())
    assert (failure.kind, failure.type) == ("exception", "NoSuper")
    assert "the rest of this error cannot be told: AttributeError" in failure.message
    assert "__str__ raises KeyboardInterrupt" in failure_of(BrokenStr(), JsonPayloads()).message


def test_details_of_all_causes_together_are_bounded() -> None:
    error: BaseException | None = None
    for number in range(10):
        outer = ApplicationError(f"number {number}", details="d" * 900_000)
        outer.__cause__, error = error, outer
    assert error is not None
    failure: Failure | None = failure_of(error, JsonPayloads())
    assert len(encode(ActivityReport("w", "r", 1, 1, "failed", failure=failure))) < 1_100_000


def test_an_outcome_that_is_no_record_is_told_as_a_failure() -> None:
    """Seen with codecs of users: the report was lost, and the run waited for ever."""
    from processor.codec.records import decode_as

    large = ActivityReport("w", "r", 1, 2, "completed", payload=b"1" * (COMMAND_BYTES_MAX + 1))
    odd = replace(large, payload="text")  # type: ignore[arg-type]
    for report in (large, odd):
        failed = decode_as(ActivityReport, encoded(report))
        assert (failed.kind, failed.attempt, failed.payload) == ("failed", 2, None)
        assert failed.failure is not None and not failed.failure.retryable
        assert "cannot be written down" in failed.failure.message


# --- end to end ---------------------------------------------------------------------------------


@activity.define(retry=RetryPolicy(maximum_attempts=1))
def leaves() -> None:
    raise SystemExit("good bye")


@activity.define(retry=RetryPolicy(maximum_attempts=2, initial_interval=timedelta(seconds=0.01)))
async def is_interrupted() -> int:
    if activity.info().attempt == 1:
        raise KeyboardInterrupt
    return activity.info().attempt


@workflow.define
async def survives() -> list[Any]:
    try:
        await leaves()
    except Exception as error:
        return [type(error).__name__, str(error), await is_interrupted()]
    return []


def test_sys_exit_in_an_activity_ends_the_attempt_and_not_the_process(tmp_path: Path) -> None:
    async def main() -> list[Any]:
        server = f"embedded:{tmp_path}"
        worker = Worker(server, workflows=[survives], activities=[leaves, is_interrupted])
        async with worker, Client(server) as client, asyncio.timeout(20):
            return await client.run(survives)

    assert asyncio.run(main()) == ["ActivityFailed", "SystemExit: good bye", 2]


# --- contexts -------------------------------------------------------------------------------------

TENANT: ContextVar[str] = ContextVar("TENANT", default="nobody")


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "async"])
@pytest.mark.parametrize("slots", [1, 10])
def test_an_attempt_sees_nothing_of_other_contexts(plain: bool, slots: int) -> None:
    """Neither of the attempt before, nor of a client whose request happens to start it."""
    seen: list[str] = []

    def looks() -> None:
        seen.append(TENANT.get())
        TENANT.set(f"attempt of {activity.info().id}")

    async def looks_async() -> None:
        looks()

    async def main() -> None:
        TENANT.set("the worker")
        payloads = JsonPayloads()
        defined = activity.define(name="wait")(looks if plain else looks_async)
        registry = Registry([], [defined], Injected(payloads))
        settings = Settings(max_activities=slots)
        executor = Executor(registry, settings, "a test", SystemClock())
        TENANT.set("a client")
        for id in range(4):
            executor.enqueue(task(1, id=id, eager=False), lambda report: None)
        async with asyncio.timeout(30):
            while len(seen) < 4:
                await asyncio.sleep(0.01)

    asyncio.run(main())
    assert seen == ["the worker"] * 4


# --- heartbeats -----------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "async"])
def test_details_given_right_before_a_failure_leave_before_it(plain: bool) -> None:
    def beats() -> None:
        for place in (1, 2, 3):
            activity.heartbeat(place)
            if plain:
                time.sleep(0.02)
        raise ValueError("down")

    async def beats_async() -> None:
        beats()

    reports = outcome_of(beats if plain else beats_async)
    said = [(report.kind, report.payload) for report in reports if report.kind != "started"]
    assert said[-2:] == [("heartbeat", b"3"), ("failed", None)]
    assert len(said) <= 3, "the throttle holds the others back"


def test_details_that_the_throttle_holds_back_reach_a_time_out() -> None:
    async def beats() -> None:
        for place in (1, 2, 3):
            activity.heartbeat(place)
            await asyncio.sleep(0)
        await asyncio.sleep(9)

    reports = outcome_of(beats, start_to_close_ms=1_000)
    assert reports[-1].failure is not None and reports[-1].failure.details == b"3"
    assert (reports[-2].kind, reports[-2].payload) == ("heartbeat", b"3")


def test_details_that_are_too_large_are_refused_at_the_call() -> None:
    async def beats() -> None:
        activity.heartbeat("a")
        activity.heartbeat("d" * 1_000_001)

    failure = failure_in(reports := outcome_of(beats))
    assert failure.type == "PayloadTooLarge" and "1,000,003 bytes" in failure.message
    assert reports[-2].payload == b'"a"'


def test_details_that_cannot_be_decoded_are_the_bytes_that_they_are() -> None:
    for details in (b"\xff", b"[" * 200_000 + b"]" * 200_000):
        error = exception_of(Failure("application", "E", "m", details), JsonPayloads())
        assert isinstance(error, ApplicationError) and error.details == details


@pytest.mark.parametrize("seconds", [0.0, 0.1])
def test_details_leave_once(seconds: float) -> None:
    async def beats() -> None:
        activity.heartbeat(1)
        await asyncio.sleep(seconds)
        raise ValueError("down")

    reports = outcome_of(beats)
    assert [report.payload for report in reports if report.kind == "heartbeat"] == [b"1"]


# --- activities that nobody knows -----------------------------------------------------------------


def test_an_activity_that_is_not_registered_is_warned_of_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reports: list[ActivityReport] = []

    async def main() -> None:
        payloads = JsonPayloads()
        defined = activity.define(name="charge")(lambda: None)
        executor = Executor(
            Registry([], [defined], Injected(payloads)), Settings(), "a test", SystemClock()
        )
        for id in range(5):
            executor.enqueue(task(1, id=id, eager=False), reports.append)
        executor.enqueue(replace(task(1, id=9, eager=False), name="refund"), reports.append)
        async with asyncio.timeout(30):
            while len(reports) < 6:
                await asyncio.sleep(0.01)

    with caplog.at_level(logging.WARNING, "processor.activities"):
        asyncio.run(main())
    failures = [report.failure for report in reports]
    assert {failure.type for failure in failures if failure} == {"ActivityNotRegistered"}
    assert all(failure and "Registered are: charge" in failure.message for failure in failures)
    said = [record.message for record in caplog.records]
    assert len(said) == 2 and "'wait'" in said[0] and "'refund'" in said[1]


def test_an_activity_that_is_not_registered_stands_in_describe(tmp_path: Path) -> None:
    @activity.define
    async def unknown() -> None:
        pass

    @workflow.define
    async def asks() -> None:
        await unknown()

    async def main() -> Any:
        server = f"embedded:{tmp_path}"
        async with Worker(server, workflows=[asks]), Client(server) as client:
            handle = await client.start(asks)
            async with asyncio.timeout(20):
                while True:
                    found = await handle.describe()
                    (pending,) = found.pending["activities"]
                    if pending["last_failure"] is not None:
                        return pending
                    await asyncio.sleep(0.05)

    pending = asyncio.run(main())
    assert pending["last_failure"]["type"] == "ActivityNotRegistered"
    assert "Registered are: none" in pending["last_failure"]["message"]
