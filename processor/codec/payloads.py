"""Values of users as JSON: arguments, results, events, statuses.

JSON, because people read histories and other languages send events. What msgspec knows goes as it
is: None, numbers, text, ``bytes`` (base64), ``datetime``, ``timedelta``, ``UUID``, ``Decimal``,
enums, lists, tuples, sets, dictionaries, named tuples, typed dictionaries, dataclasses, and
``msgspec.Struct``. Pydantic models are known by their methods, so that pydantic stays optional.
"""

from __future__ import annotations

import inspect
import re
from collections import defaultdict, deque
from collections.abc import Callable
from datetime import datetime, time
from fractions import Fraction
from functools import partial
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import PurePath
from types import UnionType
from typing import Any, Final, Never, NoReturn, Union, get_args, get_origin

import msgspec

from processor.codec.choices import (
    StandIn,
    has_pydantic,
    is_object,
    is_told_apart,
    replaced,
    stand_ins,
    with_pydantic,
)
from processor.codec.defaults import (
    TYPES_MAX,
    classes_of,
    has_structs,
    model_again,
    repeatable_defaults,
    struct_again,
)
from processor.codec.losses import (
    advised,
    check_model,
    check_plain,
    culprit,
    lossy,
    names_of,
    refuse_unreadable,
    type_name,
)
from processor.codec.members import Lossy, Reader, is_model
from processor.core.data.failure import shortened
from processor.errors import SchemaMismatch
from processor.injection.payloads import encoding_of, from_codec

__all__ = ("Decode", "JsonPayloads", "short")

_NULL: Final = b"null"
_L: Final = ord("l")
_U: Final = ord("u")
_Z: Final = ord("Z")
_PLUS: Final = ord("+")
_MINUS: Final = ord("-")
_SHOWN_MAX: Final = 200
_ZONED: Final = re.compile(rb':\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"')
"""A time with an offset: one of seconds, which JSON does not have, looks like any other."""

_NOT_FINITE: Final = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
"""A number in MessagePack that is not a number, or not finite."""

_HELD: Final = "held_by_processor"
_PATH: Final = re.compile(r" - at `\$([^`]*)`")
_PATHS: Final = re.compile(r"(?: - at `\$[^`]*`){2,}$")
_UNREADABLE: Final = (
    *(AttributeError, LookupError, NameError, NotImplementedError),
    *(RecursionError, RuntimeError, TypeError, ValueError),
)
"""What building a decoder raises where a type cannot be read: pydantic's own are RuntimeErrors."""

Decode = Callable[[bytes | None], Any]


