"""Values of users as JSON: arguments, results, events, statuses.

JSON, because people read histories and other languages send events. What msgspec knows goes as it
is: None, numbers, text, ``bytes`` (base64), ``datetime``, ``timedelta``, ``UUID``, ``Decimal``,
enums, lists, tuples, sets, dictionaries, named tuples, typed dictionaries, dataclasses, and
``msgspec.Struct``. Pydantic models are known by their methods, so that pydantic stays optional.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

import msgspec

from processor.codec.defaults import (
    has_structs,
    model_again,
    repeatable_defaults,
    struct_again,
)
from processor.core.failure import shortened
from processor.errors import SchemaMismatch

__all__ = ("JsonPayloads",)

_NULL: Final = b"null"
_SHOWN_MAX: Final = 200

Decode = Callable[[bytes | None], Any]


class JsonPayloads:
    """The default implementation of ``Payloads``. It has no state but a cache of decoders.

    None is no payload at all. JSON's ``null``, which others may send, means None as well.
    """

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder(enc_hook=_to_plain).encode
        self._decoders: dict[Any, Decode] = {}

    def encode(self, value: object) -> bytes | None:
        """Return the value as JSON. Not a number and infinity become null, as JSON has neither."""
        if value is None:
            return None
        try:
            try:
                return self._encode(value)
            except TypeError:  # The encoder cannot order keys that are no text: make them text.
                return self._encode(_with_text_keys(value))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise SchemaMismatch(
                f"a value of type {type(value).__name__} cannot become JSON: {error}"
            ) from error

    def decoder(self, annotation: Any) -> Decode:
        """Return a function from JSON to the annotated type; plain JSON values where it is Any."""
        if annotation is inspect.Signature.empty:
            annotation = Any
        try:
            known = self._decoders.get(annotation)
        except TypeError:  # An annotation may hold what cannot be hashed; it is then built anew.
            return _decoder(annotation)
        if known is None:
            known = self._decoders[annotation] = _decoder(annotation)
        return known

    def difference(self, one: bytes | None, other: bytes | None) -> str:
        """Return where two payloads differ as values, "" where they do not.

        The order of keys does not matter. What is no JSON is compared as bytes.
        """
        try:
            return _difference(_plain(one), _plain(other), "$")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return "" if one == other else f"{_short(one)} became {_short(other)}"


def _plain(payload: bytes | None) -> Any:
    return None if payload is None else msgspec.json.decode(payload)


def _difference(one: Any, other: Any, path: str) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            if key not in one or key not in other:
                which = "is new" if key in other else "is gone"
                return f"{path}.{key} {which}"
            if found := _difference(one[key], other[key], f"{path}.{key}"):
                return found
        return ""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (before, after) in enumerate(zip(one, other, strict=True)):
            if found := _difference(before, after, f"{path}[{number}]"):
                if _ordered(one) == _ordered(other):
                    found += f" (the order of {path} is another one: for a set, pass sorted(...))"
                return found
        return ""
    if type(one) is type(other) and one == other:
        return ""
    return f"{path} was {_short(one)} and is {_short(other)}"


def _ordered(values: list[Any]) -> list[bytes]:
    return sorted(msgspec.json.encode(each, order="sorted") for each in values)


def _short(value: Any) -> str:
    return shortened(repr(value), _SHOWN_MAX)


def _decoder(annotation: Any) -> Decode:
    name = _type_name(annotation)
    try:
        with repeatable_defaults(annotation):
            decode = msgspec.json.Decoder(annotation, dec_hook=_from_plain).decode
    except (TypeError, ValueError, NameError) as error:
        raise SchemaMismatch(
            f"JSON cannot be decoded to {name}: {error}; annotate it with another type"
        ) from error

    fills_in = has_structs(annotation)

    def decode_payload(data: bytes | None) -> Any:
        try:
            value = decode(_NULL if data is None else data)
            if fills_in:
                struct_again(value, _plain(data))
            return value
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            kind = "" if isinstance(error, msgspec.ValidationError) else "it is not valid JSON: "
            raise SchemaMismatch(f"the value does not fit {name}: {kind}{error}") from error

    return decode_payload


def _with_text_keys(value: object) -> Any:
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_to_plain)


def _to_plain(value: Any) -> Any:
    """Turn what msgspec does not know into what it knows."""
    if hasattr(type(value), "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(
        f"no encoding for {_type_name(type(value))}; use a dataclass, a msgspec Struct, a pydantic "
        "model, or plain values"
    )


def _from_plain(kind: Any, value: Any) -> Any:
    """Make a value of a type that msgspec does not know. Its ValueErrors get the path."""
    if hasattr(kind, "model_validate_json"):
        # As JSON and not as objects: a strict model accepts text for a date only from JSON.
        return model_again(kind.model_validate_json(msgspec.json.encode(value)), value)
    if isinstance(kind, type) and isinstance(value, kind):
        return value
    raise TypeError(
        f"no decoding to {_type_name(kind)}; use a dataclass, a msgspec Struct, a pydantic model, "
        "or plain types"
    )


def _type_name(annotation: Any) -> str:
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        module = annotation.__module__
        name = annotation.__qualname__
        return name if module == "builtins" else f"{module}.{name}"
    return str(annotation)
