"""Evidence: what the tests did to real processes and what held, one JSON line a case.

``python -m tests.kafka.evidence`` prints the lines of the last runs as the table of
``docs/reliability.md``.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

__all__ = ("REPORT", "record")

REPORT = Path(__file__).parents[2] / ".cache" / "evidence.jsonl"


def record(
    case: str, done: str, times: int, held: object, takeover_s: list[float] | None = None
) -> None:
    """Note one case, once everything that it promises has been checked."""
    line = {
        "case": case,
        "done": done,
        "times": times,
        "held": str(held),
        "takeover_s": [round(each, 2) for each in takeover_s or ()],
        "lost": 0,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    with REPORT.open("a") as report:
        report.write(json.dumps(line) + "\n")
    print(f"{json.dumps(line)}\n(noted in {REPORT})")


def table() -> str:
    """Return the last line of each case as a Markdown table."""
    last = {line["case"]: line for line in map(json.loads, REPORT.read_text().splitlines())}
    rows = [
        "| what was done | how often | what held | takeover, s | lost |",
        "|---|---|---|---|---|",
    ]
    for case in sorted(last):
        line = last[case]
        takeover = ", ".join(f"{each:.1f}" for each in line["takeover_s"]) or "–"
        rows.append(
            f"| {case}: {line['done']} | {line['times']} | {line['held']} | {takeover} | "
            f"{line['lost'] or 'nothing'} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
