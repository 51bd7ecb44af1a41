"""What commands print: rich on a terminal, plain text elsewhere, JSON where it is asked for.

Texts of others (ids, reasons, values) pass ``readable`` here, so that no command can forget it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from processor.readable import readable

__all__ = (
    "on_terminal",
    "say",
    "say_beside",
    "say_error",
    "show_found",
    "show_table",
    "shown_time",
    "shown_value",
    "to_plain",
    "write_json",
)

T = TypeVar("T")

STATUS_STYLES = {
    "running": "cyan",
    "parked": "yellow",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
    "terminated": "red",
    "timed_out": "red",
    "continued": "green",
    "error": "red",
    "warning": "yellow",
}


def on_terminal() -> bool:
    """Tell whether a person reads what is printed."""
    return sys.stdout.isatty()


def write_json(value: Any) -> None:
    """Print one JSON document on one line."""
    import msgspec

    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def say(text: str, style: str = "", *, lines: bool = False) -> None:
    """Print a line; ``style`` is rich's and counts on a terminal only.

    With ``lines``, a text may have several: what nothing follows that they could forge.
    """
    text = readable(text, lines=lines)
    if on_terminal():
        from rich.console import Console
        from rich.text import Text

        Console().print(Text(text, style=style), soft_wrap=True)
    else:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def say_error(text: str, *, lines: bool = False) -> None:
    """Print one message for people on stderr.

    With ``lines``, it is our own and may have several: what is not its first one is indented, so
    that no text of others in it looks like a message.
    """
    text = readable(text, lines=lines).rstrip("\n").replace("\n", "\n  ")
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.text import Text

        message = Text("error: ", style="bold red").append(text, style="not bold default")
        Console(stderr=True).print(message, soft_wrap=True)
    else:
        sys.stderr.write(f"error: {text}\n")
        sys.stderr.flush()


def say_beside(text: str) -> None:
    """Print a line on stderr: what people should know, and is no part of the output."""
    sys.stderr.write(readable(text) + "\n")
    sys.stderr.flush()


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their headings; plain text is aligned, and never cut or wrapped."""
    rows = [tuple(readable(cell) for cell in row) for row in rows]
    if on_terminal():
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*columns, box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
        for row in rows:
            table.add_row(*(Text(cell, style=STATUS_STYLES.get(cell, "")) for cell in row))
        Console().print(table)
        return
    lines = [tuple(column.upper() for column in columns), *rows]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")
    sys.stdout.flush()


def show_found(
    found: Sequence[T],
    columns: Sequence[str],
    row: Callable[[T], Sequence[str]],
    *,
    as_json: bool,
    limit: int | None = None,
    document: Callable[[T], Any] | None = None,
) -> None:
    """Print what was found, a row or a JSON document each; of more than ``limit``, say that.

    ``document`` makes what is printed as JSON; without it, what was found is.
    """
    shown = found[:limit]
    more = f"there are more than these {limit:,}: --limit shows more" if found[len(shown) :] else ""
    if as_json:
        for each in shown:
            write_json(each if document is None else document(each))
        if more:
            say_beside(more)
    elif not shown:
        say("none")
    else:
        show_table(columns, map(row, shown))
        if more:
            say(more, "yellow")


def shown_time(time: datetime) -> str:
    """Return a time as this machine's clock shows it, to the millisecond."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def cut(text: str, limit: int) -> str:
    """Return at most so many characters of a text, and a sign that there were more."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def shown_value(value: Any) -> str:
    """Return a value for people: text as it is, everything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and value.keys() == {"encoded_by", "data"}:
        return f"(encoded by {value['encoded_by']}: see --payloads)"
    import msgspec

    return msgspec.json.encode(value).decode()


def to_plain(value: Any) -> Any:
    """Return a stored value with its bytes made readable: JSON as it is, else text, else hex."""
    if isinstance(value, dict):
        return {key: to_plain(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(held) for held in value]
    if not isinstance(value, bytes):
        return value
    import msgspec

    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        pass
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()
