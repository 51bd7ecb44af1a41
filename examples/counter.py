"""Counter: a run that lives for ever, in runs without a long history (continue-as-new).

processor start Counter --id visits --server embedded:./state --module examples.counter
processor signal visits add 3 --server embedded:./state --module examples.counter
processor query visits total --server embedded:./state --module examples.counter
"""

from processor import workflow


@workflow.define
class Counter:
    def __init__(self, total: int = 0, per_run: int = 1_000) -> None:
        self.count = total
        self.per_run = per_run
        self.taken = 0

    @workflow.run
    async def run(self, total: int = 0, per_run: int = 1_000) -> int:
        await workflow.wait_until(lambda: self.taken >= self.per_run)
        workflow.continue_as_new(self.count, per_run)  # signals that are still to come go along

    @workflow.signal
    def add(self, number: int = 1) -> None:
        self.count += number
        self.taken += 1

    @workflow.query
    def total(self) -> int:
        return self.count
