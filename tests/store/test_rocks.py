"""A store on a bad disk: what it says, so that the shard can react."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from processor.errors import StateDirectoryInUse, StoreCorrupt
from processor.store.projections import FAMILIES
from processor.store.rocks import Rocks

ROWS = 400
DAY_MS = 86_400_000


def filled(path: Path) -> dict[bytes, bytes]:
    """Make a store whose rows are in tables, not in the write-ahead log alone."""
    dice = random.Random(3)
    rows = {b"%06d" % number: dice.randbytes(200) for number in range(ROWS)}
    store = Rocks(path, FAMILIES)
    store.write([("history", key, value) for key, value in rows.items()])
    store.close()
    Rocks(path, FAMILIES).close()
    return rows


def flip(path: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def got(store: Rocks) -> dict[bytes, bytes | None]:
    return {b"%06d" % number: store.get("history", b"%06d" % number) for number in range(ROWS)}


def scanned(store: Rocks) -> dict[bytes, bytes]:
    return dict(store.scan("history", b""))


@pytest.mark.parametrize("read", [got, scanned])
def test_a_flipped_bit_is_never_an_answer(
    tmp_path: Path, read: Callable[[Rocks], dict[bytes, bytes]]
) -> None:
    rows = filled(tmp_path / "whole")
    dice = random.Random(9)
    found = 0
    for round in range(40):
        path = tmp_path / str(round)
        shutil.copytree(tmp_path / "whole", path)
        flip(dice.choice([*path.glob("*.sst"), *path.glob("MANIFEST*"), path / "CURRENT"]), dice)
        try:
            store = Rocks(path, FAMILIES)
        except StoreCorrupt:
            found += 1
            continue
        try:
            assert read(store) == rows
        except StoreCorrupt:
            found += 1
        finally:
            store.close()
        shutil.rmtree(path)
    assert found > 20


def test_the_last_key_of_a_block_that_cannot_be_read_is_not_none(tmp_path: Path) -> None:
    filled(tmp_path)
    store = Rocks(tmp_path, FAMILIES)
    for path in tmp_path.glob("*.sst"):
        content = bytearray(path.read_bytes())
        for place in range(0, len(content), 97):
            content[place] ^= 1
        path.write_bytes(content)
    with pytest.raises(StoreCorrupt):
        store.last("history")
    store.close()


@pytest.mark.parametrize("pattern", ["CURRENT", "MANIFEST*", "*.sst"])
def test_a_directory_without_one_of_its_files_is_corrupt(tmp_path: Path, pattern: str) -> None:
    filled(tmp_path)
    for path in tmp_path.glob(pattern):
        path.unlink()
    try:
        store = Rocks(tmp_path, FAMILIES)
    except StoreCorrupt:
        return
    assert pattern == "CURRENT" and scanned(store) == {}, "a new store, to be rebuilt"
    store.close()


def test_a_damaged_store_is_corrupt_whatever_its_folder_is_called(tmp_path: Path) -> None:
    """RocksDB's text has the path, and "block" has "lock" in it."""
    path = tmp_path / "household, LOCK"
    filled(path)
    store = Rocks(path, FAMILIES)
    for each in path.glob("*.sst"):
        whole = each.read_bytes()
        each.write_bytes(bytes(byte ^ 1 for byte in whole[:60]) + whole[60:])
    with pytest.raises(StoreCorrupt):
        got(store)
    store.close()


def test_what_wiping_would_not_mend_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError):
        Rocks(tmp_path / "file" / "tables", FAMILIES)


def test_a_directory_that_this_process_has_open_is_said_to_be(tmp_path: Path) -> None:
    first = Rocks(tmp_path, FAMILIES)
    with pytest.raises(StateDirectoryInUse, match="is held by this process"):
        Rocks(tmp_path, FAMILIES)
    first.close()
    Rocks(tmp_path, FAMILIES).close()


def test_a_directory_of_a_release_with_fewer_tables_gets_the_others(tmp_path: Path) -> None:
    store = Rocks(tmp_path, FAMILIES[:7])
    store.write([("runs", b"a", b"1")])
    store.close()
    again = Rocks(tmp_path, FAMILIES)
    again.write([("claims", b"b", b"2"), ("purged", b"c", b"3")])
    assert again.get("runs", b"a") == b"1"
    assert list(again.scan("claims", b"")) == [(b"b", b"2")]
    again.close()


def test_families_are_of_one_time_or_the_store_is_corrupt(tmp_path: Path) -> None:
    """A manifest that was cut forgets files of some families: only a part of the rows is gone."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for life in range(4):
        store = Rocks(whole, FAMILIES, marked=True)
        for number in range(life * 10, life * 10 + 10):
            row = b"%d" % number
            store.write([("meta", b"last", row), ("runs", row, b"x"), ("history", row, b"y")])
        assert [key for key, _ in store.scan("meta", b"")] == [b"last"]
        store.close()
    (manifest,) = whole.glob("MANIFEST*")
    found, size_whole = set[str](), manifest.stat().st_size
    for size in (*range(0, size_whole, size_whole // 80), size_whole):
        shutil.rmtree(cut, ignore_errors=True)
        shutil.copytree(whole, cut)
        with (cut / manifest.name).open("r+b") as file:
            file.truncate(size)
        try:
            store = Rocks(cut, FAMILIES, marked=True)
        except StoreCorrupt:
            found.add("corrupt")
            continue
        found.add("whole")
        last = int(store.get("meta", b"last") or b"-1")
        rows = [b"%d" % number for number in range(last + 1)]
        assert all(store.get(family, row) for row in rows for family in ("runs", "history"))
        store.close()
    assert found == {"corrupt", "whole"}
