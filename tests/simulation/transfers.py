"""Accounts on different shards that pay each other: their sum must stay, whatever happens."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from processor import activity, workflow

__all__ = ("Ledger", "account", "audited")


@dataclass
class Entry:
    """``to`` names the account that is to be paid; "" where this one was paid."""

    amount: int
    to: str = ""


@activity.define
async def audited(entry: Entry) -> bool:
    return entry.amount > 0


@workflow.define
async def account(balance: int, pays: int, credits: int) -> int:
    """Book so many payments and credits, then close; return the balance."""
    while pays or credits:
        entry = await workflow.wait_for_event("entry", Entry)
        if entry.to:
            pays -= 1
            balance -= entry.amount
            if entry.amount % 3 == 0:
                await audited(entry)
            workflow.signal(entry.to, "entry", Entry(entry.amount))
        else:
            credits -= 1
            balance += entry.amount
        workflow.set_status(balance)
    return balance


@dataclass
class Ledger:
    """Who has how much before and after, and who is told to pay whom."""

    before: dict[str, int]
    after: dict[str, int]
    payments: list[tuple[str, Entry]]

    def pays(self, name: str) -> int:
        return sum(payer == name for payer, _ in self.payments)

    def credits(self, name: str) -> int:
        return sum(entry.to == name for _, entry in self.payments)


def draw(random: Random) -> Ledger:
    names = [f"account-{number}" for number in range(random.randint(2, 4))]
    before = {name: random.randint(0, 100) for name in names}
    after = dict(before)
    payments = []
    for _ in range(random.randint(2, 8)):
        payer, payee = random.sample(names, 2)
        amount = random.randint(1, 50)
        payments.append((payer, Entry(amount, payee)))
        after[payer] -= amount
        after[payee] += amount
    return Ledger(before, after, payments)
