"""Folders that users name: whose they are is known before anything is written to them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from processor.errors import InvalidArgument
from processor.store.rocks import make_folder

__all__ = ("take_folder",)

_MARK: Final = "PROCESSOR"
_TEXT: Final = (
    "This folder belongs to Processor: it holds the runs of an\n"
    "embedded runtime or of `processor dev`. Copy, move or delete it as a whole only.\n"
)
_OURS: Final = (_MARK, "log/CURRENT", "kafka/server.properties")
"""By which a folder is known as ours; the last two are from before there was a mark."""

_NOBODYS: Final = frozenset(("lost+found",))
"""What a file system puts into its own top folder."""


def take_folder(path: Path) -> None:
    """Make a folder of ours for this user only, or take an empty one or one that is ours.

    The rights of a folder that is there stay as they are. Raises ``InvalidArgument`` where the
    folder holds something else.
    """
    if path.exists():
        if not path.is_dir():
            raise InvalidArgument(f"{path} is a file; name a folder that is empty or not there yet")
        if any((path / each).exists() for each in _OURS):
            return _mark(path)
        found = next((each.name for each in path.iterdir() if each.name not in _NOBODYS), None)
        if found is not None:
            raise InvalidArgument(
                f"folder {path} holds {found!a:.100} and is no folder of Processor's: nothing was "
                "changed in it. Name a folder that is empty or not there yet, such as "
                f"{path / 'processor-state'}"
            )
    make_folder(path)
    return _mark(path)


def _mark(path: Path) -> None:
    mark = path / _MARK
    if not mark.exists():
        mark.touch(mode=0o600)
        mark.write_text(_TEXT, encoding="utf-8")
