"""The order as a class: it is asked how it stands, and the address may change until it is shipped.

processor start OrderOf '{"id": "A-1", "amount": 120, "address": "Rome"}' --id order-A-1
processor query order-A-1 status
processor update order-A-1 ship_to '"Oslo"'
processor signal order-A-1 approve
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from processor import ApplicationError, activity, workflow


@dataclass
class Order:
    id: str
    amount: float
    address: str


@activity.define
async def charge(order: Order) -> None: ...


@activity.define
async def refund(order: Order) -> None: ...


@activity.define
async def check_address(address: str) -> str:
    return address.title()


@activity.define
async def ship(order: Order, address: str) -> str:
    return f"{order.id} to {address}"


@workflow.define
class OrderOf:
    def __init__(self, order: Order) -> None:
        self.address = order.address
        self.state = "new"
        self.approved = order.amount <= 1_000

    @workflow.run
    async def run(self, order: Order) -> str:
        async with workflow.Saga() as saga:
            await charge(order)
            saga.compensate(refund, order)
            self.state = "paid"
            try:
                await workflow.wait_until(lambda: self.approved, timeout=timedelta(hours=2))
            except TimeoutError:
                raise ApplicationError("nobody approved it") from None
            await asyncio.sleep(600)  # ten minutes, in which the address may change
            await workflow.wait_until(workflow.all_handlers_finished)
            self.state = "shipped"
            return await ship(order, self.address)

    @workflow.signal
    def approve(self) -> None:
        self.approved = True

    @workflow.query
    def status(self) -> str:
        return f"{self.state}, to {self.address}"

    @workflow.update
    async def ship_to(self, address: str) -> str:
        self.address = await check_address(address)
        return self.address

    @ship_to.validator
    def check(self, address: str) -> None:
        if self.state == "shipped":
            raise ApplicationError("it is on its way already")
        if not address.strip():
            raise ApplicationError("an address has letters")
