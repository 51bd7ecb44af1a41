"""``processor views show``: the rows of a table of one's own."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Invoke


def test_a_table_of_ones_own_is_shown(invoke: Invoke, tmp_path: Path) -> None:
    where = "--server", f"embedded:{tmp_path}", "--module", "examples.orders_per_hour"
    assert invoke("run", "sale", '"lamp"', "5", *where).exit_code == 0
    shown = invoke("views", "show", "orders_per_hour", "--json", *where)
    (row,) = [json.loads(line) for line in shown.stdout.splitlines()]
    assert (row["value"]["completed"], row["value"]["earned"]) == (1, 5)
    lines = invoke("views", "show", "orders_per_hour", *where).stdout
    assert row["key"] in lines and "earned" in lines
    unknown = invoke("views", "show", "none", *where)
    assert unknown.exit_code == 2
    assert "is no table 'none' here" in unknown.stderr
    without = invoke("views", "run", "--module", "examples.hello")
    assert without.exit_code == 2
    assert "no table in there" in without.stderr
