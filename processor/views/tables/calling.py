"""How the functions of a table are called: they make a row, or it is said why there is none.

They run in the thread that feeds the table. So the watchdog of workflow code looks at them, too:
what computes without end is interrupted, and what waits is told.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from processor.codec.payloads import JsonPayloads
from processor.core.data.shown import entries_of, shown
from processor.core.runner import CodeError
from processor.errors import InvalidArgument
from processor.failures import trace_of
from processor.views.tables.definition import Table
from processor.views.tables.events import RunEvent
from processor.workflow._engine.watchdog import Advice, watching
from processor.workflow._frames import is_library

__all__ = ("TableCalls", "TableFailed")

R = TypeVar("R")

_KEY_MAX: Final = 500
_KEYS_MAX: Final = 100
_ROW_BYTES_MAX: Final = 100_000
_SHOWN_MAX: Final = 2_000
_JSON: Final = JsonPayloads()
_ADVICE: Final = Advice(
    "the function",
    "What is fed beside it waits meanwhile, so it was interrupted. Let it do less for an event: it "
    "only makes a row of a row",
    "what is fed beside it waits, too. The function of a table only computes: let it wait for no "
    "lock, file, or network",
    "Correct the function of the table, or start this process without its module",
)


class TableFailed(Exception):
    """A function of a table's has failed. ``text`` says why, and at which line; ``trace`` is where
    that happened.
    """

    def __init__(self, error: BaseException) -> None:
        said = shown(error)
        text = said.message if isinstance(error, CodeError) else f"{said.type}: {said.message}"
        self.text = text[:_SHOWN_MAX] + _at(error)
        self.trace = trace_of(error)  # as text: frames would keep the log open


class TableCalls:
    """Calls the functions of a table. What they raise is ``TableFailed``.

    ``turn`` counts the calls, for the watchdog.
    """

    advice = _ADVICE

    def __init__(self, table: Table[Any]) -> None:
        self.whose = f"table {table.name}"
        self.turn = 0
        self._table = table
        self._read = _JSON.decoder(table.row_type)

    def keys(self, event: RunEvent) -> tuple[str, ...]:
        """Return which rows an event is for, each once."""
        return self._called(self._keys, event)

    def row(self, key: str, before: bytes | None, event: RunEvent) -> bytes | None:
        """Return the row of a key after an event, encoded; None: there is none any more."""
        return self._called(self._row, key, before, event)

    def _called(self, function: Callable[..., R], *given: Any) -> R:
        self.turn += 1
        try:
            return watching(self, function, *given)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever the user's function raises, SystemExit too
            raise TableFailed(error) from None

    def _keys(self, event: RunEvent) -> tuple[str, ...]:
        found = self._table.key(event)
        if found is None:
            return ()
        if not isinstance(found, list | tuple | set | frozenset):
            return (_checked(found),)
        if len(found) > _KEYS_MAX:
            raise InvalidArgument(
                f"key: it returns {len(found):,} keys for one event, and {_KEYS_MAX} are the most"
            )
        return tuple(dict.fromkeys(map(_checked, found)))

    def _row(self, key: str, before: bytes | None, event: RunEvent) -> bytes | None:
        given = (key,) if self._table.takes_key else ()
        row = None if before is None else self._read(before)
        after = self._table.function(row, event, *given)
        value = _JSON.encode(after)
        if value is None or value == b"null":
            return None
        if len(value) > _ROW_BYTES_MAX:
            raise InvalidArgument(
                f"the row of {key!r:.100} has {len(value):,} bytes, and {_ROW_BYTES_MAX:,} are the "
                "most: keep less in it, or have more keys"
            )
        self._read(value)  # what is no such row is refused now, and not when the next event comes
        return value


def _checked(key: Any) -> str:
    """Return a key. Raises ``InvalidArgument`` for what cannot be one."""
    if not isinstance(key, str) or not 0 < len(key) <= _KEY_MAX:
        raise InvalidArgument(
            f"key: it returns text of 1 to {_KEY_MAX} characters, a list of such texts, or None, "
            f"not {key!r:.100}"
        )
    try:
        key.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"key: {key!r:.100} is no text that can be written") from None
    return key


def _at(error: BaseException) -> str:
    """Return where in the user's code an error was raised."""
    at = ""
    for frame, line in entries_of(error):
        module = str(frame.f_globals.get("__name__"))
        if not (is_library(module) or module.startswith("processor.")):
            at = f" ({Path(frame.f_code.co_filename).name}:{line})"
    return at
