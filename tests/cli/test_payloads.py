"""--payloads and --interceptors: commands show values, or say that they are encoded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

CODEC = "examples.encryption:payloads"
CARD = "4111 1111"
SEES = "(encoded by fernet: see --payloads)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a run of the example has ended, with a module of interceptors beside it."""
    folder = tmp_path_factory.mktemp("payloads")
    (folder / "key").write_text(Fernet.generate_key().decode())
    (folder / "noted.py").write_text(
        "from processor import Interceptor\n"
        "class Notes(Interceptor):\n"
        "    async def run_activity(self, attempt, next):\n"
        "        print('attempt of', attempt.info.name)\n"
        "        return await next(attempt)\n"
        "notes = [Notes()]\n"
    )
    how = ("--id", "pay-1", "--payloads", CODEC, "--interceptors", "noted:notes")
    done = said(folder, "run", "pay", f'"{CARD}"', *how)
    assert done.stdout == f"attempt of charge\ncharged {CARD}\n", done.stderr
    return folder


def said(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    code = ("--server", "embedded:state", "-m", "examples.encryption")
    keys = {"PROCESSOR_KEYS": (folder / "key").read_text()}
    return subprocess.run(
        [sys.executable, "-m", "processor", *words, *code],
        cwd=folder,
        env={**os.environ, **keys},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_value_is_shown_to_whom_has_the_key(folder: Path) -> None:
    for command in ("history", "describe", "result"):
        done = said(folder, command, "pay-1", "--payloads", CODEC)
        assert f"charged {CARD}" in done.stdout
        assert "encoded" not in done.stdout


@pytest.mark.parametrize("command", ["signal", "query"])
def test_what_is_sent_to_a_run_goes_through_the_codecs(folder: Path, command: str) -> None:
    """A run that has ended takes neither; the codec is named wrong, and that comes first."""
    done = said(folder, command, "pay-1", "name", "--payloads", "nowhere:payloads")
    assert done.returncode == 2
    assert "there is no module 'nowhere'" in " ".join(done.stderr.split())


def test_without_the_key_a_value_is_shown_as_encoded(folder: Path) -> None:
    history = said(folder, "history", "pay-1").stdout
    assert f"pay {SEES}" in history
    assert history.count(SEES) == 5
    described = said(folder, "describe", "pay-1").stdout
    assert f"result:           {SEES}" in described
    assert f"custom status:    {SEES}" in described
    assert CARD not in history + described
    as_json = said(folder, "describe", "pay-1", "--json").stdout
    assert '"result":{"encoded_by":"fernet","data":"' in as_json


def test_a_result_that_cannot_be_read_says_what_to_do(folder: Path) -> None:
    done = said(folder, "result", "pay-1")
    assert done.returncode == 3
    assert "was encoded by 'fernet'" in done.stderr
    assert "--payloads MODULE:OBJECT" in done.stderr


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("nowhere", "'nowhere' names no object: write MODULE:OBJECT"),
        ("nowhere:payloads", "there is no module 'nowhere'"),
        ("noted:codecs", "module 'noted' has no object 'codecs'"),
        ("noted:notes", "payloads: give a list such as [Encryption(key)]"),
    ],
)
def test_a_wrong_place_is_named(folder: Path, given: str, error: str) -> None:
    done = said(folder, "history", "pay-1", "--payloads", given)
    assert done.returncode == 2
    assert error in done.stderr.replace("\n", " ")
