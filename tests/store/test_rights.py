"""State directories are for their user only: histories hold what users pass."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from processor.store.projections import FAMILIES
from processor.store.rocks import Rocks


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0o000)
    yield
    os.umask(before)


def rights(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_folders_are_made_for_their_user_only(tmp_path: Path, open_umask: None) -> None:
    path = tmp_path / "state" / "shard" / "0"
    store = Rocks(path, FAMILIES)
    store.write([("runs", b"key", b"value")])
    assert {rights(each) for each in path.iterdir()} == {0o600}
    for folder in (tmp_path / "state", tmp_path / "state" / "shard", path):
        assert rights(folder) == 0o700
    store.close()
    assert {rights(each) for each in path.iterdir()} == {0o600}


def test_what_was_made_with_wider_rights_loses_them(tmp_path: Path, open_umask: None) -> None:
    path = tmp_path / "0"
    Rocks(path, FAMILIES).close()
    path.chmod(0o755)
    for each in path.iterdir():
        each.chmod(0o644)
    Rocks(path, FAMILIES).close()
    assert rights(path) == 0o700
    assert {rights(each) for each in path.iterdir()} == {0o600}


def test_who_only_reads_changes_nothing(tmp_path: Path, open_umask: None) -> None:
    path = tmp_path / "0"
    Rocks(path, FAMILIES).close()
    path.chmod(0o750)
    Rocks(path, FAMILIES, read_only=True).close()
    assert rights(path) == 0o750


def test_rights_that_cannot_be_narrowed_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "0"
    Rocks(path, FAMILIES).close()
    path.chmod(0o755)

    def refuse(self: Path, mode: int) -> None:
        raise PermissionError("not the owner")

    monkeypatch.setattr(Path, "chmod", refuse)
    Rocks(path, FAMILIES).close()
    assert "can be read by other users" in caplog.text
    assert "chmod -R go=" in caplog.text
