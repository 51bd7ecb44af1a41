"""The headers of records that anybody may have written."""

from __future__ import annotations

from operator import methodcaller
from typing import Any, Final, TypeAlias

from confluent_kafka import Message

from processor.errors import SchemaMismatch

__all__ = ("Headers", "headers_of")

Headers: TypeAlias = list[tuple[str, str | bytes | None]]

_ask: Final[Any] = methodcaller("headers")
"""Not a call in Python code: once that is specialized, CPython looks no more whether a C function
returns a value together with an error, and the error comes out of whatever is done next."""


def headers_of(message: Message) -> Headers:
    """Return the headers of a record. Raises ``SchemaMismatch`` where a name is not UTF-8.

    Such a record is not to be asked again: it would hold names that are no objects, and reading one
    ends the process (measured with confluent-kafka 2.16).
    """
    try:
        found: Headers = list(_ask(message) or ())
    except (SystemError, UnicodeDecodeError) as error:
        raise SchemaMismatch(f"a header has a name that is not UTF-8: {error.__cause__}") from error
    return found
