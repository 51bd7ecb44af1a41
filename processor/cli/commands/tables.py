"""The commands ``tables``: the rows on disk, also those of a worker that runs right now.

The stores are opened read-only, so that nothing changes and no lock is needed. What is seen is
what was in the tables when the command began.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Annotated, Any

import typer

from processor.cli.faults import REFUSED
from processor.cli.options import Json, StateDir
from processor.cli.output import (
    cut,
    say_error,
    show_found,
    show_table,
    shown_value,
    to_plain,
    write_json,
)
from processor.errors import ProcessorError

if TYPE_CHECKING:
    from processor.store.rocks import Rocks

__all__ = ("register",)

MARKER = "CURRENT"
"""The file that makes a folder a RocksDB store."""
OPEN_ATTEMPTS = 5
CELL_MAX = 160
NUMBERED = ("history", "activities")
"""Families whose keys end in a number of eight bytes, behind a separator."""
NUMBERS_FIRST = {"timers": 1, "claims": 1, "purged": 1, "replaced": 2}
"""Families whose keys begin with numbers of eight bytes: how many."""

Table = Annotated[str, typer.Argument(metavar="TABLE", help="As shown by `tables list`.")]
Store = Annotated[
    str | None, typer.Option(help="Only the store of this name, as shown by `tables list`.")
]

group = typer.Typer(help="Look into the state tables on disk.", no_args_is_help=True)


@group.command("list")
def list_tables(state_dir: StateDir = Path("processor-state"), as_json: Json = False) -> None:
    """List the tables with the number of their rows."""
    from processor.store.projections import FAMILIES

    rows: list[tuple[str, str, int]] = []
    for name, path in stores(state_dir, None):
        with opened(path) as store:
            for family in FAMILIES:
                count = sum(1 for _ in store.scan(family, b""))
                rows.append((name, family, count))
    if as_json:
        for name, family, count in rows:
            write_json({"store": name, "table": family, "rows": count})
        return
    show_table(("store", "table", "rows"), [(n, f, str(count)) for n, f, count in rows])


@group.command()
def get(
    table: Table,
    key: Annotated[str, typer.Argument(metavar="KEY", help="As shown by `tables scan`.")],
    state_dir: StateDir = Path("processor-state"),
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Show one row in full."""
    family = checked_table(table)
    for name, path in stores(state_dir, store):
        with opened(path) as held:
            value = held.get(family, key_bytes(family, key))
            if value is None:
                continue
            row = readable(family, value)
        if as_json:
            write_json({"store": name, "key": key, "row": row})
        else:
            show_row(row)
        return
    say_error(f"no row of {table} has the key {key!r}. `processor tables scan {table}` shows keys")
    raise typer.Exit(REFUSED)


@group.command()
def scan(
    table: Table,
    state_dir: StateDir = Path("processor-state"),
    store: Store = None,
    prefix: Annotated[str, typer.Option(help="Only keys that begin so.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many rows at the most.")] = 100,
    as_json: Json = False,
) -> None:
    """Show rows in the order of their keys."""
    family = checked_table(table)
    found: list[tuple[str, str, Any]] = []
    for name, path in stores(state_dir, store):
        with opened(path) as held:
            for key, value in rows_from(held, family, prefix):
                if len(found) > limit:
                    break
                found.append((name, key, readable(family, value)))
    names = ("store", "key", "row")
    show_found(
        found,
        names,
        lambda row: (row[0], row[1], shortened(row[2])),
        as_json=as_json,
        limit=limit,
        document=lambda row: dict(zip(names, row, strict=True)),
    )


def stores(state_dir: Path, wanted: str | None) -> list[tuple[str, Path]]:
    """Return the stores with state tables below a folder, each with its name in there."""
    import rocksdict

    from processor.store.projections import FAMILIES

    found = []
    for marker in sorted(state_dir.rglob(MARKER)):
        path = marker.parent
        name = path.name if path == state_dir else str(path.relative_to(state_dir))
        if wanted in (None, name) and set(FAMILIES) <= set(rocksdict.Rdict.list_cf(str(path))):
            found.append((name, path))
    if not found:
        which = f"no store {wanted!r}" if wanted else "no state tables"
        raise typer.BadParameter(
            f"there are {which} in {state_dir}: name the directory of a worker, or that of"
            " embedded:PATH, with --state-dir"
        )
    return found


