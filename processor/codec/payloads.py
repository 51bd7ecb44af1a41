"""Values of users as JSON: arguments, results, events, statuses.

JSON, because people read histories and other languages send events. What msgspec knows goes as it
is: None, numbers, text, ``bytes`` (base64), ``datetime``, ``timedelta``, ``UUID``, ``Decimal``,
enums, lists, tuples, sets, dictionaries, named tuples, typed dictionaries, dataclasses, and
``msgspec.Struct``. Pydantic models are known by their methods, so that pydantic stays optional.
"""

from __future__ import annotations

import inspect
import math
import re
from collections import deque
from collections.abc import Callable
from datetime import datetime, time, timedelta
from functools import cache
from typing import Any, Final, Never, NoReturn

import msgspec

from processor.codec.choices import StandIn, is_model, replaced, stand_ins
from processor.codec.defaults import (
    classes_of,
    has_structs,
    model_again,
    repeatable_defaults,
    struct_again,
)
from processor.core.failure import shortened
from processor.errors import SchemaMismatch

__all__ = ("JsonPayloads",)

_NULL: Final = b"null"
_L: Final = ord("l")
_U: Final = ord("u")
_T: Final = ord("T")
_SHOWN_MAX: Final = 200
_ODD_OFFSET: Final = re.compile(rb'T\d\d:\d\d:\d\d(?:\.\d+)?[+-]\d\d:(?!00|15|30|45)\d\d"')
"""A time whose offset may have been one of seconds: JSON's has minutes."""

_NOT_FINITE: Final = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
"""A number in MessagePack that is not a number, or not finite."""

Decode = Callable[[bytes | None], Any]


class JsonPayloads:
    """The default implementation of ``Payloads``. It has no state but a cache of decoders.

    None is no payload at all. JSON's ``null``, which others may send, means None as well.
    """

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder(enc_hook=_to_plain).encode
        self._packed = msgspec.msgpack.Encoder(enc_hook=_to_plain).encode
        self._decoders: dict[Any, Decode] = {}
        self._stand_ins: dict[Any, StandIn] = {}

    def encode(self, value: object) -> bytes | None:
        """Return the value as JSON. What it cannot hold is refused: nan, infinity and the like."""
        if value is None:
            return None
        try:
            try:
                payload = self._encode(value)
            except TypeError:  # The encoder cannot order keys that are no text: make them text.
                payload = self._encode(_with_text_keys(value))
            # A byte is found faster than a word, and most payloads have neither.
            if _T in payload or (_L in payload and _U in payload and payload.find(_NULL) >= 0):
                self._check(value, payload)
            return payload
        except Exception as error:  # whatever methods of the user's classes raise
            said = str(error) if isinstance(error, _SAYS_ALL) else _named(error)
            raise SchemaMismatch(
                f"a value of type {type(value).__name__} cannot become JSON: {said}"
            ) from error

    def _check(self, value: object, payload: bytes) -> None:
        """Refuse what became null or lost seconds, where the bytes look as if something did."""
        nothing = payload.find(_NULL) >= 0
        if _ODD_OFFSET.search(payload) or (nothing and self._may_hold_nan(value)):
            _check_plain(
                msgspec.to_builtins(
                    value, str_keys=True, enc_hook=_to_plain, builtin_types=(datetime, time)
                ),
                "$",
            )

    def _may_hold_nan(self, value: object) -> bool:
        try:
            return _NOT_FINITE.search(self._packed(value)) is not None
        except Exception:  # MessagePack has less than JSON: no integers above 64 bits, for one
            return True

    def decoder(self, annotation: Any) -> Decode:
        """Return a function from JSON to the annotated type; plain JSON values where it is Any."""
        try:
            known = self._decoders.get(annotation)
        except TypeError:  # An annotation may hold what cannot be hashed; it is then built anew.
            return self._built(annotation)
        if known is None:
            known = self._decoders[annotation] = self._built(annotation)
        return known

    def _built(self, annotation: Any) -> Decode:
        if annotation in (inspect.Signature.empty, NoReturn, Never):
            return self.decoder(Any)
        return _decoder(annotation, self.decoder, self._stand_ins)

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


