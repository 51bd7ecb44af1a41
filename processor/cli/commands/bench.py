"""The command ``bench``: what the library does on a user's broker, beside what the log can do."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from processor.cli.options import Json, KafkaConfig, Server, Target, checked_namespace
from processor.cli.output import say, show_table, write_json
from processor.tuning import tune_process

if TYPE_CHECKING:
    from processor.bench.hosts import BenchHost

__all__ = ("register",)

Fresh = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        callback=lambda name: name and checked_namespace(name),
        help="The topics to make for it, and to delete afterwards; else a name of its own.",
    ),
]
Seconds = Annotated[float, typer.Option(min=0.1, help="How long each of the two loads runs.")]
InFlight = Annotated[int, typer.Option(min=1, help="Workflows in flight in the second load.")]
Partitions = Annotated[int, typer.Option(min=1, help="Shards of the namespace.")]

ENDLESS = 10_000_000
MARGIN_S = 60.0


def bench(
    server: Server = None,
    kafka_config: KafkaConfig = None,
    namespace: Fresh = None,
    seconds: Seconds = 5.0,
    in_flight: InFlight = 100,
    partitions: Partitions = 8,
    as_json: Json = False,
) -> None:
    """Measure chains of five activities on a broker: one at a time, then many in flight.

    A worker process is started here, in a namespace of its own, which is deleted afterwards. Raw
    appends with the same client and settings show what the log can do at this moment. With
    embedded:PATH it measures the runtime without a broker on the disk of PATH.
    """
    from processor.bench.hosts import new_namespace

    target = Target.given(server, namespace or new_namespace(), kafka_config)
    tune_process()
    figures = asyncio.run(measured(target, seconds, in_flight, partitions, as_json))
    if as_json:
        write_json(figures)
    else:
        show(figures)


async def measured(
    target: Target, seconds: float, in_flight: int, partitions: int, quiet: bool
) -> dict[str, Any]:
    from processor.bench.hosts import measure
    from processor.bench.loops import Load
    from processor.bench.workloads import CHAIN_STEPS

    figures: dict[str, Any] = {"server": target.server}
    if not quiet:
        say(f"measuring {target.server}: about {2 * seconds + 8:.0f} s", "dim")
    async with host(target, partitions) as (serving, raw):
        figures["log"] = raw
        for name, width in (("one_at_a_time", 1), ("in_flight", in_flight)):
            load = Load(ENDLESS, width, f"bench-{uuid.uuid4().hex[:8]}", max_s=seconds)
            figures[name] = await measure(serving, "chain", load, seconds + MARGIN_S)
    turns_per_s = figures["in_flight"]["wf_per_s"] * (CHAIN_STEPS + 1)
    figures["in_flight"]["turns_per_s"] = round(turns_per_s)
    figures["turns_per_append"] = float(f"{turns_per_s / raw['per_s']:.4g}")
    return figures


@asynccontextmanager
async def host(target: Target, partitions: int) -> AsyncIterator[tuple[BenchHost, dict[str, Any]]]:
    """Yield what serves the workload, and what its log alone does."""
    from processor.assembly import embedded_path
    from processor.bench.hosts import embedded, on_kafka
    from processor.bench.raw import commits, raw_appends

    path = embedded_path(target.server)
    with tempfile.TemporaryDirectory(prefix="processor-bench-", dir=existing(path)) as made:
        folder = Path(made)
        if path is not None:
            raw = await asyncio.to_thread(commits, folder)
            async with embedded(folder) as serving:
                yield serving, raw
            return
        server, kafka = target.server, target.kafka
        raw = await asyncio.to_thread(raw_appends, server, kafka=kafka)
        on = on_kafka(
            server, folder, namespace=target.namespace, partitions=partitions, kafka=kafka
        )
        async with on as serving:
            yield serving, raw


def existing(path: Path | None) -> Path | None:
    """Return the nearest folder of a path that is there, so that its disk is the one measured."""
    if path is None:
        return None
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.is_dir())


def show(figures: dict[str, Any]) -> None:
    one, many, log = figures["one_at_a_time"], figures["in_flight"], figures["log"]
    unit = "commits (fsync each)" if figures["server"].startswith("embedded:") else "appends"
    rows = [
        ("chain of 5, one at a time", f"{one['p50_ms']:.1f} ms", f"p99 {one['p99_ms']:.1f} ms"),
        (
            f"chain of 5, {many['c']} in flight",
            f"{many['wf_per_s']:,.0f} workflows/s",
            f"{many['turns_per_s']:,} turns/s, p50 {many['p50_ms']:.1f} ms",
        ),
        (f"raw {unit}", f"{log['per_s']:,} /s", f"one: p50 {log['p50_ms']:.2f} ms"),
        ("turns for each of these", f"{figures['turns_per_append']:.3f}", ""),
    ]
    if "cpu_s_per_1k" in many:
        cpu = f"{many['cpu_s_per_1k']:.2f} s"
        rows.append(("CPU of the worker, 1,000 chains", cpu, f"{many['worker_rss_mb']:.0f} MB"))
    show_table(("what", "figure", "also"), rows)


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel="Operate")(bench)
