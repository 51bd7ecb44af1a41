"""CPU time of a turn by stage: where each microsecond of a worker process goes.

Clocks of the thread's own CPU time stand around the ports of each shard, around decode, decide and
encode, and around the activation of workflow code. A stage's time is its own: what a stage inside
it took is taken off. ``loop`` is what is left of a shard's step; ``host`` is the rest of that
thread: asyncio, the executor, the activities themselves. The other threads are counted whole.

The clocks cost something themselves: ``clock_us`` a turn, measured, and taken off each stage by the
number of its calls. Compare ``process_us`` with the same load without clocks (``plain_us``).
Everything is for one record of the log; a flood has more of them than six a chain, since activities
that find no free slot go through the queue, and each of those is announced by one when it starts.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.where import broker_of, emit, options, scratch
from processor.bench import process
from processor.bench.hosts import BenchHost, measure, on_kafka
from processor.bench.loops import Load
from processor.shard.ports import ShardPorts
from processor.worker import Worker

WARM_UP = 300
PORT_STAGES = {
    "inbox": {"take": "consume"},
    "log": {"append": "append", "acknowledged": "acknowledge"},
    "tables": {
        "write": "store",
        **dict.fromkeys(("latest", "run", "history", "open_attempts"), "prefetch"),
    },
    "outbox": dict.fromkeys(("send", "reply", "publish", "delivered"), "effects"),
    "activities": dict.fromkeys(("place", "start", "cancel"), "effects"),
}


class Clocks:
    """Exclusive CPU time per stage of one thread."""

    def __init__(self) -> None:
        self.spent_ns: dict[str, int] = defaultdict(int)
        self.calls: dict[str, int] = defaultdict(int)
        self._stack = ["outside"]
        self._since_ns = 0

    def around(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        spent, calls, stack, clock = self.spent_ns, self.calls, self._stack, time.thread_time_ns

        def timed(*args: Any, **kwargs: Any) -> Any:
            now = clock()
            spent[stack[-1]] += now - self._since_ns
            self._since_ns = now
            stack.append(stage)
            calls[stage] += 1
            try:
                return function(*args, **kwargs)
            finally:
                now = clock()
                spent[stage] += now - self._since_ns
                self._since_ns = now
                stack.pop()

        return timed

    def cost_ns(self) -> float:
        """Return what one timed call costs."""
        empty = Clocks()
        nothing = empty.around("nothing", lambda: None)
        begun = time.thread_time_ns()
        for _ in range(20_000):
            nothing()
        return (time.thread_time_ns() - begun) / 20_000


class Timed:
    """A port with clocks around some of its methods."""

    def __init__(self, port: object, stages: dict[str, str], clocks: Clocks) -> None:
        self._port = port
        for method, stage in stages.items():
            setattr(self, method, clocks.around(stage, getattr(port, method)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


def install(clocks: Clocks) -> None:
    """Put clocks into this process: around the ports as they are opened, and the functions."""
    from processor.embedded.runtime import EmbeddedRuntime
    from processor.kafka.shards import inbox
    from processor.kafka.shards.ports import KafkaPorts
    from processor.shard import loop
    from processor.shard.turns import deciding, writer
    from processor.workflow._engine.runner import WorkflowRunner

    for factory in (KafkaPorts, EmbeddedRuntime):
        factory.open = with_clocks(factory.open, clocks)  # type: ignore[method-assign]
    places: tuple[tuple[Any, str, str], ...] = (
        (deciding, "decide", "engine"),
        (writer, "encode", "encode"),
        (inbox, "decode_input", "decode"),
        (WorkflowRunner, "activate", "user code"),
        (loop.Shard, "step", "loop"),
    )
    for holder, name, stage in places:
        setattr(holder, name, clocks.around(stage, getattr(holder, name)))


def with_clocks(opened: Callable[..., ShardPorts], clocks: Clocks) -> Callable[..., ShardPorts]:
    def open_timed(*args: Any) -> ShardPorts:
        ports = opened(*args)
        for name, stages in PORT_STAGES.items():
            setattr(ports, name, Timed(getattr(ports, name), stages, clocks))
        return ports

    return open_timed


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds of so many chains."""

    chains: int
    worker_s: float
    broker_s: float