def _decoder(annotation: Any, build: Callable[[Any], Decode], known: dict[Any, StandIn]) -> Decode:
    name = _type_name(annotation)
    try:
        for cls in classes_of(annotation):
            if problem := _lossy(cls):
                raise TypeError(problem)
        with repeatable_defaults(annotation), stand_ins(annotation, build, known):
            instead = replaced(annotation, build, known)
            decode = msgspec.json.Decoder(instead, dec_hook=_from_plain).decode
    except (TypeError, ValueError, NameError, NotImplementedError, RecursionError) as error:
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
    cls = type(value)
    if hasattr(cls, "model_dump"):
        if problem := _lossy(cls):  # type: ignore[arg-type]
            raise TypeError(problem)
        # By the names of the fields, and without what is computed from them: aliases need not be
        # the same in both directions.
        return value.model_dump(mode="json", by_alias=False, round_trip=True)
    for base, plain in _PLAIN.items():
        if isinstance(value, base):
            return plain(value)
    raise TypeError(
        f"no encoding for {_type_name(cls)}; use a dataclass, a msgspec Struct, a pydantic "
        "model, or plain values"
    )


def _from_plain(kind: Any, value: Any) -> Any:
    """Make a value of a type that msgspec does not know. Its ValueErrors get the path."""
    if type(kind) is StandIn:
        return kind.decode(value)
    if is_model(kind):
        # As JSON and not as objects: a strict model accepts text for a date only from JSON.
        data = msgspec.json.encode(value)
        return model_again(kind.model_validate_json(data, **_names_of(kind)), value)
    if isinstance(kind, type):
        if isinstance(value, kind):
            return value
        for base in _PLAIN:
            if issubclass(kind, base) and type(value) in (base, _JSON_OF.get(base, base)):
                made: Any = kind
                return made(value)
    raise TypeError(
        f"no decoding to {_type_name(kind)}; use a dataclass, a msgspec Struct, a pydantic model, "
        "or plain types"
    )


_PLAIN: Final[dict[type, Callable[[Any], Any]]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    list: list,
    dict: dict,
    deque: list,
}
"""Classes that users derive theirs from, and what makes the plain value of one."""

_JSON_OF: Final[dict[type, type]] = {float: int, deque: list}
_SAYS_ALL: Final = (TypeError, ValueError, OverflowError, RecursionError)


@cache
def _names_of(model: Any) -> dict[str, bool]:
    """Return the arguments with which a model reads names of fields, beside their aliases."""
    known = inspect.signature(model.model_validate_json).parameters
    return {"by_alias": True, "by_name": True} if "by_name" in known else {}


@cache
def _lossy(cls: Any) -> str:
    """Return why a class does not come back as it was, "" where it does."""
    if getattr(cls, "__module__", "") == "pydantic.types" and cls.__name__.startswith("Secret"):
        return (
            f"{cls.__name__} is written as '**********'; pass the name of the secret, and read "
            "the secret where it is needed, in an activity"
        )
    if not is_model(cls):
        return ""
    for each in classes_of(cls):
        if each is not cls and (problem := _lossy(each)):
            return f"{_type_name(cls)}: {problem}"
    for name, info in cls.model_fields.items():
        chosen = info.validation_alias or info.alias
        for alias in getattr(chosen, "choices", [chosen]):
            if alias != name and isinstance(alias, str) and alias in cls.model_fields:
                return (
                    f"{_type_name(cls)}: the alias of field {name!r} is {alias!r}, which is the "
                    "name of another field; rename one of them"
                )
    return ""


def _check_plain(value: Any, path: str) -> None:
    """Raise where a value that JSON cannot hold stands, with its path."""
    if isinstance(value, dict):
        for key, each in value.items():
            _check_plain(each, f"{path}.{key}")
    elif isinstance(value, list | tuple | set | frozenset):
        for number, each in enumerate(value):
            _check_plain(each, f"{path}[{number}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"JSON has no {value} (at {path}); use None, or a text")
    elif isinstance(value, datetime | time):
        offset = value.utcoffset()
        if offset is not None and offset % timedelta(minutes=1):
            raise ValueError(
                f"JSON has no offset of seconds, as {value} has (at {path}); use "
                "value.astimezone(UTC)"
            )


def _named(error: Exception) -> str:
    """Return an error of a user's class with its type, whatever its text does."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def _type_name(annotation: Any) -> str:
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        module = annotation.__module__
        name = annotation.__qualname__
        return name if module == "builtins" else f"{module}.{name}"
    return str(annotation)
