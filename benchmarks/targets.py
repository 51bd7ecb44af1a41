"""The targets, as ratios of lines of one run, and the table of what was met and missed.

A target compares a field of ours with the best peer's (or the prototype's, or raw appends').
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.systems import OURS
from processor.bench.workloads import ORDER_FLOOR_MS

__all__ = ("TARGETS", "Target", "disturbed", "table")

Line = dict[str, Any]
EMBEDDED, KAFKA = OURS
OTHER_CORES_MAX = 0.3
YARDSTICKS = ("prototype", "raw appends", "raw commits")


@dataclass(frozen=True, slots=True)
class Target:
    """``ours`` over ``against`` of the load is at most (or at least) ``limit``.

    ``against``: "peers" is the best of them, else the name of a line; ``fixed`` is a figure
    instead. ``suffix`` chooses our systems ("-queued"). ``floor`` is taken off both sides first.
    ``fsync_limit`` is the limit when everything is flushed at every commit.
    """

    name: str
    load: str
    field: str
    limit: float = 1.0
    fsync_limit: float = 1.0
    at_most: bool = True
    against: str = "peers"
    against_load: str = ""
    against_field: str = ""
    suffix: str = ""
    floor: float = 0.0
    fixed: float | None = None

    def is_met(self, ratio: float, fsync: bool) -> bool:
        limit = self.fsync_limit if fsync else self.limit
        return ratio <= limit if self.at_most else ratio >= limit


TARGETS = (
    Target("chain, one at a time, p50 ms", "chain-1", "p50_ms", 1 / 2, 1 / 2),
    Target("the same through the queue", "chain-1", "p50_ms", 1.2, 1 / 2, suffix="-queued"),
    Target("chain, 100 in flight, workflows/s", "chain-100", "wf_per_s", 5, 2, at_most=False),
    Target("CPU s per 1,000 chains", "chain-100", "cpu_s_per_1k", 1 / 4, 1 / 2),
    Target(
        "order, one at a time, ms above 130",
        "order-1",
        "p50_ms",
        1 / 3,
        1 / 2,
        floor=ORDER_FLOOR_MS,
    ),
    Target("order, 100 in flight, workflows/s", "order-100", "wf_per_s", 5, 2, at_most=False),
    Target("fan-out of 1,000, p50 ms", "fanout", "p50_ms", 1 / 8, 1 / 2),
    Target("200 children, p50 ms of their parent", "children", "p50_ms", 1 / 4, 1 / 2),
    Target("queries of idle workflows/s", "query", "ops_per_s", 3, 2, at_most=False),
    Target("updates with one activity/s", "update", "ops_per_s", 3, 2, at_most=False),
    Target("an entity's operation, one at a time, p50 ms", "entity-1", "p50_ms", 1 / 2, 1 / 2),
    Target("operations of 100 entities/s", "entity-50", "ops_per_s", 5, 2, at_most=False),
    Target("2,000 events to one workflow, s", "signal", "total_s", 1 / 8, 1 / 2),
    Target("2,000 sleepers, overhang s", "timers", "overhang_s", 1 / 5, 1 / 2),
    Target("2,000 sleepers, latest wake-up, ms", "timers", "max_late_ms", fixed=50),
    Target(
        "chain against the prototype, p50",
        "chain-1",
        "p50_ms",
        1.7,
        1.7,
        against="prototype",
        against_load="prototype",
        against_field="c1_p50_ms",
    ),
    Target(
        "flood of chains against the prototype",
        "flood",
        "wf_per_s",
        1 / 4,
        1 / 4,
        at_most=False,
        against="prototype",
        against_load="prototype",
        against_field="flood_wf_per_s",
    ),
    Target(
        "turns/s over raw appends/s",
        "flood",
        "turns_per_s",
        0.05,
        0.05,
        at_most=False,
        against="raw appends",
        against_load="raw",
        against_field="per_s",
    ),
    Target("restore, turns/s", "restore", "turns_per_s", at_most=False, fixed=50_000),
    Target("a sleeping run, objects of Python", "sleepers", "heap_blocks_per_run", fixed=0.1),
    Target("a million asleep, MB", "sleepers", "rss_mb_of_a_million", fixed=1_000),
    Target("next step, long history over fresh", "history", "longest_over_fresh", fixed=1.1),
    Target("kill -9, same member, s", "takeover", "same_member_s", fixed=2),
    Target("kill -9, another process, s", "takeover", "other_process_s", fixed=8),
    Target("two processes over one", "scaling", "speed_up_of_two", at_most=False, fixed=1.8),
)


def value_of(line: Line, field: str, floor: float) -> float | None:
    found = line.get(field)
    return None if found is None or "error" in line else found - floor


def best_of(
    lines: Sequence[Line], target: Target, is_candidate: Callable[[Line], bool]
) -> tuple[str, float] | None:
    """Return the name and value of the best line; the median where a system has several."""
    load = target.against_load or target.load
    field = target.against_field or target.field
    values: dict[str, list[float]] = {}
    for line in lines:
        if line.get("load") == load and is_candidate(line):
            value = value_of(line, field, target.floor)
            if value is not None:
                values.setdefault(line["peer"], []).append(value)
    medians = {name: middle(found) for name, found in values.items()}
    if not medians:
        return None
    better = min if target.at_most else max
    return better(medians.items(), key=lambda item: item[1])


def disturbed(lines: Sequence[Line]) -> list[str]:
    """Name the lines during which something else used a good part of the machine."""
    return [
        f"{line['load']} {line['peer']}: {line['other_cpu_s'] / line['elapsed_s']:.1f} cores"
        for line in lines
        if line.get("other_cpu_s", 0.0) > OTHER_CORES_MAX * line.get("elapsed_s", 0.0) + 0.1
    ]


def middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def reference(lines: Sequence[Line], target: Target) -> tuple[str, float] | None:
    """Return what ours is held against: its name and value."""
    if target.fixed is not None:
        return "", target.fixed
    if target.against == "peers":
        ours = ("processor-", *YARDSTICKS)
        return best_of(lines, target, lambda line: not line["peer"].startswith(ours))
    return best_of(lines, target, lambda line: line["peer"] == target.against)


def cell(lines: Sequence[Line], target: Target, runtime: str, fsync: bool, verdicts: bool) -> str:
    """Return value, ratio and verdict of one of our runtimes."""
    found = [
        value
        for line in lines
        if line.get("load") == target.load and line["peer"] == runtime + target.suffix
        if (value := value_of(line, target.field, target.floor)) is not None
    ]
    if not found:
        return "-"
    ours, against = middle(found), reference(lines, target)
    if against is None or against[1] <= 0:
        return f"{ours:g}"
    ratio = ours / against[1]
    verdict = "met" if target.is_met(ratio, fsync) else "MISSED"
    return f"{ours:.5g}  {ratio:.3g}x" + (f" {verdict}" if verdicts else "")


def table(lines: Sequence[Line], *, fsync: bool, verdicts: bool) -> str:
    """Return the targets as aligned text, one a line; a smoke test's figures get no verdict."""
    rows = [("", "target", "held against", "embedded", "Kafka")]
    for target in TARGETS:
        against = reference(lines, target)
        limit = target.fsync_limit if fsync else target.limit
        rows.append(
            (
                target.name,
                f"{'≤' if target.at_most else '≥'} {limit:.3g}x",
                "-" if against is None else f"{against[1]:.5g}  {against[0]}".rstrip(),
                cell(lines, target, EMBEDDED, fsync, verdicts),
                cell(lines, target, KAFKA, fsync, verdicts),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = (
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "\n".join(padded)
