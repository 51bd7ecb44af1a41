"""Events of a Kafka topic become operations of entities: a running total for each account.

`processor worker examples.aggregator` reads the topic `transactions`, whose records are JSON:
{"account": "ada", "amount": 5}. Here the records come from a list, without a broker.
"""

import asyncio
from dataclasses import dataclass

from processor import connect, entity
from processor.testing import Environment


@dataclass
class Transaction:
    account: str
    amount: int


@entity.define
class Total:
    count: int = 0
    amount: int = 0

    def add(self, amount: int) -> None:
        self.count += 1
        self.amount += amount


@connect.define("transactions")
def totals(record: connect.Record[Transaction]) -> connect.SignalEntity | None:
    transaction = record.value
    if not transaction.amount:
        return None
    return connect.SignalEntity(Total.add, transaction.account, transaction.amount)


async def main() -> None:
    came = [Transaction("ada", 5), Transaction("bob", 7), Transaction("ada", 0)]
    async with Environment(entities=[Total]) as env:
        await env.feed(totals, *came, {"account": "ada", "amount": -2})
        for account in ("ada", "bob"):
            total = await env.entity(Total, account).state()
            print(account, total and (total.count, total.amount))


if __name__ == "__main__":
    asyncio.run(main())