class JsonPayloads:
    """The default implementation of ``Payloads``. It has no state but a cache of decoders.

    None is no payload at all. JSON's ``null``, which others may send, means None as well.
    """

    hides_errors = False

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder(enc_hook=_to_plain).encode
        self._packed = msgspec.msgpack.Encoder(enc_hook=_to_plain).encode
        self._decoders: dict[Any, Decode] = {}
        self._readers: dict[Any, Reader] = {}
        self._stand_ins: dict[Any, StandIn] = {}

    @property
    def clear(self) -> JsonPayloads:
        return self

    def encode(self, value: object) -> bytes | None:
        """Return the value as JSON. What it cannot hold is refused: nan, infinity and the like."""
        if value is None:
            return None
        try:
            try:
                payload = self._encode(value)
            except TypeError:  # The encoder cannot order keys that are no text: make them text.
                payload = self._encode(_with_text_keys(value))
            if type(value) is str:
                return payload
            # A byte is found faster than a word, and most payloads have none of these.
            if (_L in payload and _U in payload and payload.find(_NULL) >= 0) or (
                (_Z in payload or _PLUS in payload or _MINUS in payload) and _ZONED.search(payload)
            ):
                self._check(value, payload)
            return payload
        except Exception as error:  # whatever methods of the user's classes raise
            raise self._refused(value, error) from error

    def _check(self, value: object, payload: bytes) -> None:
        """Refuse what became null or lost seconds, where the bytes look as if something did."""
        if is_model(type(value)):
            return  # It was looked at when it was written.
        if _ZONED.search(payload) or self._may_hold_nan(value):
            check_plain(  # with the keys as they are: a time may be one
                msgspec.to_builtins(value, enc_hook=_to_plain, builtin_types=(datetime, time))
            )

    def _refused(self, value: object, error: Exception) -> SchemaMismatch:
        """Return what says why a value cannot become JSON, and where in it."""
        said = str(error) if isinstance(error, _SAYS_ALL) else _named(error)
        if not isinstance(error, RecursionError):
            path = culprit(value, self._is_refused)
            if "(at $" in said:
                said = said.replace("(at $", f"(at {path}", 1)
            elif path != "$":
                said = f"{said} (at {path})"
        return SchemaMismatch(f"a value of type {type(value).__name__} cannot become JSON: {said}")

    def _is_refused(self, value: object) -> bool:
        try:
            self._encode(value)
        except RecursionError:
            return False
        except Exception:
            try:
                self._encode(_with_text_keys(value))
            except Exception:
                return True
        return False

    def _may_hold_nan(self, value: object) -> bool:
        try:
            return _NOT_FINITE.search(self._packed(value)) is not None
        except Exception:  # MessagePack has less than JSON: no integers above 64 bits, for one
            return True

    def decoder(self, annotation: Any) -> Decode:
        """Return a function from JSON to the annotated type; plain JSON values where it is Any."""
        try:
            known = self._decoders.get(annotation)
        except Exception:  # An annotation may hold what cannot be hashed; it is then built anew.
            return self._built(annotation)
        if known is None:
            if len(self._readers) >= TYPES_MAX:
                self._forget()
            known = self._decoders[annotation] = self._built(annotation)
        return known

    def _forget(self) -> None:
        """Forget how all types are read, so that those that nobody uses any more are let go."""
        self._decoders.clear()
        self._readers.clear()
        self._stand_ins.clear()

    def _built(self, annotation: Any) -> Decode:
        if any(annotation is each for each in (inspect.Signature.empty, NoReturn, Never)):
            return self.decoder(Any)
        name = type_name(annotation)
        try:
            decode = self._reader(annotation).of_json
        except _UNREADABLE as error:
            raise SchemaMismatch(f"JSON cannot be decoded to {name}: {advised(error)}") from error
        return _decoder(name, decode, has_structs(annotation))

    def _reader(self, annotation: Any) -> Reader:
        """Return what reads an annotated type, with pydantic where msgspec cannot."""
        try:
            known = self._readers.get(annotation)
        except Exception:
            return self._made(annotation)
        if known is None:
            for cls in classes_of(annotation):
                if problem := lossy(cls):
                    raise Lossy(problem)
            try:
                known = self._made(annotation)
            except Lossy:
                raise
            except _UNREADABLE:
                # What was half done meanwhile stands for types that were not finished.
                self._readers.clear()
                self._stand_ins.clear()
                instead = self._with_pydantic(annotation)
                if instead is annotation:
                    raise
                known = self._made(instead)
            self._readers[annotation] = known
        return known

    def _made(self, annotation: Any) -> Reader:
        build, known = self._reader, self._stand_ins
        with repeatable_defaults(annotation), stand_ins(annotation, build, known):
            instead = replaced(annotation, build, known)
            decode = msgspec.json.Decoder(instead, dec_hook=_from_plain).decode
            refuse_unreadable(instead, _is_made)
            # A struct keeps the types of its fields as they are while they are exchanged.
            holder = msgspec.defstruct("Holder", [(_HELD, instead)])
            msgspec.json.Decoder(holder)
        return Reader(decode, partial(_converted, holder=holder), holder)

    def _with_pydantic(self, annotation: Any) -> Any:
        """Return a type in which pydantic reads what msgspec cannot; itself where none does."""
        parts, origin = get_args(annotation), get_origin(annotation)
        if not has_pydantic(annotation) or origin in (Union, UnionType):
            return annotation  # Nothing but a tag tells the members of a union apart.
        if is_object(annotation) or is_told_apart(annotation):
            return with_pydantic(annotation, self._stand_ins)
        if origin not in (tuple, list, dict):
            return annotation
        inside = tuple(
            each if each is ... or self._is_readable(each) else self._with_pydantic(each)
            for each in parts
        )
        return annotation if inside == parts else origin[inside]

    def _is_readable(self, annotation: Any) -> bool:
        try:
            self._made(annotation)
        except _UNREADABLE:
            return False
        return True

    def difference(self, one: bytes | None, other: bytes | None) -> str:
        """Return where two payloads differ as values, "" where they do not.

        The order of keys does not matter. What is no JSON is compared as bytes.
        """
        try:
            return _difference(_plain(one), _plain(other), "$")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return "" if one == other else f"{short(one)} became {short(other)}"


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
    return f"{path} was {short(one)} and is {short(other)}"


def _ordered(values: list[Any]) -> list[bytes]:
    return sorted(msgspec.json.encode(each, order="sorted") for each in values)


def short(value: Any) -> str:
    return shortened(repr(value), _SHOWN_MAX)


