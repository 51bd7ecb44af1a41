"""Values that payload classes make up: the same at each replay, where they come from a clock in C.

What a class makes up in Python comes to the guard, which answers from the run that decodes. A
``default_factory=datetime.now`` does not: decoders call it in C. So the decoder of a dataclass is
built with a factory that asks the run first; the class itself stays as it is. The fields of a
struct or of a pydantic model, whose factories are out of reach, are filled in again afterwards.
What their own code makes of such a field meanwhile (``__post_init__``, validators) is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import MISSING, is_dataclass
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from processor.workflow._guard.library import answering, repeatable

__all__ = (
    "TYPES_MAX",
    "classes_of",
    "has_structs",
    "model_again",
    "repeatable_defaults",
    "struct_again",
)

TYPES_MAX: Final = 1_000
"""Of so many types is remembered how they are read: code may make new ones with each run."""

_CACHE: Final = "__msgspec_cache__"
"""Where msgspec keeps what it found out of a dataclass, its factories among that."""

Factory = Callable[[], Any]


class _Field(NamedTuple):
    """``factory`` is what makes it up from the run; None where no clock is asked."""

    name: str
    key: str
    factory: Factory | None


@contextmanager
def repeatable_defaults(annotation: Any) -> Iterator[None]:
    """Let decoders that are built meanwhile make values up as replay can make them up again."""
    with ExitStack() as stack:
        for cls in _classes(annotation, set()):
            if not is_dataclass(cls):
                continue
            for field in cls.__dataclass_fields__.values():
                factory = _repeatable(field.default_factory)
                if factory is not None:
                    stack.callback(setattr, field, "default_factory", field.default_factory)
                    field.default_factory = factory
                    if _CACHE in vars(cls):
                        delattr(cls, _CACHE)
        yield


def has_structs(annotation: Any) -> bool:
    """Return whether values of an annotation hold a ``msgspec.Struct`` that asks a clock."""
    return any(
        issubclass(cls, msgspec.Struct) and any(each.factory for each in _fields(cls))
        for cls in _classes(annotation, set())
    )


def struct_again(value: Any, plain: Any) -> None:
    """Make up again what structs in a decoded value lacked in its JSON."""
    if answering() is not None:
        _again(value, plain, msgspec.Struct, msgspec.structs.force_setattr)


def model_again(model: Any, plain: Any) -> Any:
    """Make up again what a pydantic model lacked, and what models and dataclasses in it did."""
    if answering() is not None:
        _again(model, plain, object, object.__setattr__)
    return model


def _again(value: Any, plain: Any, whose: type, put: Callable[[Any, str, Any], None]) -> None:
    """Go through a value and what it was made of; ``whose`` fields are filled in."""
    if isinstance(value, list | tuple) and isinstance(plain, list) and not _is_record(value):
        for each, part in zip(value, plain, strict=False):
            _again(each, part, whose, put)
    elif isinstance(value, dict) and isinstance(plain, dict):
        for key, each in value.items():
            _again(each, plain.get(key), whose, put)
    elif whose is msgspec.Struct and hasattr(type(value), "model_fields"):
        return  # done when the model was made
    elif isinstance(plain, dict | list):
        for number, field in enumerate(_fields(type(value))):  # type: ignore[arg-type]
            if isinstance(plain, dict):
                part = plain.get(field.key, plain.get(field.name, MISSING))
            else:
                part = plain[number] if number < len(plain) else MISSING
            if part is not MISSING:
                _again(getattr(value, field.name), part, whose, put)
            elif field.factory is not None and isinstance(value, whose):
                put(value, field.name, field.factory())


def _is_record(value: Any) -> bool:
    return hasattr(value, "_fields")


@lru_cache(TYPES_MAX)
def _fields(cls: type) -> tuple[_Field, ...]:
    """Return the fields of a class of payloads; none of other classes."""
    if issubclass(cls, msgspec.Struct):
        return tuple(
            _Field(each.name, each.encode_name, _repeatable(each.default_factory))
            for each in msgspec.structs.fields(cls)
        )
    if is_dataclass(cls):
        return tuple(
            _Field(name, name, _repeatable(each.default_factory))
            for name, each in cls.__dataclass_fields__.items()
        )
    model_fields: Any = getattr(cls, "model_fields", None)
    if isinstance(model_fields, dict):
        return tuple(
            _Field(name, _alias(name, info), _repeatable(info.default_factory))
            for name, info in model_fields.items()
        )
    names = getattr(cls, "_fields", ())
    return tuple(_Field(name, name, None) for name in names if isinstance(name, str))


def _alias(name: str, info: Any) -> str:
    alias = info.validation_alias or info.alias
    return alias if isinstance(alias, str) else name


def _repeatable(factory: Any) -> Factory | None:
    if factory in (None, MISSING, msgspec.NODEFAULT) or not callable(factory):
        return None
    if isinstance(factory, type) and any(each.factory for each in _fields(factory)):
        return partial(_made, factory)
    return repeatable(factory)


def _made(cls: type) -> Any:
    """Return a value that is all made up."""
    value = cls()
    if answering() is not None:
        is_struct = issubclass(cls, msgspec.Struct)
        put = msgspec.structs.force_setattr if is_struct else object.__setattr__
        _again(value, {}, object, put)
    return value


def classes_of(annotation: Any) -> list[type]:
    """Return the classes that values of an annotation are made of."""
    return list(_classes(annotation, set()))


def _classes(annotation: Any, seen: set[Any]) -> Iterator[type]:
    """Yield the classes that values of an annotation are made of."""
    for part in get_args(annotation):
        yield from _classes(part, seen)
    cls = annotation if isinstance(annotation, type) else get_origin(annotation)
    if not isinstance(cls, type) or cls in seen or cls.__module__ == "builtins":
        return
    seen.add(cls)
    yield cls
    model_fields: Any = getattr(cls, "model_fields", None)
    if isinstance(model_fields, dict):  # pydantic has resolved their names in its own way
        hints = [each.annotation for each in model_fields.values()]
    else:
        try:
            hints = list(get_type_hints(cls).values())
        except (NameError, TypeError):
            return  # whoever builds the decoder says what is wrong with them
    for hint in hints:
        yield from _classes(hint, seen)
