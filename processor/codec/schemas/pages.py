"""The parts of pages in docs/ that say what classes say: commands as JSON, and events.

Such a part stands between two comments, of which the first one names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from msgspec import NODEFAULT, Raw, inspect

from processor.codec.json_commands import FORMS, OPERATIONS
from processor.codec.schemas.shapes import shapes_of
from processor.codec.schemas.texts import Texts
from processor.core.nouns.lineage import Plan
from processor.core.vocabulary import EVENTS
from processor.errors import InvalidArgument

__all__ = ("filled",)

_END: Final = "<!-- end of what 'processor schemas write' writes -->"


def filled(page: str, texts: Texts) -> str:
    """Return a page with its parts as they should be."""
    for name, rows in _PARTS.items():
        begin = f"<!-- {name}: written by 'processor schemas write' -->\n\n"
        before, found, rest = page.partition(begin)
        _, end, after = rest.partition(_END)
        if found and not end:
            raise InvalidArgument(f"a page has {begin.strip()} without {_END} behind it; add that")
        if found:
            head, *body = (f"| {' | '.join(row)} |" for row in rows(texts))
            table = "\n".join((head, "|---" * head.count(" | ") + "|---|", *body))
            page = f"{before}{begin}{table}\n\n{_END}{after}"
    return page


def _commands(texts: Texts) -> Iterable[tuple[str, ...]]:
    yield "`type`", "field", "value", "default", "what it says"
    for type, struct in FORMS.items():
        form: Any = inspect.type_info(struct)
        operation: Any = OPERATIONS[type]
        own = {each.name for each in shapes_of(operation)}
        for field in sorted(form.fields, key=lambda each: not each.required):
            record = operation.__name__ if field.name in own else Plan.__name__
            if text := texts.of_field(record, field.name).removeprefix("Encoded "):
                text = text[:1].upper() + text[1:].partition(". ")[0].removesuffix(".")
                value = "list" if field.name == "arguments" else _value(field.type)
                if choices := operation.choices.get(field.name):
                    value = ", ".join(f"`{each}`" for each in choices)
                yield f"`{type}`", f"`{field.name}`", value, _default(field), text


def _value(type: Any) -> str:
    match type:
        case inspect.StrType():
            return "text"
        case inspect.IntType(ge=least):
            return f"whole number from {least}"
        case inspect.BoolType():
            return "true or false"
        case inspect.DictType():
            return "object of texts"
        case inspect.StructType():
            return "object"
        case inspect.UnionType(types=types):
            return _value(next(each for each in types if not isinstance(each, inspect.NoneType)))
        case _:
            return "anything"


def _default(field: inspect.Field) -> str:
    if field.required:
        return "required"
    if isinstance(field.default, Raw):
        return f"`{bytes(field.default).decode()}`" if bytes(field.default) else "none"
    if field.default in (NODEFAULT, None, ""):
        return "none"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return f"`{field.default}`"


def _events(texts: Texts) -> Iterable[tuple[str, ...]]:
    yield "event", "what it says", "fields"
    cls: Any
    for cls in EVENTS:
        fields = ", ".join(f"`{each.name}`" for each in shapes_of(cls))
        yield cls.__name__, texts.of_type[cls.__name__], fields


_PARTS: Final[Mapping[str, Any]] = MappingProxyType({"commands": _commands, "events": _events})
