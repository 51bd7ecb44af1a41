"""Types that msgspec cannot decode by itself: stand-ins for them, which decode with its help.

- A union of several dataclasses, models or the like: JSON does not say which one was encoded. The
  one whose fields are those of the object is taken, and a ``Literal`` field works as a tag. Where
  two fit equally well, nothing is guessed.
- A dataclass of pydantic's: msgspec would make one without validating it.

Dataclasses, named tuples and typed dictionaries name such types in their annotations. So their
annotations are exchanged while a decoder is built, and are what they were afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from functools import reduce
from operator import or_
from types import UnionType
from typing import (
    Annotated,
    Any,
    Final,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import msgspec

from processor.codec.defaults import classes_of

__all__ = ("StandIn", "is_model", "replaced", "stand_ins")

Build = Callable[[Any], Callable[[bytes | None], Any]]
"""Makes a decoder of an annotation."""

_CACHE: Final = "__msgspec_cache__"
_CONTAINERS: Final = ("builtins", "collections", "collections.abc")


class StandIn(type):
    """The type of a class that stands for another type: whatever was decoded is an instance."""

    decode: Callable[[Any], Any]

    def __instancecheck__(cls, instance: Any) -> bool:
        return True


def is_model(cls: Any) -> bool:
    return isinstance(cls, type) and hasattr(cls, "model_validate_json")


@contextmanager
def stand_ins(annotation: Any, build: Build, known: dict[Any, StandIn]) -> Iterator[None]:
    """Exchange the annotations of all classes that values of an annotation are made of."""
    with ExitStack() as stack:
        for cls in classes_of(annotation):
            if _is_plain(cls):
                for owner in cls.__mro__:
                    _exchange(owner, build, known, stack)
        yield


def replaced(annotation: Any, build: Build, known: dict[Any, StandIn]) -> Any:
    """Return an annotation in which stand-ins are; itself where none is needed."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = replaced(args[0], build, known)
        return annotation if inner is args[0] else Annotated[(inner, *args[1:])]
    if origin in (Union, UnionType):
        return _union(annotation, args, build, known)
    if _is_pydantic_dataclass(annotation):
        return _stand_in(annotation, known, lambda: _validated(annotation, build))
    if not args or getattr(origin, "__module__", "") not in _CONTAINERS:
        return annotation
    inside = tuple(each if each is ... else replaced(each, build, known) for each in args)
    return annotation if inside == args else origin[inside]


def _union(annotation: Any, args: tuple[Any, ...], build: Build, known: dict[Any, StandIn]) -> Any:
    members = [each for each in args if each is not type(None)]
    objects = [each for each in members if _is_object(each)]
    structs = [each for each in objects if _is_struct(each)]
    foreign = [each for each in objects if is_model(each) or _is_pydantic_dataclass(each)]
    alone = len(members) == 1
    if alone or not (foreign or len(objects) - len(structs) + bool(structs) > 1):
        inside = tuple(replaced(each, build, known) for each in args)
        return annotation if inside == args else reduce(or_, inside)
    others = [each for each in members if not _is_object(each)]
    stand_in = _stand_in(annotation, known, lambda: _choice(objects, others, build))
    return stand_in | None if len(members) < len(args) else stand_in


def _stand_in(annotation: Any, known: dict[Any, StandIn], make: Callable[[], Any]) -> Any:
    found = known.get(annotation)
    if found is None:
        found = known[annotation] = StandIn("StandIn", (), {})
        try:
            found.decode = make()
        except BaseException:
            del known[annotation]
            raise
    return found


