"""The options that all measurements share: which runtime, which broker, how durable."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.broker import WARM_UP_S, durability, warm_broker
from processor.bench.hosts import PARTITIONS, BenchHost, embedded, on_kafka

__all__ = ("broker_of", "emit", "host_of", "options", "scratch")


def options(doc: str | None, runtime: str = "kafka") -> argparse.ArgumentParser:
    """Return a parser with the shared options."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--runtime", choices=("embedded", "kafka"), default=runtime)
    add("--durability", choices=("fsync", "nofsync"), default="nofsync", help="of our own broker")
    add("--server", help="a broker that runs; else one is started")
    add("--broker-pid", type=int, help="the process of --server, for its share of the CPU")
    add("--broker-warm-up-s", type=float, default=WARM_UP_S, help="of our own broker")
    add("--partitions", type=int, default=PARTITIONS)
    return parser


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder for the time of a measurement."""
    with tempfile.TemporaryDirectory(prefix="processor-bench-") as folder:
        yield Path(folder)


@asynccontextmanager
async def broker_of(given: argparse.Namespace) -> AsyncIterator[tuple[str, list[int]]]:
    """Yield the broker's address and process: the one that was named, or one of our own."""
    if given.server is not None:
        yield given.server, [] if given.broker_pid is None else [given.broker_pid]
        return
    fsync = given.durability == "fsync"
    with scratch() as folder:
        async with warm_broker(folder, fsync=fsync, warm_up_s=given.broker_warm_up_s) as broker:
            yield broker.bootstrap_servers, [broker.pid]


@asynccontextmanager
async def host_of(
    given: argparse.Namespace, folder: Path, processes: int = 1
) -> AsyncIterator[BenchHost]:
    """Yield the runtime that was asked for, ready to be measured."""
    if given.runtime == "embedded":
        async with embedded(folder) as host:
            yield host
        return
    async with AsyncExitStack() as stack:
        server, pids = await stack.enter_async_context(broker_of(given))
        made = on_kafka(
            server, folder, partitions=given.partitions, processes=processes, broker_pids=pids
        )
        yield await stack.enter_async_context(made)


def emit(given: argparse.Namespace, workload: str, **fields: Any) -> None:
    """Print one JSON line and end, with status 1 where there is an ``error``."""
    line = {
        "peer": f"processor-{given.runtime}",
        "workload": workload,
        **fields,
        "durability": durability(given.runtime, given.durability == "fsync"),
        "ts": time.strftime("%Y-%m-%dT%H:%M:%S"),
    }
    print(json.dumps(line), flush=True)
    if "error" in line:
        sys.exit(1)
