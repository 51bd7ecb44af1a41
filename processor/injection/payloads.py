"""What values of users go through before they are recorded: a converter, then codecs.

``payloads=`` of ``Worker``, ``Client`` and ``Environment`` takes them. What went through one is
recorded with its name: two bytes that no JSON begins with, the length of the name, the name, and
what the codec made. A value that went through none is JSON and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from processor.errors import PayloadCodecError

__all__ = (
    "NAME_BYTES_MAX",
    "GivenPayloads",
    "PayloadCodec",
    "PayloadConverter",
    "behind_name",
    "encoding_of",
    "from_codec",
    "labelled",
    "plain",
    "through",
)

_MARK: Final = b"\xc1\x01"
"""No JSON, no UTF-8 and no MessagePack begins with C1."""

_BEGIN: Final = len(_MARK) + 1
"""Where the name begins, behind its length."""

NAME_BYTES_MAX: Final = 100


class PayloadCodec(ABC):
    """Makes other bytes of encoded values, and the same ones again: encryption, compression.

    ``name`` is recorded with every value and finds the codec again: it stays the same for as long
    as such values are kept. ``encode`` may return what it was given; the codec is then not
    recorded. Both are called between two steps of workflow code, and from threads: they do no I/O,
    and fetch no key. What they draw at random is not the run's: no two values share a nonce.
    ``errors = True`` lets the messages and tracebacks of errors go through all codecs, too.
    """

    name: str
    errors: bool = False

    @abstractmethod
    def encode(self, data: bytes) -> bytes:
        """Return what is recorded for an encoded value."""

    @abstractmethod
    def decode(self, data: bytes) -> bytes:
        """Return what ``encode`` was given. Raise whatever says why that is not possible."""


class PayloadConverter(ABC):
    """Makes bytes of values, and values of bytes, in place of JSON.

    ``name`` is as for ``PayloadCodec``. It is given whole values: the arguments of a workflow or an
    activity are one list. None has no bytes, and is not converted. JSON of others (a command line,
    a console producer) is still read.
    """

    name: str

    @abstractmethod
    def encode(self, value: Any) -> bytes:
        """Return the bytes of a value. Raise whatever says why it has none."""

    @abstractmethod
    def decode(self, data: bytes, type: Any) -> Any:
        """Return the value, of the annotated type (``Any`` where there is none)."""


_Given: TypeAlias = PayloadCodec | PayloadConverter
GivenPayloads: TypeAlias = _Given | Sequence[_Given]
"""What ``payloads=`` takes: codecs, and in front of them a converter if there is one."""


def plain(payload: bytes, codecs: Sequence[PayloadCodec]) -> bytes:
    """Return the JSON of a value that went through codecs.

    For programs that read ``results`` or dead letters by themselves. Raises ``PayloadCodecError``
    where one of the codecs, or a converter, is not among these.
    """
    known = {codec.name: codec for codec in codecs}
    while name := encoding_of(payload):
        payload = from_codec(payload, name, known)
    return payload


def encoding_of(payload: bytes) -> str:
    """Return the name of the last codec or converter that a value went through, "" for none."""
    if not payload.startswith(_MARK) or len(payload) <= _BEGIN:
        return ""
    name = payload[_BEGIN : _BEGIN + payload[_BEGIN - 1]]
    try:
        return name.decode() if len(name) == payload[_BEGIN - 1] else ""
    except UnicodeDecodeError:
        return ""


def labelled(name: str, data: bytes) -> bytes:
    """Return what a codec made, with its name."""
    known = name.encode()
    return b"%b%c%b%b" % (_MARK, len(known), known, data)


def behind_name(payload: bytes) -> bytes:
    """Return what the codec or converter made, of a payload that has its name."""
    return payload[_BEGIN + payload[_BEGIN - 1] :]


def from_codec(payload: bytes, name: str, codecs: Mapping[str, PayloadCodec]) -> bytes:
    """Return what the codec of this name was given, or raise ``PayloadCodecError``."""
    codec = codecs.get(name)
    if codec is None:
        known = ", ".join(map(repr, codecs)) or "none"
        raise PayloadCodecError(
            f"the value was encoded by {name!r}, and the codecs here are: {known}. Give the worker,"
            " client or environment the payloads=[...] that encoded it (--payloads MODULE:OBJECT on"
            " the command line). The value itself is as it was"
        )
    try:
        return _bytes(codec, "decode", codec.decode(behind_name(payload)))
    except PayloadCodecError:
        raise
    except Exception as error:
        raise PayloadCodecError(
            f"codec {name!r} could not decode a value: {_said(error)}. Give it the key that "
            "encoded the value. The value itself is as it was"
        ) from error


def through(codec: PayloadCodec, data: bytes) -> bytes:
    """Return what is recorded of a value for a codec, or raise ``PayloadCodecError``."""
    try:
        made = _bytes(codec, "encode", codec.encode(data))
    except PayloadCodecError:
        raise
    except Exception as error:
        raise PayloadCodecError(
            f"codec {codec.name!r} could not encode a value: {_said(error)}"
        ) from error
    return data if made is data else labelled(codec.name, made)


def _bytes(codec: PayloadCodec, method: str, made: Any) -> bytes:
    if isinstance(made, bytes):
        return made
    kind = type(made).__name__
    raise PayloadCodecError(f"codec {codec.name!r}: {method} returned a {kind}; return bytes")


def _said(error: Exception) -> str:
    kind = type(error).__name__
    try:
        return f"{kind}: {text}" if (text := str(error)) else kind
    except Exception:  # an error of the user's whose text raises
        return kind
