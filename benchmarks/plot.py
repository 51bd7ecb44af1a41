"""The lines of a run as bars: a PNG where matplotlib is installed, and text anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.targets import middle

__all__ = ("as_png", "as_text")

PANELS = (
    ("chain, one at a time: p50, ms", "chain-1", "p50_ms"),
    ("chain, 100 in flight: workflows/s", "chain-100", "wf_per_s"),
    ("CPU s per 1,000 chains", "chain-100", "cpu_s_per_1k"),
    ("order, one at a time: p50, ms (floor 130)", "order-1", "p50_ms"),
    ("order, 100 in flight: workflows/s", "order-100", "wf_per_s"),
    ("fan-out of 1,000: p50, ms", "fanout", "p50_ms"),
    ("2,000 events to one workflow: s", "signal", "total_s"),
    ("2,000 sleepers: overhang, s", "timers", "overhang_s"),
)
BAR = 40


def values(lines: Sequence[dict[str, Any]], load: str, field: str) -> dict[str, float]:
    """Return each system's figure, ours first; the median where there are several."""
    found: dict[str, list[float]] = {}
    for line in lines:
        if line.get("load") == load and field in line and "error" not in line:
            found.setdefault(line["peer"], []).append(line[field])
    ordered = sorted(found, key=lambda name: (not name.startswith("processor"), name))
    return {name: middle(found[name]) for name in ordered}


def as_text(lines: Sequence[dict[str, Any]]) -> str:
    parts = []
    for title, load, field in PANELS:
        figures = values(lines, load, field)
        if not figures:
            continue
        most = max(figures.values()) or 1
        width = max(len(name) for name in figures)
        parts.append(title)
        for name, value in figures.items():
            bar = "#" * max(1, round(BAR * value / most))
            parts.append(f"  {name.ljust(width)}  {bar} {value:g}")
        parts.append("")
    return "\n".join(parts)


def as_png(lines: Sequence[dict[str, Any]], path: Path) -> bool:
    """Write the plot; return False where matplotlib is not installed (the extra ``bench``)."""
    try:
        import matplotlib as mpl
    except ImportError:
        return False
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(4, 2, figsize=(12, 12), layout="constrained")
    for (title, load, field), axis in zip(PANELS, axes.flat, strict=True):
        figures = values(lines, load, field)
        names = list(figures)[::-1]
        colors = ["#1f77b4" if name.startswith("processor") else "#b0b0b0" for name in names]
        bars = axis.barh(names, [figures[name] for name in names], color=colors)
        axis.bar_label(bars, fmt="{:g}", padding=3)
        axis.set_title(title, fontsize=10)
        axis.margins(x=0.15)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True