def _choice(objects: list[Any], others: list[Any], build: Build) -> Callable[[Any], Any]:
    """Return what makes the one member of a union that fits."""
    if others:
        # Refused where the others take objects too, as a dictionary does.
        msgspec.json.Decoder(reduce(or_, others) | _Object)
        other = build(reduce(or_, others))
    members = [(each, build(each), _names(each)) for each in objects]

    def decode(plain: Any) -> Any:
        payload = msgspec.json.encode(plain)
        if others and not isinstance(plain, dict | list):
            return other(payload)
        given = set(plain) if isinstance(plain, dict) else set()
        exact = [each for each in members if each[2] == given]
        errors: list[str] = []
        fits: list[tuple[Any, Any]] = []
        for member, decoder, _ in exact or members:
            try:
                fits.append((member, decoder(payload)))
            except Exception as error:  # whatever a class of the user's refuses it with
                errors.append(f"{_name(member)}: {error}")
        if others and isinstance(plain, list) and not fits:
            return other(payload)
        if not fits:
            raise ValueError(f"it fits none of the union: {'; '.join(errors)}")
        if len(fits) > 1:
            names = " and ".join(_name(member) for member, _ in fits)
            raise ValueError(
                f"it fits {names}, and nothing says which one was meant; give each a field that "
                'tells them apart: kind: Literal["..."] = "..."'
            )
        return fits[0][1]

    return decode


class _Object(msgspec.Struct):
    """Any object of JSON."""


def _validated(cls: Any, build: Build) -> Callable[[Any], Any]:
    """Return what makes a dataclass of pydantic's, by its own validation."""
    pydantic = sys.modules["pydantic"]
    hints = get_type_hints(cls, include_extras=True)
    made = [each for each in fields(cls) if each.init]
    later = [each for each in fields(cls) if not each.init]
    parts = TypedDict(  # type: ignore[misc]
        cls.__name__, {each.name: hints[each.name] for each in (*made, *later)}, total=False
    )
    decode_parts = build(parts)
    adapter = pydantic.TypeAdapter(cls)

    def decode(plain: Any) -> Any:
        given = decode_parts(msgspec.json.encode(plain))
        held = {each.name: given.pop(each.name) for each in later if each.name in given}
        value = adapter.validate_python(given, by_alias=True, by_name=True)
        for name, part in held.items():
            object.__setattr__(value, name, part)
        return value

    return decode


def _exchange(owner: Any, build: Build, known: dict[Any, StandIn], stack: ExitStack) -> None:
    own = vars(owner).get("__annotations__")
    if not own:
        return
    try:
        hints = get_type_hints(owner, include_extras=True)
    except (NameError, TypeError):
        return  # whoever builds the decoder says what is wrong with them
    for name, written in list(own.items()):
        hint = hints.get(name, Any)
        instead = replaced(hint, build, known)
        if instead is not hint:
            stack.callback(_forget, owner)
            stack.callback(own.__setitem__, name, written)
            own[name] = instead
            _forget(owner)


def _forget(cls: Any) -> None:
    if _CACHE in vars(cls):
        delattr(cls, _CACHE)


def _is_plain(cls: Any) -> bool:
    named = issubclass(cls, tuple) and hasattr(cls, "_fields")
    return (is_dataclass(cls) and not _is_pydantic_dataclass(cls)) or named or is_typeddict(cls)


def _is_pydantic_dataclass(cls: Any) -> bool:
    return isinstance(cls, type) and is_dataclass(cls) and hasattr(cls, "__pydantic_validator__")


def _is_struct(member: Any) -> bool:
    return isinstance(member, type) and issubclass(member, msgspec.Struct)


def _is_object(member: Any) -> bool:
    cls = get_origin(member) or member
    if not isinstance(cls, type):
        return False
    return is_model(cls) or _is_struct(cls) or is_dataclass(cls) or is_typeddict(cls)


def _names(member: Any) -> set[str]:
    """Return the fields that an object of this type has when it is encoded."""
    cls = get_origin(member) or member
    if is_model(cls):
        return set(cls.model_fields)
    if _is_struct(cls):
        tag = {cls.__struct_config__.tag_field} - {None}
        return {*cls.__struct_encode_fields__, *tag}
    if is_dataclass(cls):
        return {each.name for each in fields(cls)}
    return set(get_type_hints(cls))


def _name(member: Any) -> str:
    return getattr(member, "__qualname__", str(member))
