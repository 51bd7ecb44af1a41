"""The commands ``schemas``: write them from the classes, and say whether they may change so."""

from __future__ import annotations

from dataclasses import asdict
from difflib import unified_diff
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

group = typer.Typer(help="Write and check the schemas of the records.", no_args_is_help=True)


@group.callback()
def schemas() -> None:
    """Write and check the schemas of the records."""


@group.command()
def check(directory: Directory = None, as_json: Json = False) -> None:
    """Say which records of earlier releases could no longer be read; exit 1 if there are any."""
    from processor.codec.schemas import compatibility

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


@group.command()
def write(
    directory: Directory = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing: show what differs; exit 1 if it does.")
    ] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="Keep them in published/ as the next level, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the schemas, and their tables in docs/, from the classes of the records."""
    from processor.codec.schemas import compatibility, writing

    if check and publish:
        raise typer.BadParameter("--publish writes, and --check does not: leave one of them out")
    where = directory or data_dir("schemas")
    written = writing.Written(where)
    changed = written.changed()
    if not (check or written.untold):
        written.write(changed)
    problems = compatibility.problems_of_levels(where) if publish and not written.untold else []
    level = writing.publish(where) if publish and not (written.untold or problems) else None
    if as_json:
        files = [str(path) for path in changed]
        told = {"directory": str(where), "changed": files, "untold": written.untold}
        found = [asdict(problem) for problem in problems]
        write_json({**told, "problems": found, "published": level})
    else:
        _say_written(written.untold, changed, check)
        for problem in problems:
            say(str(problem), "red")
        if problems:
            say("nothing is published: mend these first", "red")
        elif level:
            say(f"level {level} is published in {where / 'published' / str(level)}", "green")
        elif level == 0:
            say("nothing is published: nothing is new since the last level")
    if written.untold or problems or (check and changed):
        raise typer.Exit(FAILED)


def _say_written(untold: list[str], changed: dict[Path, tuple[str, str]], check: bool) -> None:
    for each in untold:
        say(f"{each} has no text: write what it says in its class, as a string below it", "red")
    for path, (old, new) in changed.items():
        if check:
            for line in unified_diff(old.splitlines(), new.splitlines(), str(path), "classes"):
                say(line.rstrip("\n"))
        elif not untold:
            say(f"wrote {path}")
    if check and changed:
        say("classes and files differ: run 'processor schemas write' and commit", "red")
    elif not changed:
        say("the schemas and the pages say what the classes say", "green")


def readable_fingerprints() -> tuple[str, ...]:
    """Return the fingerprints that this version reads."""
    from processor.codec.records import Codec

    return Codec(data_dir("schemas")).fingerprints


def register(app: typer.Typer) -> None:
    """Add the group of this module."""
    app.add_typer(group, name="schemas", rich_help_panel="Operate")
