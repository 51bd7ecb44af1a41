"""What can happen to a state directory: each function does it to the directories of a worker."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ("DAMAGES", "flip_bits", "shards_of")

_NOT_READ = ("LOG", "LOCK", "OPTIONS", "IDENTITY", "rocksdict")
"""RocksDB does not need what is in these."""


def shards_of(state: Path) -> list[Path]:
    """Return the directories of all shards, in order."""
    return sorted(each.parent for each in state.rglob("CURRENT"))


def flip_bits(state: Path, dice: random.Random, kinds: tuple[str, ...] = ("",)) -> int:
    """Flip one bit in each file whose name ends like one of ``kinds``; return how many."""
    flipped = 0
    for path in _files(state):
        if path.name.endswith(kinds) or path.name.startswith(kinds):
            _flip(path, dice)
            flipped += 1
    return flipped


def _files(state: Path) -> Iterator[Path]:
    for shard in shards_of(state):
        for path in sorted(shard.iterdir()):
            if path.is_file() and path.stat().st_size and not path.name.startswith(_NOT_READ):
                yield path


def _flip(path: Path, dice: random.Random) -> None:
    """Change a bit in place: a process that holds the file open sees it as well."""
    with path.open("r+b") as file:
        place = dice.randrange(path.stat().st_size)
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes((byte ^ 1 << dice.randrange(8),)))


def _delete(state: Path, dice: random.Random) -> int:
    shutil.rmtree(state)
    return 1


def _swap(state: Path, dice: random.Random) -> int:
    first, second, *_ = shards_of(state)
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    return 2


def _flip_tables(state: Path, dice: random.Random) -> int:
    return flip_bits(state, dice, (".sst",))


def _flip_write_ahead_log(state: Path, dice: random.Random) -> int:
    return flip_bits(state, dice, (".log",))


def _flip_manifest(state: Path, dice: random.Random) -> int:
    return flip_bits(state, dice, ("MANIFEST", "CURRENT"))


def _halve(state: Path, dice: random.Random) -> int:
    """A file system that lost the end of files."""
    halved = 0
    for path in _files(state):
        if dice.random() < 0.5:
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size // 2)
            halved += 1
    return halved


def _lose_files(state: Path, dice: random.Random) -> int:
    """A clean-up script that deleted what looked old, and the file that names the manifest."""
    lost = 0
    for number, shard in enumerate(shards_of(state)):
        victim = next(shard.glob(("CURRENT", "MANIFEST*", "*.sst", "*.log")[number % 4]), None)
        if victim is not None:
            victim.unlink()
            lost += 1
    return lost


DAMAGES: dict[str, Callable[[Path, random.Random], int]] = {
    "deleted": _delete,
    "swapped": _swap,
    "bits flipped in tables": _flip_tables,
    "bits flipped in the write-ahead log": _flip_write_ahead_log,
    "bits flipped in the manifest": _flip_manifest,
    "files cut to half": _halve,
    "files deleted": _lose_files,
}
