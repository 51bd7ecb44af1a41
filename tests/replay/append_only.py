"""What is recorded stays as it is: checked by the hashes in a manifest, and those by git.

The manifest holds a line for each recorded file and each module of frozen code. ``changes``
compares the files with it. ``rewritten`` compares it with itself in every commit that git has: a
line that was there once must still be there. ``PINNED`` holds the hash of the lines of each
level, for checkouts that have no earlier commits (a shallow clone, an archive).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

HERE = Path(__file__).parent
MANIFEST = HERE / "MANIFEST-1"
"""The first one. What was recorded before level 1 was never released, and was made anew once:
docs/decisions/0001-format-1.md says why. Until 0.2 is released that may happen again: then the
number in the name goes up, and with it the history that git is asked for begins anew."""


class NoHistory(Exception):
    """There is no git, or nothing that it could compare with."""


def recorded_files(folder: Path) -> list[str]:
    """Return what has to be in the manifest."""
    found = [*folder.glob("recorded/*/*.json"), *folder.glob("*_[0-9]*.py")]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def changes(folder: Path) -> Iterator[str]:
    """Yield what is wrong with the files, compared with the manifest beside them."""
    listed = {}
    for line in (folder / MANIFEST.name).read_text().splitlines():
        digest, _, path = line.partition(" ")
        if path in listed:
            yield f"{MANIFEST.name} names {path} twice"
        listed[path] = digest
    for path, digest in listed.items():
        if not (folder / path).exists():
            yield f"{path} was deleted: restore it (git checkout), it is replayed for ever"
        elif sha256((folder / path).read_bytes()).hexdigest() != digest:
            yield f"{path} was edited: restore it, and record something new beside it instead"
    for path in recorded_files(folder):
        if path not in listed:
            yield f"{path} is not in {MANIFEST.name}: python -m tests.replay.record adds it"


def rewritten(folder: Path) -> Iterator[str]:
    """Yield the lines that MANIFEST had in some commit and has no more.

    Raises ``NoHistory`` where git cannot tell.
    """
    lines = set((folder / MANIFEST.name).read_text().splitlines())
    for commit in _commits(folder):
        try:
            earlier = _git(folder, "show", f"{commit}:./{MANIFEST.name}")
        except subprocess.CalledProcessError:
            yield f"{MANIFEST.name} was deleted in commit {commit[:12]}"
            continue
        for line in earlier.splitlines():
            if line not in lines:
                path = line.partition(" ")[2]
                yield f"{MANIFEST.name} had {path!r} in commit {commit[:12]}: {line}"


def lines_of(folder: Path, level: str) -> str:
    """Return the lines of a level's histories and of its code."""
    names = (f" recorded/{level}/", f" programs_{level}.py", f" samples_{level}.py")
    lines = (folder / MANIFEST.name).read_text().splitlines(keepends=True)
    return "".join(sorted(line for line in lines if any(name in line for name in names)))


def must_have_history() -> bool:
    """Whether a checkout without git is a mistake: CI has to see the whole history."""
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


def _commits(folder: Path) -> list[str]:
    """Return the commits of this history that touched the manifest, newest first."""
    try:
        found = _git(folder, "log", "--full-history", "--format=%H", "HEAD", "--", MANIFEST.name)
    except FileNotFoundError as error:
        raise NoHistory("git is not installed") from error
    except subprocess.CalledProcessError as error:
        raise NoHistory(f"git does not know {folder}: {error.stderr.strip()}") from error
    return found.split()


def _git(folder: Path, *args: str) -> str:
    command = ("git", "-c", "safe.directory=*", "-C", str(folder), *args)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
