"""How many functions an operation of each workload calls, Python's and those of C.

python -m benchmarks.calls      # a JSON object: "workload c n" and calls of one operation

The count is the same on every machine, quiet or busy, to about 1 %. It needs a process of its own:
with CPython 3.11, a process that is profiled hangs where an exception waits for a blocked thread
(``PyThreadState_SetAsyncExc``; the eval loop comes back to the same RESUME for ever).
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any, Self

from processor.bench.hosts import BenchHost, embedded, measure
from processor.bench.loops import Load
from processor.bench.meter import Meter

ROWS = (
    ("chain", 1, 50),
    ("chain", 100, 300),
    ("signal", 50, 500),
    ("fanout", 1, 200),
    ("children", 1, 100),
    ("update", 50, 200),
    ("query", 50, 200),
    ("entity", 50, 200),
)
"""Workload, how many in flight, how many operations."""


class Calls(Meter):
    """Counts the calls of the loop's thread."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        def note(frame: FrameType, event: str, argument: Any) -> None:
            self.count += event in ("call", "c_call")

        sys.setprofile(note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def report(self) -> dict[str, Any]:
        return {"calls": self.count}


class CountingHost(BenchHost):
    def meter(self) -> Meter:
        return Calls()


async def counted(folder: Path) -> dict[str, float]:
    found = {}
    async with embedded(folder) as serving:
        host = CountingHost(
            serving.client, serving.folder, serving.flood, serving.settings, own=serving.own
        )
        for name, c, n in ROWS:
            load = Load(n, c, f"calls-{name}-{c}", warm_up=max(c, 20))
            fields = await measure(host, name, load, 120)
            found[f"{name} {c} {n}"] = round(fields["calls"] / n, 1)
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(counted(Path(folder)))))


if __name__ == "__main__":
    main()
