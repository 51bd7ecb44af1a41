"""A parcel's number reaches the order that waits for it, also when the carrier is faster.

`processor worker examples.correlation` reads the topic `carrier-events`, whose records are JSON:
{"parcel": "P-1", "what": "delivered", "text": "at the door"}. Here they come from a list.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from processor import connect, workflow
from processor.testing import Environment


@dataclass
class CarrierEvent:
    parcel: str
    what: str
    text: str


@workflow.define
class Order:
    def __init__(self) -> None:
        self.log: list[str] = []

    @workflow.run
    async def run(self, parcels: list[str]) -> list[str]:
        for parcel in parcels:
            await workflow.correlate("parcel", parcel)
        await workflow.wait_until(lambda: len(self.log) >= len(parcels))
        return self.log

    @workflow.signal
    def delivered(self, parcel: str, text: str) -> None:
        self.log.append(f"{parcel} {text}")


@connect.define("carrier-events")
def carrier_events(record: connect.Record[CarrierEvent]) -> connect.SignalCorrelated | None:
    event = record.value
    if event.what != "delivered":
        return None
    key, keep = ("parcel", event.parcel), timedelta(days=30)
    return connect.SignalCorrelated(*key, Order.delivered, event.parcel, event.text, keep=keep)


async def main() -> None:
    came = [
        CarrierEvent("P-1", "delivered", "at the door"),
        CarrierEvent("P-2", "weighed", "2 kg"),
        CarrierEvent("P-2", "delivered", "by hand"),
    ]
    async with Environment([Order]) as env:
        await env.feed(carrier_events, came[0])
        order = await env.start(Order.run, ["P-1", "P-2"], id="order-7")
        await env.feed(carrier_events, *came[1:])
        print(await order.result())


if __name__ == "__main__":
    asyncio.run(main())