def thread_cpu_s() -> dict[str, float]:
    """Return the CPU seconds of each thread of this process, by name."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    seconds: dict[str, float] = defaultdict(float)
    for task in Path("/proc/self/task").iterdir():
        try:
            name = names.get(int(task.name)) or (task / "comm").read_text().strip()
            nanoseconds = int((task / "schedstat").read_text().split()[0])
        except OSError:  # a thread that has ended meanwhile
            continue
        seconds[name.rstrip("0123456789_-")] += nanoseconds / 1e9
    return dict(seconds)


def child() -> None:
    """Serve as a worker with clocks, and tell their times with its status."""
    clocks = Clocks()
    install(clocks)
    cost_ns = clocks.cost_ns()

    def status(worker: Worker) -> dict[str, Any]:
        return {
            **process.status_of(worker),
            "spent_ns": dict(clocks.spent_ns),
            "calls": dict(clocks.calls),
            "cost_ns": cost_ns,
            "threads": thread_cpu_s(),
        }

    process.main(status)


def shares(before: dict[str, Any], after: dict[str, Any], turns: int) -> dict[str, Any]:
    """Return µs a turn: of each stage of the shard's thread, and of each thread."""
    calls = {name: after["calls"][name] - before["calls"].get(name, 0) for name in after["calls"]}
    stages = {}
    for name, count in calls.items():
        spent = after["spent_ns"][name] - before["spent_ns"].get(name, 0)
        stages[name] = round((spent - count * after["cost_ns"] / 2) / turns / 1000, 2)
    threads = {
        name: round((seconds - before["threads"].get(name, 0.0)) / turns * 1e6, 2)
        for name, seconds in after["threads"].items()
    }
    clock_us = sum(calls.values()) * after["cost_ns"] / turns / 1000
    host_us = threads.get("MainThread", 0.0) - sum(stages.values()) - clock_us
    return {
        "stages_us": {**stages, "host": round(host_us, 2)},
        "threads_us": {name: us for name, us in threads.items() if us >= 0.05},
        "clock_us": round(clock_us, 2),
    }


async def loaded(host: BenchHost, given: argparse.Namespace, n: int, warm_up: int = 0) -> Spent:
    """Run the load; return what it took."""
    tag = f"stages-{uuid.uuid4().hex[:8]}"
    load = Load(n, given.c, tag, max_s=given.max_s, warm_up=warm_up)
    name = "flood" if given.flood else "chain"
    fields = await measure(host, name, load, given.max_s + 90)
    return Spent(fields["n"], fields["worker_cpu_s"], fields["server_cpu_s"])


async def run(given: argparse.Namespace) -> dict[str, Any]:
    async with broker_of(given) as (server, pids):
        how = {"partitions": given.partitions, "broker_pids": pids}
        with scratch() as folder:
            async with on_kafka(server, folder, **how) as host:
                plain = await loaded(host, given, given.n, WARM_UP)
        with scratch() as folder:
            async with on_kafka(server, folder, program="benchmarks.stages", **how) as host:
                await loaded(host, given, WARM_UP)
                before = await asyncio.to_thread(host.workers[0].status)
                timed = await loaded(host, given, given.n)
                after = await asyncio.to_thread(host.workers[0].status)
    turns = after["calls"]["append"] - before["calls"]["append"]
    per_chain = turns / timed.chains
    return {
        "n": timed.chains,
        "c": given.c,
        "turns_per_chain": round(per_chain, 2),
        "plain_us": round(plain.worker_s / plain.chains / per_chain * 1e6, 1),
        "process_us": round(timed.worker_s / turns * 1e6, 1),
        "broker_us": round(plain.broker_s / plain.chains / per_chain * 1e6, 1),
        **shares(before, after, turns),
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--n", type=int, default=5_000, help="chains")
    parser.add_argument("--c", type=int, default=100, help="in flight")
    parser.add_argument("--flood", action="store_true", help="all at once, without a client")
    parser.add_argument("--max-s", type=float, default=20.0)
    given = parser.parse_args()
    if given.runtime == "embedded":
        raise SystemExit("the embedded runtime has no worker process to look into: use kafka")
    emit(given, "stages", **asyncio.run(run(given)))


if __name__ == "__main__":
    if len(sys.argv) == 5 and not sys.argv[1].startswith("-"):
        child()
    else:
        main()
