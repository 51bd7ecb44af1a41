"""Chains on the command line: cron strings, runs that go on, runs that begin now."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.cli.conftest import Invoke


def test_a_start_with_a_cron_string_and_one_that_begins_now(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(
        "from processor import workflow\n"
        "@workflow.define\n"
        "async def counts(left: int) -> int:\n"
        "    if left:\n"
        "        workflow.continue_as_new(left - 1)\n"
        "    return workflow.info().last_result(int) or 0\n"
    )
    where = ("--server", f"embedded:{tmp_path / 'state'}", "--module", "counting")
    wrong = invoke("start", "counts", "0", "--cron", "61 * * * *", *where)
    assert wrong.exit_code == 2 and "Bad minute" in wrong.stderr
    invoke("start", "counts", "2", "--id", "c", "--cron", "0 0 29 2 *", *where)
    shown = invoke("describe", "c", *where).stdout
    assert "cron:             0 0 29 2 *\n" in shown
    assert re.search(r"^begins: +20\d\d-02-29 00:00:00", shown, re.M)
    told = json.loads(invoke("describe", "c", "--json", *where).stdout)
    assert told["cron"] == "0 0 29 2 *" and "-02-29T00:00:00" in told["begins"]
    assert invoke("start-now", "c", *where).stdout == "c begins now\n"
    first = invoke("result", "c", "--run-id", told["run_id"], "--json", *where)
    assert first.exit_code == 1
    ended = json.loads(first.stdout)
    assert ended["status"] == "continued" and ended["error"]["next_run_id"]
    again = json.loads(invoke("describe", "c", "--json", *where).stdout)
    assert again["run_id"] != told["run_id"] and again["begins"] == told["begins"]
    invoke("start", "counts", "0", "--id", "now", *where)
    refused = invoke("start-now", "now", *where)
    assert refused.exit_code == 3 and "does not wait for its time" in refused.stderr
