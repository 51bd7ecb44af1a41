"""What JSON cannot hold or give back: types are refused early, values when they are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, time, timedelta
from enum import Enum
from functools import lru_cache
from inspect import signature
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import inspect as types

from processor.checks import shown
from processor.codec.choices import StandIn, is_object
from processor.codec.defaults import TYPES_MAX, classes_of
from processor.codec.members import Lossy, is_model
from processor.core.data.failure import shortened

__all__ = (
    "advised",
    "check_model",
    "check_plain",
    "culprit",
    "lossy",
    "names_of",
    "refuse_unreadable",
    "type_name",
)

_MINUTE: Final = timedelta(minutes=1)
_USE: Final = "use a dataclass, a msgspec Struct, a pydantic model, or plain types"
_DEPTH_MAX: Final = 100
_SAID_MAX: Final = 500
_OF_TYPES: Final = ("typing", "typing_extensions", "types", "abc")
"""The modules of what annotations are made of, where they are no classes."""


def type_name(annotation: Any) -> str:
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        module = annotation.__module__
        name = annotation.__qualname__
        return name if module == "builtins" else f"{module}.{name}"
    if get_origin(annotation) is None and type(annotation).__module__ not in _OF_TYPES:
        return shown(annotation)  # a value in place of a type: nothing is known of its text
    return str(annotation)


# --- types --------------------------------------------------------------------------------------


@lru_cache(TYPES_MAX)
def lossy(cls: Any) -> str:
    """Return why a class does not come back as it was, "" where it does."""
    if is_secret(cls):
        return (
            f"{cls.__name__} is written as '**********'; pass the name of the secret, and read "
            "the secret where it is needed, in an activity"
        )
    for each in getattr(cls, "__attrs_attrs__", ()):
        if each.name.startswith("_"):
            return (
                f"{type_name(cls)}: its field {each.name!r} is not written, because its name "
                "begins with an underscore; rename it, or use a dataclass"
            )
    if not is_model(cls):
        return ""
    if cls.__module__ == "pydantic.main":
        return f"{type_name(cls)} has no fields; name the model, or a union of models"
    for each in classes_of(cls):
        if each is not cls and (problem := lossy(each)):
            return f"{type_name(cls)}: {problem}"
    for name, info in cls.model_fields.items():
        chosen = info.validation_alias or info.alias
        for alias in getattr(chosen, "choices", [chosen]):
            if alias != name and isinstance(alias, str) and alias in cls.model_fields:
                return (
                    f"{type_name(cls)}: the alias of field {name!r} is {alias!r}, which is the "
                    "name of another field; rename one of them"
                )
    return ""


@lru_cache(TYPES_MAX)
def is_secret(cls: Any) -> bool:
    return any(
        each.__module__ == "pydantic.types" and each.__name__.startswith(("Secret", "_Secret"))
        for each in cls.__mro__
    )


def refuse_unreadable(annotation: Any, known: Callable[[type], bool]) -> None:
    """Raise where a type holds a class that nothing makes; ``known`` says which ones are made."""
    _refuse(types.type_info(annotation), known, set())


def _refuse(info: Any, known: Callable[[type], bool], seen: set[int]) -> None:
    if isinstance(info, types.CustomType):
        if type(info.cls) is not StandIn and not known(info.cls):
            raise TypeError(f"no decoding to {type_name(info.cls)}; {_instead_of(info.cls)}")
    elif isinstance(info, types.DictType):
        _refuse_keys(info.key_type)
    if not isinstance(info, types.Type) or id(info) in seen:
        return
    seen.add(id(info))
    for name in info.__struct_fields__:
        part = getattr(info, name)
        for each in part if isinstance(part, tuple) else (part,):
            _refuse(each.type if isinstance(each, types.Field) else each, known, seen)


def _refuse_keys(key: Any) -> None:
    parts = key.types if isinstance(key, types.UnionType) else (key,)
    if any(isinstance(each, _NO_KEYS) or _is_no_key(each) for each in parts):
        raise Lossy(
            f"keys of JSON are text, and this key cannot be one: {_key_name(key)}; use keys of "
            "text or numbers, or a list of pairs"
        )
    if len(parts) > 1 and not all(isinstance(e, types.IntType | types.FloatType) for e in parts):
        raise Lossy(
            f"keys of JSON are text, which does not say which of {_key_name(key)} a key was; use "
            "keys of one type, or a list of pairs"
        )


def _is_no_key(key: Any) -> bool:
    """Return whether the text that a key becomes is not read as that key again."""
    if isinstance(key, types.CustomType):
        return isinstance(key.cls, type) and issubclass(key.cls, int | float)
    kinds = {type(each) for each in key.values} if isinstance(key, types.LiteralType) else {str}
    return bool in kinds or len(kinds) > 1


def _key_name(key: Any) -> str:
    parts = key.types if isinstance(key, types.UnionType) else (key,)
    return " | ".join(map(_one_key_name, parts))


def _one_key_name(key: Any) -> str:
    if isinstance(key, types.CustomType):
        return type_name(key.cls)
    if isinstance(key, types.LiteralType):
        return f"Literal[{', '.join(map(repr, key.values))}]"
    return type(key).__name__.removesuffix("Type").lower()


_NO_KEYS: Final = (
    *(types.BoolType, types.NoneType, types.ListType, types.SetType, types.FrozenSetType),
    *(types.VarTupleType, types.TupleType, types.DictType, types.NamedTupleType),
    *(types.DataclassType, types.StructType, types.TypedDictType),
)

_INSTEAD: Final[dict[str, str]] = {
    "defaultdict": "use dict: its factory is not written",
    "Iterable": "use list",
    "Iterator": "use list",
    "Generator": "use list",
    "range": "use list[int], or its bounds",
    "complex": "use tuple[float, float]",
    "Callable": "use the name of a function",
    "Pattern": "use the text of the pattern",
    "timezone": "use the name of the zone",
    "ZoneInfo": "use the name of the zone",
    "type": "use the name of the class",
}


def _instead_of(cls: Any) -> str:
    for each in getattr(cls, "__mro__", (cls,)):
        if each is tuple:
            return "use tuple, or a NamedTuple"
        if each in (set, frozenset):
            return f"use {each.__name__}"
        if each is BaseException:
            return "use its text"
        if each.__name__ in _INSTEAD:
            return _INSTEAD[each.__name__]
        if each.__module__ in ("uuid", "decimal", "datetime"):
            return f"use {each.__name__}"
    return _USE


def advised(error: BaseException) -> str:
    """Return an error of a type that cannot be read, with what to use."""
    text = shortened(str(error), _SAID_MAX)  # a value in place of a type may have any size
    if "; " in text:
        return text
    if "more than one" in text:
        # What follows is the list of all that msgspec counts as alike.
        text = text.partition(" - type `")[0]
        return f"{text}; use one of them, or a dataclass for each with a tag"
    if "Enum" in text:
        return f"{text}; give its members values of text or whole numbers"
    return f"{text}; {_USE}"


# --- values -------------------------------------------------------------------------------------


def check_plain(value: Any, path: str = "$") -> None:
    """Raise where a value that JSON cannot hold stands, with its path."""
    if isinstance(value, dict):
        for key, each in value.items():
            if isinstance(key, datetime | time) and _is_odd(key):
                raise _odd_offset(key, path)
            check_plain(each, f"{path}.{key}")
    elif isinstance(value, list | tuple | set | frozenset):
        for number, each in enumerate(value):
            check_plain(each, f"{path}[{number}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise _no_number(value, path)
    elif isinstance(value, datetime | time) and _is_odd(value):
        raise _odd_offset(value, path)


def _is_odd(value: datetime | time) -> bool:
    if value.tzinfo is None or value.tzinfo is UTC:
        return False
    offset = value.utcoffset()
    return offset is not None and bool(offset % _MINUTE)


def _no_number(value: float, path: str) -> ValueError:
    return ValueError(f"JSON has no {value} (at {path}); use None, or a text")


def _odd_offset(value: datetime | time, path: str) -> ValueError:
    return ValueError(
        f"JSON has no offset of seconds, as {value} has (at {path}); use value.astimezone(UTC)"
    )


def check_model(model: Any, dumped: Any, path: str = "$") -> None:
    """Raise where what pydantic wrote of a model does not say what is in the model.

    Private attributes are no part of its value.
    """
    cls: Any = type(model)
    if _is_ambiguous(cls):
        again = cls.model_validate_json(msgspec.json.encode(dumped), **names_of(cls))
        if vars(again) != vars(model):
            raise ValueError(
                f"{type_name(cls)} has a union, and its JSON does not say which member this is "
                f"(at {path}); give each member a tag: kind: Literal[...] = ..."
            )
    if getattr(cls, "__pydantic_root_model__", False):
        _check_written(model.root, dumped, path)
        return
    held = {**vars(model), **(model.__pydantic_extra__ or {})}
    if not isinstance(dumped, dict):
        return  # a serializer of the user's: it is read by a validator
    by_the_user = any(name not in held for name in dumped)  # a serializer, with its own names
    for name, value in held.items():
        if name in dumped:
            _check_written(value, dumped[name], f"{path}.{name}")
        elif not by_the_user:
            _check_left_out(cls, name, value, f"{path}.{name}")


def _check_left_out(cls: Any, name: str, value: Any, path: str) -> None:
    info = cls.model_fields.get(name)
    if info is None or not (info.exclude or getattr(info, "exclude_if", None)):
        raise ValueError(
            f"the field {name!r} is not written: it is one of {type_name(cls)} only, where another "
            f"class is annotated (at {path}); annotate {type_name(cls)}, or a union of both"
        )
    if not _is_default(info, value):
        raise ValueError(
            f"the field {name!r} is not written (exclude), and is not its default (at {path}); "
            "leave it out of the value, or write it"
        )


@lru_cache(TYPES_MAX)
def names_of(model: Any) -> dict[str, bool]:
    """Return the arguments with which a model reads names of fields, beside their aliases."""
    known = signature(model.model_validate_json).parameters
    return {"by_alias": True, "by_name": True} if "by_name" in known else {}


@lru_cache(TYPES_MAX)
def _is_ambiguous(model: Any) -> bool:
    """Return whether a field of a model is a union whose members look alike in JSON."""
    return any(
        info.discriminator is None and _has_alike(info.annotation)
        for info in model.model_fields.values()
    )


def _has_alike(annotation: Any) -> bool:
    args = get_args(annotation)
    if get_origin(annotation) is Annotated:
        told_apart = any(hasattr(each, "discriminator") for each in annotation.__metadata__)
        return not told_apart and _has_alike(args[0])
    if get_origin(annotation) is Literal:
        return False
    if get_origin(annotation) in (Union, UnionType):
        kinds = [_kind(each) for each in args]
        if len(set(kinds)) < len(kinds):
            return True
    return any(_has_alike(each) for each in args)


def _kind(member: Any) -> Any:
    """Return what a member of a union looks like in JSON."""
    cls = get_origin(member) or member
    if cls in (int, float, bool, type(None)) or not isinstance(cls, type):
        return member
    if issubclass(cls, dict) or is_object(cls):
        return dict
    return list if issubclass(cls, list | tuple | set | frozenset) else str


_SAFE: Final = frozenset({str, int, bool, bytes, type(None)})


def _is_default(info: Any, value: Any) -> bool:
    default = info.get_default(call_default_factory=False)
    if info.default_factory is not None:
        try:
            default = info.default_factory()
        except TypeError:  # it takes the fields before it
            return True
    return bool(default == value)


def _check_written(value: Any, dumped: Any, path: str) -> None:
    """Compare a value in a model with what it was written as."""
    cls: Any = type(value)
    if cls in _SAFE:
        return
    if is_secret(cls):
        if isinstance(dumped, str) and dumped.strip("*") == "":
            raise ValueError(f"{lossy(cls)} (at {path})")
    elif isinstance(value, float):
        if dumped is None:
            raise _no_number(value, path)
        if isinstance(dumped, float) and not math.isfinite(dumped):
            raise _no_number(value, path)
    elif isinstance(value, datetime | time):
        if isinstance(dumped, str) and _is_odd(value):
            raise _odd_offset(value, path)
    elif is_model(cls):
        check_model(value, dumped, path)
    else:
        _check_parts(value, dumped, path)


def _check_parts(value: Any, dumped: Any, path: str) -> None:
    if isinstance(value, dict) and isinstance(dumped, dict):
        if len(value) > len(dumped):
            raise ValueError(f"two keys are the same text (at {path}); use a list of pairs")
        if len(value) == len(dumped):
            pairs = zip(value.items(), dumped.values(), strict=True)
            for (key, each), written in pairs:
                _check_written(each, written, f"{path}.{key}")
    elif isinstance(value, list | tuple | set | frozenset) and isinstance(dumped, list):
        for number, (each, written) in enumerate(zip(value, dumped, strict=False)):
            _check_written(each, written, f"{path}[{number}]")
    elif is_dataclass(value) and isinstance(dumped, dict):
        for field in fields(value):
            if field.name in dumped:
                each = getattr(value, field.name, None)
                _check_written(each, dumped[field.name], f"{path}.{field.name}")


def culprit(value: Any, is_refused: Callable[[Any], bool]) -> str:
    """Return the path of the innermost part of a value that is refused."""
    path = "$"
    for _ in range(_DEPTH_MAX):
        for step, each in _inside(value):
            if is_refused(each):
                path, value = f"{path}{step}", each
                break
        else:
            return path
    return path


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f".{key}", each) for key, each in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"[{number}]", each) for number, each in enumerate(value))
    elif not isinstance(value, type | Enum):
        names: Iterable[str] = ()
        if isinstance(value, msgspec.Struct):
            names = value.__struct_fields__
        elif is_dataclass(value):
            names = [each.name for each in fields(value)]
        yield from ((f".{name}", getattr(value, name, None)) for name in names)
