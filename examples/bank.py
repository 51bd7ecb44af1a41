"""Bank: money moves between accounts, and nobody sees it on the way.

processor worker examples.bank --server embedded:./state
processor entity call Account ada deposit 100 --server embedded:./state --module examples.bank
processor run transfer ada bob 30 --server embedded:./state --module examples.bank
processor entity state Account bob --server embedded:./state --module examples.bank
"""

from dataclasses import dataclass

from processor import ApplicationError, UpdateFailed, entity, workflow


@entity.define
class Account:
    balance: int = 0

    def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    def withdraw(self, amount: int) -> int:
        if amount > self.balance:
            raise ApplicationError(f"{entity.info().key} has {self.balance}, and not {amount}")
        self.balance -= amount
        return self.balance

    @entity.read
    def total(self) -> int:
        return self.balance


@dataclass
class Receipt:
    """``number`` is the fencing number under which money was taken; 0: none was."""

    moved: int
    number: int = 0
    reason: str = ""


@workflow.define
async def transfer(source: str, target: str, amount: int) -> Receipt:
    """Move money, or nothing. A run that ends between the two calls has taken money and given none:
    terminate no transfer."""
    ends = entity.at(Account, source), entity.at(Account, target)
    async with workflow.lock(*ends) as lock:
        try:
            await workflow.call_entity(Account.withdraw, source, amount)
        except UpdateFailed as error:
            return Receipt(0, reason=str(error.__cause__))
        await workflow.call_entity(Account.deposit, target, amount)
        return Receipt(amount, lock.number(ends[0]))


@workflow.define
async def audit(accounts: list[str]) -> int:
    """Return what all of them have together: no transfer is on its way meanwhile."""
    async with workflow.lock(*(entity.at(Account, each) for each in accounts)):
        return sum([await workflow.call_entity(Account.deposit, each, 0) for each in accounts])
