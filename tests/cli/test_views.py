"""``processor views`` on a real broker: what the commands show, and what they refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.cli.conftest import Invoke
from tests.kafka.feeding import WITHIN_S, FeederProcess
from tests.kafka.harness import until

PARTITIONS = 2


def test_a_view_is_fed_shown_asked_and_dropped(
    invoke: Invoke, kafka_servers: str, namespace: str, tmp_path: Path
) -> None:
    where = ("--server", kafka_servers, "--namespace", namespace)
    missing = invoke("views", "run", *where, "--views-dir", str(tmp_path / "none"))
    assert missing.exit_code == 3
    assert f"topic {namespace}.events does not exist: run `processor topics apply" in missing.stderr
    invoke("topics", "apply", *where, f"--partitions={PARTITIONS}")
    feeder = FeederProcess(kafka_servers, namespace, tmp_path)
    views = (*where, "--views-dir", str(feeder.views_dir))
    nothing = invoke("views", "status", *views)
    assert nothing.exit_code == 0
    assert "has no view: run `processor views run --views-dir" in nothing.stdout
    refused = invoke("count", *views)
    assert refused.exit_code == 3
    assert "has no rows of any partition: run `processor views run" in refused.stderr
    feeder.start()
    try:
        until(lambda: "up to date with 2 partitions" in feeder.log, "up to date", WITHIN_S)
        shown = json.loads(invoke("views", "status", "--json", *views).stdout)
        assert shown["fed"] is True
        assert [each["partition"] for each in shown["partitions"]] == [0, 1]
        assert all(each["lag"] == each["runs"] == 0 for each in shown["partitions"])
        assert re.search(r"0 records behind the log; it is fed\n$", _shown(invoke, views))
        assert invoke("count", *views).stdout == "0\n"
        fed = invoke("views", "rebuild", *views)
        assert fed.exit_code == 3
        assert "is fed: stop `processor views run` there" in fed.stderr
        assert feeder.stop() == 0
    finally:
        feeder.end()
    assert re.search(r"nobody feeds it\n$", _shown(invoke, views))
    dropped = json.loads(invoke("views", "rebuild", "--json", *views).stdout)
    assert dropped["dropped"] >= PARTITIONS
    assert "has no view" in _shown(invoke, views)


def _shown(invoke: Invoke, views: tuple[str, ...]) -> str:
    shown = invoke("views", "status", *views)
    assert shown.exit_code == 0, shown.output
    return shown.stdout
