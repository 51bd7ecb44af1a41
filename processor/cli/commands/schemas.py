"""The commands ``schemas``: may the records' schemas change like this?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from processor.cli.faults import FAILED
from processor.cli.options import Json
from processor.cli.output import say, write_json
from processor.data import data_dir

__all__ = ("register",)

Directory = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        file_okay=False,
        help="Where the .avsc files are, with what was released in published/. Else our own.",
    ),
]

group = typer.Typer(help="Check the schemas of what is on the wire.", no_args_is_help=True)


@group.callback()
def schemas() -> None:
    """Check the schemas of what is on the wire."""


@group.command()
def check(directory: Directory = None, as_json: Json = False) -> None:
    """Say which records of earlier releases could no longer be read; exit 1 if there are any."""
    from processor.codec import compatibility

    where = directory or data_dir("schemas")
    problems = compatibility.check(where)
    fingerprints = () if problems or directory else readable_fingerprints()
    if as_json:
        found = [asdict(problem) for problem in problems]
        write_json({"directory": str(where), "problems": found, "fingerprints": fingerprints})
    else:
        for problem in problems:
            say(str(problem), "red")
        for fingerprint in fingerprints:
            say(f"reads {fingerprint}")
        if not problems:
            say(f"the schemas in {where} read everything that was released", "green")
    if problems:
        raise typer.Exit(FAILED)


def readable_fingerprints() -> tuple[str, ...]:
    """Return the fingerprints that this version reads."""
    from processor.codec.records import Codec

    return Codec(data_dir("schemas")).fingerprints


def register(app: typer.Typer) -> None:
    """Add the group of this module."""
    app.add_typer(group, name="schemas", rich_help_panel="Operate")
