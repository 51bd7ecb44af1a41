"""The order workflow: reserve, pay, review where needed, ship, and follow up a day later.

processor demo                                                   # with everything in one process
processor worker examples.orders                                 # on Kafka
processor start order_processing '{"id": "A-1", "amount": 120}' --id order-A-1
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from processor import ApplicationError, ProcessorError, RetryPolicy, activity, workflow

REVIEW_ABOVE = 1_000.0


@dataclass
class Order:
    """What is ordered; the fields with defaults let a demo or a test shorten the waits."""

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
    except ProcessorError as error:  # a failed activity as well as our own refusal
        await refund_payment(order)
        return f"Order processing failed: {error}"
    await asyncio.sleep(order.follow_up_s)  # durable: no process lives that long
    await send_follow_up_email(order)
    return "Order processing completed successfully!"
