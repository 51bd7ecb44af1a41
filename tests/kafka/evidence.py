"""Evidence: what the tests did to real processes and what held, one JSON line a case.

``python -m tests.kafka.evidence`` prints the lines of the last runs as the table of
``docs/reliability.md``.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

__all__ = ("REPORT", "SUCCESS_MIN", "Evidence", "record")

SUCCESS_MIN = 0.9
"""A run in which more was refused than this allows has shown nothing."""

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


class Evidence:
    """The evidence of one test, measured from when it is made."""

    def __init__(self, case: str) -> None:
        self._case = case
        self._begun = time.monotonic()

    def note(self, did: str, times: int, held: str, *, succeeded: int, asked: int) -> None:
        """Note the case; fail if too few of its operations succeeded."""
        assert asked > 0 and succeeded >= SUCCESS_MIN * asked, f"{succeeded} of {asked} succeeded"
        seconds = time.monotonic() - self._begun
        held = f"{held} ({succeeded} of {asked} operations succeeded, {seconds:.0f} s)"
        record(self._case, did, times, held)


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
