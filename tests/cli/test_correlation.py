"""``processor correlation``: whoever holds a business key is signalled, shown, and freed."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Invoke

MODULE = """
from processor import workflow

@workflow.define
async def order(shipment: str, count: int) -> list:
    await workflow.correlate("shipment", shipment)
    return [await workflow.wait_for_event("shipped") for _ in range(count)]
"""


def test_a_key_is_signalled_shown_and_released(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "ordering.py").write_text(MODULE)
    where = ("--server", f"embedded:{tmp_path / 'state'}", "--module", "ordering")
    key = "shipment", "S-7"
    assert invoke("correlation", "show", *key, *where).stdout == "shipment S-7 is held by nobody\n"
    assert invoke("correlation", "release", *key, *where).stdout == "nobody held shipment S-7\n"
    asked = invoke("correlation", "signal", *key, "shipped", '{"by": "train"}', *where)
    assert asked.stdout == "sent shipped to whoever holds shipment S-7\n"
    shown = invoke("correlation", "show", *key, *where).stdout
    assert "shipped waits until " in shown and "train" in shown
    for _ in range(2):
        once = ("--key", "evt-1", "--keep", "3600", "--json")
        told = invoke("correlation", "signal", *key, "shipped", "1", *once, *where).stdout
        assert json.loads(told) == {"name": "shipment", "key": "S-7", "signal": "shipped"}
    told = json.loads(invoke("correlation", "show", *key, "--json", *where).stdout)
    assert [each["value"] for each in told["kept"]] == [{"by": "train"}, 1]
    assert (told["name"], told["key"], told["holder"]) == ("shipment", "S-7", None)
    assert invoke("start", "order", '"S-7"', "2", "--id", "order-7", *where).exit_code == 0
    result = invoke("result", "order-7", "--json", *where).stdout
    assert json.loads(result)["result"] == [{"by": "train"}, 1]
    assert invoke("start", "order", '"S-7"', "1", "--id", "order-8", *where).exit_code == 0
    invoke("correlation", "signal", *key, "other", *where)
    told = json.loads(invoke("correlation", "show", *key, "--json", *where).stdout)
    assert told["holder"] == "order-8" and told["run_id"]
    assert "business key:     shipment S-7\n" in invoke("describe", "order-8", *where).stdout
    described = json.loads(invoke("describe", "order-8", "--json", *where).stdout)
    assert described["correlations"] == [{"name": "shipment", "key": "S-7"}]
    released = invoke("correlation", "release", *key, *where).stdout
    assert released == "shipment S-7 was held by order-8: free\n"
    released = invoke("correlation", "release", *key, "--json", *where).stdout
    assert json.loads(released) == {"name": "shipment", "key": "S-7", "holder": None}


def test_what_is_wrong_is_said(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "ordering.py").write_text(MODULE)
    where = ("--server", f"embedded:{tmp_path / 'state'}", "--module", "ordering")
    wrong = invoke("correlation", "show", "a=b", "c", *where)
    assert wrong.exit_code == 2 and "has an =" in wrong.output
    late = invoke("correlation", "signal", "a", "b", "n", "--keep", "-1", *where)
    assert late.exit_code == 2
