"""Types that msgspec cannot decode by itself: stand-ins for them, which decode with its help.

- A union of several dataclasses, models or the like: JSON does not say which one was encoded. A
  ``Literal`` field works as a tag; else the one whose fields are those of the object is taken.
  Where two fit equally well, nothing is guessed (``members``).
- A dataclass of pydantic's: msgspec would make one without validating it.
- Collections of the standard library that msgspec does not know, with the types of their items.
- What pydantic alone can read.

Dataclasses, named tuples and typed dictionaries name such types in their annotations. So their
annotations are exchanged while a decoder is built, and are what they were afterwards.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import InitVar, fields, is_dataclass
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

from processor.codec.defaults import classes_of, model_again
from processor.codec.members import Choice, Lossy, Member, Reader, is_model, member_of

__all__ = (
    "StandIn",
    "has_pydantic",
    "is_object",
    "is_told_apart",
    "replaced",
    "stand_ins",
    "with_pydantic",
)

Build = Callable[[Any], Reader]
"""Makes of an annotation what makes its values. ValueErrors of that have the path."""

_CACHE: Final = "__msgspec_cache__"
_CONTAINERS: Final = ("builtins", "collections", "collections.abc")
_COLLECTIONS: Final[dict[Any, Any]] = {deque: list, OrderedDict: dict, Counter: dict}
"""What an annotation with arguments is read as first."""


class StandIn(type):
    """The type of a class that stands for another type: whatever was decoded is an instance.

    ``decided`` returns the member of a union that a value is, None where there is none to return.
    """

    decode: Callable[[Any], Any]
    decided: Callable[[Any], Member | None]

    def __instancecheck__(cls, instance: Any) -> bool:
        return True


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
        if _asks_a_function(annotation):
            return with_pydantic(annotation, known)
        inner = replaced(args[0], build, known)
        return annotation if inner is args[0] else Annotated[(inner, *args[1:])]
    if origin in (Union, UnionType):
        return _union(annotation, tuple(_flat(args, known)), build, known)
    if _is_pydantic_dataclass(annotation):
        return _stand_in(annotation, known, lambda: _validated(annotation, build))
    if origin in _COLLECTIONS and args:
        given = (*args, int) if origin is Counter else args
        plain = _COLLECTIONS[origin][given]
        return _stand_in(annotation, known, lambda: _collected(origin, build(plain).of_plain))
    holds = getattr(origin, "__module__", "") in _CONTAINERS or is_object(origin)
    if not args or not holds:
        return annotation
    inside = tuple(each if each is ... else replaced(each, build, known) for each in args)
    return annotation if inside == args else origin[inside]


def with_pydantic(annotation: Any, known: dict[Any, StandIn]) -> Any:
    """Return a stand-in that reads a type with pydantic's ``TypeAdapter``."""
    return _stand_in(annotation, known, lambda: _adapted(annotation))


def _adapted(annotation: Any) -> Callable[[Any], Any]:
    adapter = sys.modules["pydantic"].TypeAdapter(annotation)

    def decode(plain: Any) -> Any:
        return model_again(adapter.validate_json(msgspec.json.encode(plain)), plain)

    return decode


def has_pydantic(annotation: Any) -> bool:
    """Return whether pydantic has a part in a type: its models, dataclasses, or annotations."""
    return "pydantic" in sys.modules and _has_pydantic(annotation, set())


def _has_pydantic(annotation: Any, seen: set[Any]) -> bool:
    if get_origin(annotation) is Annotated:
        if any(type(each).__module__.startswith("pydantic") for each in annotation.__metadata__):
            return True
    if any(_has_pydantic(each, seen) for each in get_args(annotation)):
        return True
    cls = get_origin(annotation) or annotation
    if not isinstance(cls, type) or cls in seen:
        return False
    seen.add(cls)
    if is_model(cls) or _is_pydantic_dataclass(cls):
        return True
    if not is_object(cls):
        return False
    try:
        hints = get_type_hints(cls, include_extras=True)
    except (NameError, TypeError):
        return False
    return any(_has_pydantic(each, seen) for each in hints.values())


def is_told_apart(annotation: Any) -> bool:
    """Return whether a discriminator of pydantic's tells the members of a union apart."""
    return get_origin(annotation) is Annotated and any(
        type(each).__module__.startswith("pydantic")
        and getattr(each, "discriminator", None) is not None
        for each in annotation.__metadata__
    )


