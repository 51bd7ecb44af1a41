"""The text of a query as tokens, and errors that show where it is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, TypeVar

from processor.errors import InvalidArgument
from processor.views.words import WrongValue

__all__ = ("Token", "Tokens")

T = TypeVar("T")

_TEXT_MAX: Final = 10_000
_SHOWN: Final = 60
_TOKENS: Final = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?!\w))
    |(?P<name>[^\W\d][\w.-]*)
    |`(?P<quoted>[^`]*)`
    |'(?P<text>(?:[^']|'')*)'
    |"(?P<text2>(?:[^"]|"")*)"
    |(?P<sign><=|>=|!=|<>|[=<>(),+-])""",
    re.VERBOSE,
)
_WORDS: Final = frozenset(
    (
        *("AND", "OR", "NOT", "IN", "BETWEEN", "IS", "NULL", "STARTS_WITH", "CONTAINS", "GROUP"),
        *("ORDER", "BY", "ASC", "DESC", "SELECT", "WHERE", "TRUE", "FALSE", "LIMIT"),
    )
)


class _Placed(Protocol):
    @property
    def text(self) -> str: ...

    @property
    def at(self) -> int: ...


class Token(NamedTuple):
    kind: str
    text: str
    at: int

    @property
    def word(self) -> str:
        """The keyword that it is, "" for none: a name in back quotes is none."""
        upper = self.text.upper()
        return upper if self.kind == "name" and upper in _WORDS else ""


@dataclass
class Tokens:
    """A text, and where it is read. ``what`` names it in errors."""

    text: str
    now_ms: int
    what: str
    tokens: list[Token] = field(default_factory=list)
    at: int = 0

    def _read(self) -> None:
        if len(self.text) > _TEXT_MAX:
            says = f"it has {len(self.text):,} characters"
            raise self._wrong(_TEXT_MAX, says, f"{_TEXT_MAX:,} are the most")
        try:
            self.text.encode()
        except UnicodeEncodeError as error:
            says = "it is no text of Unicode from here"
            raise self._wrong(error.start, says, "leave that out") from error
        at = 0
        while at < len(self.text):
            found = _TOKENS.match(self.text, at)
            if found is None:
                quote = self.text[at] in "'\"`"
                how = (
                    "end the text with the same quote" if quote else "texts stand in quotes: 'ada'"
                )
                raise self._wrong(at, "it cannot be read from here", how)
            kind = found.lastgroup or ""
            if kind != "space":
                self.tokens.append(Token(kind, found[kind], at))
            at = found.end()
        self.tokens.append(Token("end", "", len(self.text)))

    @property
    def _now(self) -> Token:
        return self.tokens[self.at]

    @property
    def _shown(self) -> str:
        return repr(self._now.text[:_SHOWN]) if self._now.kind != "end" else "the end"

    def _next(self) -> Token:
        token = self.tokens[self.at]
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return token

    def _took(self, wanted: str) -> bool:
        token = self._now
        is_it = token.word == wanted or (token.kind == "sign" and token.text == wanted)
        if is_it:
            self._next()
        return is_it

    def _want(self, wanted: str) -> Token:
        token = self._now
        if not self._took(wanted):
            raise self._wrong(
                token.at, f"{wanted} has to stand here, not {self._shown}", f"write {wanted}"
            )
        return token

    def _told(self, read: Callable[[str], T], given: _Placed) -> T:
        """Return what a text says; errors show where it stands."""
        try:
            return read(given.text)
        except WrongValue as wrong:
            raise self._wrong(given.at, wrong.says, wrong.hint) from wrong

    def _wrong(self, at: int, says: str, hint: str) -> InvalidArgument:
        begin = max(0, at - _SHOWN // 2)
        part = self.text[begin : begin + _SHOWN]
        shown = "".join(each if each.isprintable() else " " for each in part)
        return InvalidArgument(
            f"{self.what}: {says} (column {at + 1}): {hint}\n    {shown}\n    {' ' * (at - begin)}^"
        )
