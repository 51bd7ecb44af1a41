"""What the workflows of two namespaces ask of each other."""

from __future__ import annotations

import asyncio

from processor import workflow
from tests.kafka.probes import doubles_late

__all__ = ("BOTH_WAYS", "Clerk", "goes_over")


@workflow.define
class Clerk:
    """Adds up the doubles of what it is told, until it is closed."""

    def __init__(self) -> None:
        self.sum = 0
        self.closed = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_until(lambda: self.closed)
        return self.sum

    @workflow.update
    def add(self, number: int) -> int:
        """Be through at once: a run has ten updates open at the most."""
        self.sum += 2 * number
        return 2 * number

    @workflow.signal
    def close(self) -> None:
        self.closed = True


@workflow.define
async def goes_over(other: str, number: int) -> int:
    """Have two children in another namespace, and a call to its clerk; return the sum of all."""
    me = workflow.info().workflow_id
    clerk = workflow.handle("clerk", workflow=Clerk.run, namespace=other)
    first, told = await asyncio.gather(
        workflow.call_child(doubles_late, number, id=f"{me}/first", namespace=other),
        clerk.update(Clerk.add, number),
    )
    second = await workflow.call_child(doubles_late, number, id=f"{me}/second", namespace=other)
    return first + told + second


BOTH_WAYS = [Clerk, goes_over]