@contextmanager
def opened(path: Path) -> Iterator[Rocks]:
    """Open a store to read; a worker that compacts it just now can be in the way for a moment."""
    from processor.store.projections import FAMILIES
    from processor.store.rocks import Rocks

    for attempt in range(OPEN_ATTEMPTS):
        try:
            store = Rocks(path, FAMILIES, read_only=True)
            break
        except (OSError, ProcessorError):
            if attempt == OPEN_ATTEMPTS - 1:
                raise
            sleep(0.1)
    try:
        yield store
    finally:
        store.close()


def checked_table(table: str) -> str:
    """Refuse the name of a table that does not exist."""
    from processor.store.projections import FAMILIES

    if table not in FAMILIES:
        raise typer.BadParameter(f"there is no table {table!r}: take one of {', '.join(FAMILIES)}")
    return table


def rows_from(store: Rocks, family: str, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Yield the rows whose readable keys begin with ``prefix``.

    Numbers are readable only after they are decoded, so only what comes before the first
    separator can tell where to begin.
    """
    whole = "/" not in prefix and family not in NUMBERS_FIRST
    for key, value in store.scan(family, prefix.encode() if whole else b""):
        text = key_text(family, key)
        if text.startswith(prefix):
            yield text, value
        elif whole:
            return


def key_text(family: str, key: bytes) -> str:
    """Return a key for people; ``key_bytes`` takes it back."""
    if family in NUMBERED:
        return f"{key[:-9].decode()}/{int.from_bytes(key[-8:], 'big')}"
    count = NUMBERS_FIRST.get(family, 0)
    numbers = [str(int.from_bytes(key[at : at + 8], "big")) for at in range(0, 8 * count, 8)]
    rest = key[8 * count :].decode(errors="replace")
    if count:
        rest = rest.replace("\0", "/")
    return "/".join((*numbers, rest) if rest else numbers)


def key_bytes(family: str, text: str) -> bytes:
    """Return the key in the store."""
    if family in NUMBERED and re.fullmatch(r".+/\d+", text):
        name, _, number = text.rpartition("/")
        return name.encode() + b"\0" + int(number).to_bytes(8, "big")
    count = NUMBERS_FIRST.get(family, 0)
    numbers, rest = text.split("/")[:count], "/".join(text.split("/")[count:])
    if count and len(numbers) == count and all(number.isdecimal() for number in numbers):
        separated = rest.replace("/", "\0") if family == "timers" else rest
        return b"".join(int(number).to_bytes(8, "big") for number in numbers) + separated.encode()
    return text.encode()


def readable(family: str, value: bytes) -> Any:
    """Return a row as plain values."""
    from processor.store.rows import shown_row

    if family != "history":
        return to_plain(shown_row(value))
    from processor.codec.json_views import history_view, to_json
    from processor.codec.records import decode
    from processor.core.records.snapshot import Snapshot
    from processor.core.records.turn import Turn

    turn = decode(value)
    assert isinstance(turn, Turn | Snapshot), f"history holds {turn}"
    fields = {
        "workflow_id": turn.workflow_id,
        "run_id": turn.run_id,
        "first": turn.first,
        "time_ms": turn.time_ms,
        "epoch": turn.epoch,
    }
    return {**fields, "events": to_plain(to_json(list(history_view(turn))))}


def shortened(row: Any) -> str:
    """Return a row for one line: of a turn its events, of others what is not empty."""
    if isinstance(row, dict) and "events" in row and isinstance(row["events"], list):
        text = ", ".join(event["type"] for event in row["events"])
    elif isinstance(row, dict):
        text = shown_value({name: v for name, v in row.items() if v not in (None, "", [], {})})
    else:
        text = shown_value(row)
    return cut(text, CELL_MAX)


def show_row(row: Any) -> None:
    """Print a row with a line for each field."""
    fields = row if isinstance(row, dict) else {"value": row}
    show_table(("field", "value"), [(name, shown_value(value)) for name, value in fields.items()])


def register(app: typer.Typer) -> None:
    """Add the group of this module."""
    app.add_typer(group, name="tables", rich_help_panel="Operate")