def _asks_a_function(annotation: Any) -> bool:
    """Return whether pydantic tells the members of a union apart by a function of the user's."""
    return any(
        type(each).__module__.startswith("pydantic")
        and callable(getattr(each, "discriminator", None))
        for each in annotation.__metadata__
    )


def _flat(args: tuple[Any, ...], known: dict[Any, StandIn]) -> Iterator[Any]:
    """Yield the members of a union, those of unions within it too, without notes on classes."""
    for each in args:
        if get_origin(each) is not Annotated:
            yield each
        elif _asks_a_function(each):
            yield with_pydantic(each, known)
        elif get_origin(each.__origin__) in (Union, UnionType):
            yield from _flat(get_args(each.__origin__), known)
        else:
            yield each.__origin__ if is_object(each.__origin__) else each


def _collected(origin: Any, decode: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda plain: origin(decode(plain))


def _union(annotation: Any, args: tuple[Any, ...], build: Build, known: dict[Any, StandIn]) -> Any:
    members = [each for each in args if each is not type(None)]
    objects = [each for each in members if is_object(each)]
    structs = [each for each in objects if _is_struct(each)]
    foreign = [each for each in objects if is_model(each) or _is_pydantic_dataclass(each)]
    alone = len(members) == 1
    if alone or not (foreign or len(objects) - len(structs) + bool(structs) > 1):
        inside = tuple(replaced(each, build, known) for each in args)
        return annotation if inside == get_args(annotation) else reduce(or_, inside)
    others = [each for each in members if not is_object(each)]
    stand_in = _stand_in(annotation, known, lambda: _choice(objects, others, build))
    return stand_in | None if len(members) < len(args) else stand_in


def _undecided(plain: Any) -> None:
    return None


def _choice(objects: list[Any], others: list[Any], build: Build) -> Callable[[Any], Any]:
    """Return what makes the one member of a union that fits."""
    if not others:
        return Choice([member_of(each, build(each)) for each in objects], None)
    # Refused where the others take objects too, as a dictionary does.
    msgspec.json.Decoder(reduce(or_, others) | _Object)
    other = build(reduce(or_, others)).of_plain
    return Choice([member_of(each, build(each)) for each in objects], other)


class _Object(msgspec.Struct):
    """Any object of JSON."""


def _stand_in(annotation: Any, known: dict[Any, StandIn], make: Callable[[], Any]) -> Any:
    found = known.get(annotation)
    if found is None:
        found = known[annotation] = StandIn("StandIn", (), {})
        try:
            found.decode = make()
            found.decided = getattr(found.decode, "decided", _undecided)
        except BaseException:
            known.pop(annotation, None)
            raise
    return found


def _validated(cls: Any, build: Build) -> Callable[[Any], Any]:
    """Return what makes a dataclass of pydantic's, by its own validation."""
    pydantic = sys.modules["pydantic"]
    hints = get_type_hints(cls, include_extras=True)
    for name, hint in hints.items():
        if isinstance(hint, InitVar):
            raise Lossy(
                f"{_name(cls)}: {name!r} is an InitVar, which is not written, so that the class "
                "cannot be made again; make it a field"
            )
    made = [each for each in fields(cls) if each.init]
    later = [each for each in fields(cls) if not each.init]
    parts = TypedDict(  # type: ignore[misc]
        cls.__name__, {each.name: hints[each.name] for each in (*made, *later)}, total=False
    )
    decode_parts = build(parts).of_plain
    adapter = pydantic.TypeAdapter(cls)

    def decode(plain: Any) -> Any:
        given = decode_parts(plain)
        held = {each.name: given.pop(each.name) for each in later if each.name in given}
        value = adapter.validate_python(given, by_alias=True, by_name=True)
        for name, part in held.items():
            object.__setattr__(value, name, part)
        return value

    return decode


def _exchange(owner: Any, build: Build, known: dict[Any, StandIn], stack: ExitStack) -> None:
    try:
        own = getattr(owner, "__annotations__", None)
        if not own:
            return
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


def is_object(member: Any) -> bool:
    cls = get_origin(member) or member
    if not isinstance(cls, type):
        return False
    return is_model(cls) or _is_struct(cls) or is_dataclass(cls) or is_typeddict(cls)


def _name(member: Any) -> str:
    return getattr(member, "__qualname__", str(member))
