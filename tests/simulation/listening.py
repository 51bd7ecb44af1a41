"""A class that takes signals in two ways, and tells what it has heard."""

from __future__ import annotations

from processor import workflow

from . import deeds

__all__ = ("Listener",)


@workflow.define
class Listener:
    """Ends when it has heard all; some of it takes an activity each."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.doubled: list[int] = []

    @workflow.run
    async def run(self, count: int) -> list[list[int]]:
        await workflow.wait_until(lambda: len(self.heard) + len(self.doubled) == count)
        return [sorted(self.heard), sorted(self.doubled)]

    @workflow.signal
    def hear(self, number: int) -> None:
        self.heard.append(number)

    @workflow.signal
    async def double(self, number: int) -> None:
        self.doubled.append(await deeds.double(number))

    @workflow.query
    def so_far(self) -> list[int]:
        return self.heard
