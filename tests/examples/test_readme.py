"""The programs of the README are complete, and run; what it tells to install is ours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from processor.kafka.topics.upkeep import apply, connect, plan
from tests.kafka.conftest import namespace

__all__ = ("namespace",)

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
TEXTS = [
    *(ROOT / "docs").rglob("*.md"),
    *(
        path
        for name in ("processor", "benchmarks", "examples")
        for path in (ROOT / name).rglob("*")
    ),
    ROOT / "README.md",
]


def test_every_program_is_a_file_of_its_own() -> None:
    assert [name for name, _ in BLOCKS] == ["orders.py", "worker.py", "client.py"]
    assert (ROOT / "README.md").read_text().count("```python") == len(BLOCKS)


def test_no_text_installs_what_has_our_name_on_pypi() -> None:
    wrong = re.compile(r"pip install[^\n]*(\n *)?[\"' ]processor\b(?!')")
    for path in TEXTS:
        if path.suffix in (".md", ".py", ".sh"):
            assert not wrong.search(path.read_text()), path


def test_the_worker_and_the_client_run_an_order(
    kafka_servers: str, namespace: str, tmp_path: Path
) -> None:
    apply(admin := connect(kafka_servers), plan(admin, namespace, 2, 1))
    for name, program in BLOCKS:
        there = f'"{kafka_servers}", namespace="{namespace}"'
        program = program.replace('"localhost:9092"', there).replace("24 * 3600", "0.1")
        (tmp_path / name).write_text(program)
    how = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
    worker = subprocess.Popen([sys.executable, "worker.py"], **how)  # type: ignore[call-overload]
    try:
        done = subprocess.run(  # type: ignore[call-overload]
            [sys.executable, "client.py"], **how, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "Order processing completed successfully!\n"
        assert worker.poll() is None, "it runs until it is stopped"
    finally:
        worker.terminate()
        worker.wait(30)