def _decoder(name: str, decode: Callable[[bytes], Any], fills_in: bool) -> Decode:
    def decode_payload(data: bytes | None) -> Any:
        try:
            value = decode(_NULL if data is None else data)
            if fills_in:
                struct_again(value, _plain(data))
            return value
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if data is not None and (encoding := encoding_of(data)):
                from_codec(data, encoding, {})
            if isinstance(error, msgspec.ValidationError):
                said = _with_one_path(str(error))
            elif isinstance(error, RecursionError):
                said = "it is nested too deep; send it in parts"
            else:
                said = f"it is not valid JSON: {error}"
            raise SchemaMismatch(f"the value does not fit {name}: {said}") from error

    return decode_payload


def _converted(plain: Any, holder: Any) -> Any:
    try:
        held: Any = msgspec.convert({_HELD: plain}, holder, str_keys=True, dec_hook=_from_plain)
    except msgspec.ValidationError as error:
        raise _with_path(error) from error
    return getattr(held, _HELD)


def _with_path(error: msgspec.ValidationError) -> ValueError:
    """Return a ValueError, to which msgspec adds the path of what holds this value."""
    return ValueError(str(error).replace(f"`$.{_HELD}", "`$"))


def _with_one_path(text: str) -> str:
    """Return an error that has the paths of values within values with one path of them all."""
    paths = _PATHS.search(text)
    if paths is None:
        return text
    steps = _PATH.findall(paths[0])
    return f"{text[: paths.start()]} - at `${''.join(reversed(steps))}`"


def _with_text_keys(value: object) -> Any:
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_to_plain)


def _to_plain(value: Any) -> Any:
    """Turn what msgspec does not know into what it knows."""
    cls: Any = type(value)
    if hasattr(cls, "model_dump"):
        if problem := lossy(cls):
            raise TypeError(problem)
        # By the names of the fields, and without what is computed from them: aliases need not be
        # the same in both directions.
        dumped = value.model_dump(mode="json", by_alias=False, round_trip=True)
        check_model(value, dumped)
        return dumped
    if problem := lossy(cls):
        raise TypeError(problem)
    for base, plain in _PLAIN.items():
        if isinstance(value, base):
            return plain(value)
    raise TypeError(
        f"no encoding for {type_name(cls)}; use a dataclass, a msgspec Struct, a pydantic "
        "model, or plain values"
    )


def _from_plain(kind: Any, value: Any) -> Any:
    """Make a value of a type that msgspec does not know. Its ValueErrors get the path."""
    if type(kind) is StandIn:
        member = kind.decided(value)
        if member is None or member.holder is None:
            return kind.decode(value)
        # Here and not in a function, because each level of a deep value takes of Python's stack.
        try:
            held: Any = msgspec.convert(
                {_HELD: value}, member.holder, str_keys=True, dec_hook=_from_plain
            )
        except msgspec.ValidationError as error:
            raise _with_path(error) from error
        return getattr(held, _HELD)
    if is_model(kind):
        # As JSON and not as objects: a strict model accepts text for a date only from JSON.
        data = msgspec.json.encode(value)
        return model_again(kind.model_validate_json(data, **names_of(kind)), value)
    if isinstance(kind, type):
        if isinstance(value, kind):
            return value
        if issubclass(kind, _TEXTS) and type(value) is str:
            return kind(value)
        for base in _PLAIN:
            if issubclass(kind, base) and type(value) in (base, _JSON_OF.get(base, base)):
                made: Any = kind
                return made(value)
    raise TypeError(
        f"no decoding to {type_name(kind)}; use a dataclass, a msgspec Struct, a pydantic model, "
        "or plain types"
    )


def _list_of(queue: deque[Any]) -> list[Any]:
    if queue.maxlen is not None:
        raise ValueError("the maxlen of a deque is not written; use a list, or a deque without it")
    return list(queue)


def _is_made(cls: type) -> bool:
    """Return whether ``_from_plain`` makes values of a class."""
    if cls is defaultdict:
        return False
    # Numbers of any kind, for one: what was read is an instance already.
    is_plain = not hasattr(cls, "__class_getitem__") and issubclass(float, cls)
    return is_plain or is_model(cls) or issubclass(cls, tuple(_PLAIN))


_TEXTS: Final[tuple[Any, ...]] = (
    *(PurePath, Fraction, IPv4Address, IPv6Address),
    *(IPv4Network, IPv6Network, IPv4Interface, IPv6Interface),
)
"""Classes whose values are made of their own text again."""

_PLAIN: Final[dict[type, Callable[[Any], Any]]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    list: list,
    dict: dict,
    deque: _list_of,
    **dict.fromkeys(_TEXTS, str),
}
"""Classes that users derive theirs from, and what makes the plain value of one."""

_JSON_OF: Final[dict[type, type]] = {float: int, deque: list}
_SAYS_ALL: Final = (TypeError, ValueError, OverflowError, RecursionError)


def _named(error: Exception) -> str:
    """Return an error of a user's class with its type, whatever its text does."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__
