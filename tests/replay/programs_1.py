"""The workflow code of the histories of level 1, frozen: they are replayed through it for ever.

Nothing here may change; what a later level records has a module of its own.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from processor import (
    ActivityTimedOut,
    ApplicationError,
    ProcessorError,
    RetryPolicy,
    activity,
    workflow,
)

# --- the golden order, as in examples/orders.py -----------------------------------------------

REVIEW_ABOVE = 1_000.0


@dataclass
class Order:
    id: str
    amount: float
    payment_failures: int = 0
    payment_retry_s: float = 10.0
    review_timeout_s: float = 2 * 3600.0
    follow_up_s: float = 24 * 3600.0


@activity.define
async def reserve_inventory(order: Order) -> None: ...


@activity.define(retry=RetryPolicy(initial_interval=timedelta(seconds=10), maximum_attempts=5))
async def process_payment(order: Order) -> str:
    if activity.info().attempt <= order.payment_failures:
        raise ApplicationError(
            "Payment provider is down", next_delay=timedelta(seconds=order.payment_retry_s)
        )
    return "REQUIRES_REVIEW" if order.amount > REVIEW_ABOVE else "PAID"


@activity.define
async def notify_fraud_team(order: Order) -> None: ...


@activity.define
async def refund_payment(order: Order) -> None: ...


@activity.define
async def deduct_inventory(order: Order) -> None: ...


@activity.define
async def send_order_confirmation_email(order: Order) -> None: ...


@activity.define
async def send_follow_up_email(order: Order) -> None: ...


@workflow.define
async def order_processing(order: Order) -> str:
    await reserve_inventory(order)
    payment = await process_payment(order)
    try:
        if payment == "REQUIRES_REVIEW":
            await notify_fraud_team(order)
            try:
                approved = await workflow.wait_for_event(
                    "fraudReviewApproved", bool, timeout=timedelta(seconds=order.review_timeout_s)
                )
            except TimeoutError:
                approved = False
            if not approved:
                raise ApplicationError("Fraud review rejected or timed out")
        await deduct_inventory(order)
        await send_order_confirmation_email(order)
    except ProcessorError as error:
        await refund_payment(order)
        return f"Order processing failed: {error}"
    await asyncio.sleep(order.follow_up_s)
    await send_follow_up_email(order)
    return "Order processing completed successfully!"


# --- activities -------------------------------------------------------------------------------


@activity.define
async def double(number: int) -> int:
    return number * 2


@activity.define
def plain(number: int) -> int:
    return number + 1


@activity.define
async def slow(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@activity.define(retry=RetryPolicy(initial_interval=timedelta(seconds=2), maximum_attempts=4))
async def flaky(failures: int) -> int:
    if activity.info().attempt <= failures:
        raise ApplicationError("not yet", details={"failures": failures})
    return activity.info().attempt


@activity.define(retry=RetryPolicy(maximum_attempts=2))
async def doomed(word: str) -> None:
    raise ApplicationError(f"never {word}", type="Doomed")


@activity.define(retry=RetryPolicy(non_retryable=("Forbidden",)))
async def forbidden() -> None:
    raise ApplicationError("no", type="Forbidden")


@activity.define(start_to_close=5, retry=RetryPolicy(maximum_attempts=2))
async def hangs() -> None:
    await asyncio.sleep(3_600)


@activity.define(queue="far", eager=False, schedule_to_start=600, start_to_close=60)
async def queued(number: int) -> int:
    await asyncio.sleep(1)
    return number * 3


@activity.define(queue="far", eager=False, heartbeat=10, retry=RetryPolicy(maximum_attempts=2))
async def beating(silent: bool) -> str:
    activity.heartbeat({"done": 1})
    await asyncio.sleep(60 if silent and activity.info().attempt == 1 else 3)
    activity.heartbeat({"done": 2})
    return str(activity.heartbeat_details())


# --- one program for each primitive -----------------------------------------------------------


@workflow.define
async def chain(number: int) -> int:
    for _ in range(3):
        number = await plain(await double(number))
    return number


@workflow.define
async def events() -> list[Any]:
    first = await workflow.wait_for_event("number", int)
    await asyncio.sleep(10)  # two more arrive meanwhile, of which one does not fit
    second = await workflow.wait_for_event("number", int)
    try:
        third = await workflow.wait_for_event("number", int, timeout=30)
    except TimeoutError:
        third = -1
    word = await workflow.wait_for_event("word", str)
    return [first, second, third, word]


@workflow.define
async def timers() -> str:
    await asyncio.sleep(0.5)
    await workflow.sleep(timedelta(hours=1))
    await workflow.timer(datetime(2026, 1, 1, 2, tzinfo=UTC))
    await workflow.timer(60)
    try:
        async with asyncio.timeout(3):
            await asyncio.sleep(100)
    except TimeoutError:
        return workflow.now().isoformat()
    return "no time-out"


@workflow.define
async def conditions() -> list[int]:
    seen: list[int] = []

    async def collect() -> None:
        while len(seen) < 3:
            seen.append(await workflow.wait_for_event("number", int))

    collecting = asyncio.create_task(collect())
    await workflow.wait_until(lambda: len(seen) == 2)
    await double(seen[-1])
    try:
        await workflow.wait_until(lambda: len(seen) > 5, timeout=20)
    except TimeoutError:
        await collecting
    return seen


@workflow.define
async def races() -> list[str]:
    won: list[str] = []
    for seconds in (1.0, 50.0):
        entrants = {
            asyncio.create_task(slow(seconds), name="activity"),
            asyncio.create_task(asyncio.sleep(10), name="timer"),
            asyncio.create_task(workflow.wait_for_event("go", str), name="event"),
        }
        done, pending = await asyncio.wait(entrants, return_when=asyncio.FIRST_COMPLETED)
        won += sorted(task.get_name() for task in done)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    return won


@workflow.define
async def gathered(numbers: list[int]) -> list[Any]:
    doubled = await asyncio.gather(*(double(number) for number in numbers))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(slow(number)) for number in numbers]
        tasks.append(group.create_task(asyncio.sleep(2.5, 0.5)))
    mixed = await asyncio.gather(doomed("gathered"), plain(1), return_exceptions=True)
    return [doubled, [task.result() for task in tasks], [type(each).__name__ for each in mixed]]


@workflow.define
async def grouped() -> str:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(slow(100))
            group.create_task(asyncio.sleep(100))
            group.create_task(forbidden())
    except ExceptionGroup as errors:
        return f"{len(errors.exceptions)} failed"
    return "none failed"


@workflow.define
async def coordination() -> list[int]:
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    lock, slots, opened = asyncio.Lock(), asyncio.Semaphore(2), asyncio.Event()
    taken: list[int] = []

    async def give() -> None:
        for number in range(4):
            async with slots:
                await queue.put(await double(number))
        opened.set()

    async def take() -> None:
        while len(taken) < 4:
            async with lock:
                taken.append(await queue.get())
                await asyncio.sleep(1)

    await asyncio.gather(give(), take(), opened.wait())
    return taken


@workflow.define
async def cleans_up() -> None:
    try:
        await asyncio.gather(slow(1_000), asyncio.sleep(2_000))
    finally:
        await double(1)


@workflow.define
async def goes_on() -> str:
    try:
        await workflow.wait_for_event("never")
    except asyncio.CancelledError:
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
    return f"cancelled, and then {await double(2)}"


@workflow.define
async def waits() -> None:
    await slow(100_000)


@workflow.define
async def retries() -> list[Any]:
    results: list[Any] = [await flaky(2)]
    for called in (doomed("today"), forbidden()):
        try:
            await called
        except ApplicationError as error:
            results.append([error.type, error.retryable])
    try:
        await hangs()
    except ActivityTimedOut as error:
        results.append([error.kind, error.attempts])
    return results


@workflow.define
async def fails() -> None:
    try:
        await doomed("again")
    except ApplicationError as error:
        raise ApplicationError("it is over", type="Over", details=[1, 2]) from error


@workflow.define
async def uses_queues() -> list[Any]:
    first = await queued(1)
    second = await beating(False)
    third = await beating(True)
    by_name = await workflow.call_activity("queued", 2, result_type=int, queue="far", eager=False)
    return [first, second, third, by_name]


@workflow.define
async def side_effects() -> list[Any]:
    number = workflow.side_effect(lambda: 42, int)
    drawn = workflow.random().randint(1, 1_000_000)
    await asyncio.sleep(1)
    unique = str(workflow.uuid4())
    word = workflow.side_effect(lambda: "noted", str)
    return [number, drawn, unique, word, workflow.info().workflow_id]


@workflow.define
async def publishes() -> None:
    workflow.publish("records", "a", {"number": 1})
    await double(1)
    workflow.publish("records", None, b"raw bytes")
    workflow.publish("others", b"\x00key", [1, 2, 3])


@workflow.define
async def sends(to: str, victim: str) -> str:
    workflow.signal(to, "greeting", {"hello": 1})
    await asyncio.sleep(5)
    workflow.signal(to, "greeting", {"hello": 2})
    workflow.cancel(victim, "no longer needed")
    return await workflow.wait_for_event("answer", str)


@workflow.define
async def receives(answer_to: str) -> list[Any]:
    first = await workflow.wait_for_event("greeting", dict[str, int])
    second = await workflow.wait_for_event("greeting", dict[str, int])
    workflow.signal(answer_to, "answer", "thank you")
    return [first, second]


@workflow.define
async def has_a_status() -> None:
    for number in range(3):
        workflow.set_status({"step": number})
        await double(number)
    workflow.set_status(None)
    await asyncio.sleep(1)


@workflow.define
async def parks() -> list[Any]:
    """Its first version had a bug after the first event (see ``record.py``)."""
    number = await double(21)
    first = await workflow.wait_for_event("go", int)
    return [number, first, await workflow.wait_for_event("go", int), await plain(first)]


@workflow.define
async def survives_a_crash() -> list[float]:
    """Its process dies while the activities run."""
    return list(await asyncio.gather(slow(20), slow(30), hangs_briefly()))


@activity.define(retry=RetryPolicy(initial_interval=timedelta(seconds=3)), schedule_to_close=300)
async def hangs_briefly() -> float:
    await asyncio.sleep(25)
    return 25.0
