"""Where the files that travel with the library are: schemas, topics, and examples."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ("data_dir",)


def data_dir(name: Literal["schemas", "topics", "examples"]) -> Path:
    """Return the directory of the wheel that holds these files, or the one of a checkout.

    They stand at the top of the repository, where people look for them; the wheel maps them into
    the package, where they are found without the repository.
    """
    package = Path(__file__).resolve().parent
    packaged = package / "_data" / name
    if packaged.is_dir():
        return packaged
    checkout = package.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / name).is_dir():
        return checkout / name
    raise FileNotFoundError(
        f"processor: the directory {name!r} is neither at {packaged} nor at {checkout / name}; "
        "the installation is incomplete: install the package again"
    )
