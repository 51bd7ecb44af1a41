"""Which member of a union an object of JSON is: its tags say so, then the names of its fields.

A member is decided before anything of it is decoded, so that each level of a deep value is decoded
once. Where neither tags nor names decide, the members are tried. What was tried is remembered
within the outermost such try: an object within is decoded once, however often it is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from processor.core.data.failure import shortened

__all__ = ("Choice", "Lossy", "Member", "Reader", "is_model", "member_of")

Convert = Callable[[Any], Any]


class Reader(NamedTuple):
    """What makes values of a type: of JSON, and of what JSON was decoded to already.

    ``holder`` is a struct of one field of the type: msgspec can convert to that.
    """

    of_json: Callable[[bytes], Any]
    of_plain: Convert
    holder: Any


_SHOWN_MAX: Final = 5
_NEAREST: Final = "the nearest is "
_TAG_SHOWN_MAX: Final = 50


class Lossy(TypeError):
    """A type whose values do not come back as they were."""


class Member(NamedTuple):
    """``names`` are the fields of an object as it is written, ``required`` those always sent.

    ``holder`` is None where it is not msgspec that converts. ``tags`` are the values that a field
    may have, by the names under which it may be sent. ``shapeless`` are members that need not be
    objects.
    """

    name: str
    convert: Convert
    holder: Any
    names: frozenset[str]
    required: frozenset[str]
    tags: dict[str, frozenset[tuple[type, Any]]]
    shapeless: bool

    def is_denied(self, plain: dict[str, Any]) -> bool:
        return any(
            key in plain and _tag(plain[key]) not in values for key, values in self.tags.items()
        )


def member_of(annotation: Any, reader: Reader) -> Member:
    cls = get_origin(annotation) or annotation
    parts = list(_parts(cls))
    tags = {
        key: values
        for part in parts
        if (values := _literals(part.hint))
        for key in (part.name, *part.aliases)
    }
    if _is_struct(cls) and cls.__struct_config__.tag_field is not None:
        tags[cls.__struct_config__.tag_field] = frozenset({_tag(cls.__struct_config__.tag)})
    shapeless = hasattr(cls, "__pydantic_root_model__") and cls.__pydantic_root_model__
    if _is_struct(cls):
        shapeless = cls.__struct_config__.array_like
    names = {part.name for part in parts}
    if _is_struct(cls):
        names |= {cls.__struct_config__.tag_field} - {None}
    return Member(
        getattr(cls, "__qualname__", str(cls)),
        reader.of_plain,
        reader.holder,
        frozenset(names),
        frozenset(part.name for part in parts if part.required),
        tags,
        bool(shapeless),
    )


class Choice:
    """Makes the one member of a union that fits; ``other`` takes what is no object."""

    def __init__(self, members: list[Member], other: Convert | None) -> None:
        self._members = members
        self._other = other

    def decided(self, plain: Any) -> Member | None:
        """Return the one member that a value can be; None where several have to be tried."""
        found = self._found(plain)
        return found[0] if len(found) == 1 else None

    def __call__(self, plain: Any) -> Any:
        found = self._found(plain)
        if len(found) == 1:
            return found[0].convert(plain)
        memo = _TRYING.memo
        if memo is None:
            _TRYING.memo = {}
            try:
                return _tried(found, plain)
            finally:
                _TRYING.memo = None
        key = (id(plain), id(self))
        if key not in memo:
            # The object itself is kept too, so that no other one gets its id.
            try:
                memo[key] = (plain, _tried(found, plain), None)
            except ValueError as error:
                memo[key] = (plain, None, error)
        _, value, refused = memo[key]
        if refused is not None:
            raise refused
        return value

    def _found(self, plain: Any) -> list[Member]:
        if isinstance(plain, dict):
            return _decided(self._members, plain)
        found = [each for each in self._members if each.shapeless]
        if self._other is not None:
            found.append(Member("another member", self._other, None, _NONE, _NONE, {}, True))
        elif not found:
            raise ValueError(
                f"it fits none of the union ({_listed(self._members)}): expected an object, got "
                f"{_kind(plain)}"
            )
        return found


def _decided(members: list[Member], plain: dict[str, Any]) -> list[Member]:
    """Return the members that an object may be, by its tags and the names of its fields."""
    found = [each for each in members if not each.is_denied(plain)]
    if not found:
        keys = sorted({key for each in members for key in each.tags if key in plain})
        said = ", ".join(f"{key!r} is {_short(plain[key])}" for key in keys)
        known = _listed(members, lambda each: f"{each.name} ({_shown_tags(each)})")
        raise ValueError(f"{said}, which none of the union has: {known}")
    given = plain.keys()
    exact = [each for each in found if each.names == given]
    if len(found) == 1 or len(exact) == 1:
        return exact or found
    if not exact:
        complete = [each for each in found if each.required <= given]
        said_keys = {key for each in complete for key in each.tags if key in plain}
        return [each for each in complete if said_keys <= each.names] or complete or found
    return exact


def _tried(found: list[Member], plain: Any) -> Any:
    fits: list[tuple[Member, Any]] = []
    errors: list[tuple[int, Member, Exception]] = []
    for each in found:
        try:
            fits.append((each, each.convert(plain)))
        except RecursionError:
            raise
        except Exception as error:  # whatever a class of the user's refuses it with
            alike = len(each.names.intersection(plain)) if isinstance(plain, dict) else 0
            errors.append((alike, each, error))
    if not fits:
        _, nearest, refused = max(errors, key=lambda each: each[0])
        text = str(refused)
        if _NEAREST not in text:  # Of unions within unions, the innermost says what is wrong.
            text = f"it fits none of the union ({_listed(found)}); {_NEAREST}{nearest.name}: {text}"
        raise ValueError(text)
    if len(fits) > 1:
        names = " and ".join(member.name for member, _ in fits)
        raise ValueError(
            f"it fits {names}, and nothing says which one was meant; give each a field that "
            'tells them apart: kind: Literal["..."] = "..."'
        )
    return fits[0][1]


class _Trying(threading.local):
    """What was tried within the outermost try of this thread; None where nothing is tried."""

    memo: dict[tuple[int, int], tuple[Any, Any, Exception | None]] | None = None


_TRYING: Final = _Trying()
_NONE: Final[frozenset[str]] = frozenset()


# --- what members are made of -------------------------------------------------------------------


class _Part(NamedTuple):
    name: str
    hint: Any
    required: bool
    aliases: tuple[str, ...] = ()


def is_model(cls: Any) -> bool:
    return isinstance(cls, type) and hasattr(cls, "model_validate_json")


def _is_struct(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, msgspec.Struct)


def _parts(cls: Any) -> Iterator[_Part]:
    if is_model(cls):
        for name, info in cls.model_fields.items():
            # Validators of the model may fill in what is required.
            yield _Part(name, info.annotation, False, _aliases(info))
    elif _is_struct(cls):
        for part in msgspec.structs.fields(cls):
            yield _Part(part.encode_name, part.type, part.required)
    elif is_dataclass(cls):
        hints = get_type_hints(cls)
        checked: dict[str, Any] = getattr(cls, "__pydantic_fields__", {})
        for each in fields(cls):
            needed = each.default is MISSING and each.default_factory is MISSING
            aliases = _aliases(checked[each.name]) if each.name in checked else ()
            yield _Part(each.name, hints[each.name], needed and not checked, aliases)
    else:
        for name, hint in get_type_hints(cls).items():
            yield _Part(name, hint, name in cls.__required_keys__)


def _aliases(info: Any) -> tuple[str, ...]:
    chosen = info.validation_alias or info.alias
    return tuple(each for each in getattr(chosen, "choices", [chosen]) if isinstance(each, str))


def _literals(hint: Any) -> frozenset[tuple[type, Any]]:
    while get_origin(hint) is Annotated:
        hint = hint.__origin__
    return frozenset(map(_tag, get_args(hint))) if get_origin(hint) is Literal else frozenset()


def _tag(value: Any) -> tuple[type, Any]:
    """Return a value of a tag, with its type: 1 is not True. What cannot be one is None."""
    value = value.value if isinstance(value, Enum) else value
    hashable = isinstance(value, str | int | bool | bytes | None)
    return (type(value), value if hashable else None)


def _shown_tags(member: Member) -> str:
    tags = (f"{key!r} {sorted(str(each) for _, each in it)}" for key, it in member.tags.items())
    return ", ".join(tags)


def _listed(members: list[Member], shown: Callable[[Member], str] = lambda each: each.name) -> str:
    more = len(members) - _SHOWN_MAX
    listed = ", ".join(map(shown, members[:_SHOWN_MAX]))
    return f"{listed} and {more} more" if more > 0 else listed


def _short(value: Any) -> str:
    plain = isinstance(value, str | int | float | None)
    return shortened(repr(value), _TAG_SHOWN_MAX) if plain else _kind(value)


def _kind(value: Any) -> str:
    return f"`{type(value).__name__}`"
