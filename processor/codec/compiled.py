"""Turns an Avro schema into Python functions that write and read its dataclasses.

A turn is encoded on the hot path, and a generic Avro library has to be handed dictionaries and has
to find the branch of each union by trying: measured, that is three times the cost of straight-line
code in which every field, branch and default is known beforehand. So each record of a schema
becomes one ``write_X`` and one ``read_X``, generated once at import as ``dataclasses`` does it.
The tests hold them against two independent Avro libraries.

What is written here is the subset of Avro that our schemas use: records, enums, arrays, maps of
bytes, ``[null, T]``, unions of records (and null), and the primitives. Anything else is refused
when it is compiled.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from processor.codec.varint import LONGS

__all__ = ("Compiled", "compile_schema", "field_at_fault")

Writer = Callable[[Any, bytes], bytes]
Reader = Callable[[bytes, int], tuple[Any, int]]
Schema = Any
"""Parsed JSON: a name, a list of branches, or a dictionary."""

_REPEATED_MAX: Final = 1_000
_READ_AGAIN_MAX: Final = 8
"""How many values of a repeated record are kept, as objects to write and as bytes to read."""

_FIELD_OF_LINE: Final = "FIELD_OF_LINE"
"""Under this name generated code holds the field that each of its lines is about."""


@dataclass(frozen=True)
class Compiled:
    """The functions of one schema. ``source`` is the generated code, for people."""

    write: Writer
    read: Reader
    source: str


# --- what generated code calls ---------------------------------------------------------------


def _integer(number: int) -> bytes:
    if not -(1 << 31) <= number < 1 << 31:
        raise OverflowError(f"{number} does not fit into 32 bits")
    return LONGS[operator.index(number)]


def _text(value: str) -> bytes:
    encoded = value.encode()
    return LONGS[len(encoded)] + encoded


def _blob(value: bytes) -> bytes:
    return LONGS[len(value)] + value


def _more(data: bytes, at: int, number: int) -> tuple[int, int]:
    """Read the rest of a variable-length number whose first byte has the continuation bit."""
    second = data[at]
    if second < 0x80:
        return number & 0x7F | second << 7, at + 1
    number = number & 0x7F | (second & 0x7F) << 7
    third = data[at + 1]
    if third < 0x80:
        return number | third << 14, at + 2
    number |= (third & 0x7F) << 14
    at += 2
    shift = 21
    while shift < 70:
        byte = data[at]
        at += 1
        if byte < 0x80:
            if shift == 63 and byte > 1:
                break
            return number | byte << shift, at
        number |= (byte & 0x7F) << shift
        shift += 7
    raise ValueError("a number is longer than 64 bits")


class _Repeated:
    """Writes and reads a record of which a few values come again and again: each once.

    No encoding is the beginning of another one, so bytes that are known stand for their value.
    """

    def __init__(self, write: Writer, read: Reader) -> None:
        self._write = write
        self._read = read
        self._written: dict[int, tuple[Any, bytes]] = {}
        self._known: tuple[tuple[bytes, Any], ...] = ()

    def write(self, record: Any) -> bytes:
        known = self._written.get(id(record))
        if known is None:
            if len(self._written) >= _REPEATED_MAX:
                self._written.clear()
            # The record is kept, so that no other one can have its id.
            known = self._written[id(record)] = record, self._write(record, b"")
        return known[1]

    def read(self, data: bytes, at: int) -> tuple[Any, int]:
        for encoded, record in self._known:
            if data.startswith(encoded, at):
                return record, at + len(encoded)
        record, end = self._read(data, at)
        self._known = ((data[at:end], record), *self._known[: _READ_AGAIN_MAX - 1])
        return record, end


_HELPERS: Final[dict[str, Any]] = {
    "LONG": LONGS,
    # Refuses a float, which a dictionary takes for the integer that it equals.
    "index": operator.index,
    "Repeated": _Repeated,
    "integer": _integer,
    "text": _text,
    "blob": _blob,
    "more": _more,
    "pack": struct.Struct("<d").pack,
    "tuple_new": tuple.__new__,
    "unpack": struct.Struct("<d").unpack_from,
    "BOOLEAN": {False: b"\0", True: b"\1"},
    "NoneType": type(None),
    "write_null": lambda value, head: head,
    "read_null": lambda data, at: (None, at),
    "ZIGZAG": tuple(n >> 1 ^ -(n & 1) for n in range(128)),
}

_WRITE_PRIMITIVE: Final = {
    "string": "text({})",
    "bytes": "blob({})",
    "long": "LONG[index({})]",
    "int": "integer({})",
    "double": "pack({})",
    "boolean": "BOOLEAN[{}]",
}

_NULL: Final = "null"
_NUMBER: Final = ("n = d[i]; i += 1", "if n > 127: n, i = more(d, i, n)")
_SIGNED: Final = (
    "n = d[i]; i += 1",
    "if n < 128: {} = ZIGZAG[n]",
    "else: n, i = more(d, i, n); {} = n >> 1 ^ -(n & 1)",
)
_READ_PRIMITIVE: Final = {
    "string": (*_NUMBER, "j = i + (n >> 1); {} = d[i:j].decode(); i = j"),
    "bytes": (*_NUMBER, "j = i + (n >> 1); {} = d[i:j]; i = j"),
    "long": _SIGNED,
    "int": (
        *_SIGNED,
        f"if not {-(1 << 31)} <= {{}} < {1 << 31}: raise ValueError('longer than 32 bits')",
    ),
    "double": ("{}, = unpack(d, i); i += 8",),
    "boolean": ("{} = d[i] == 1; i += 1",),
}


_READ_TEXT_KEY: Final = tuple(line.replace("{}", "x") for line in _READ_PRIMITIVE["string"])


# --- the generator ---------------------------------------------------------------------------


class _Generator:
    """Writes the source. ``scope`` holds the constants that the source refers to by name."""

    def __init__(
        self,
        named: Mapping[str, Schema],
        classes: Mapping[str, Any],
        repeated: Collection[str],
    ) -> None:
        self.named = named
        self.classes = classes
        self.repeated = repeated
        self.scope: dict[str, Any] = dict(_HELPERS)
        self.lines: list[str] = []
        self.fields: list[str] = []
        self._unions: list[list[str]] = []

    def add(self, line: str, field: str = "") -> None:
        self.lines.append(line)
        self.fields.append(field)

    def resolve(self, schema: Schema) -> Schema:
        """Follow a name, and ``{"type": "string"}`` to what it means."""
        if isinstance(schema, str) and schema in self.named:
            return self.named[schema]
        if isinstance(schema, dict) and schema["type"] in _WRITE_PRIMITIVE:
            return schema["type"]
        return schema

    def record(self, schema: Schema) -> None:
        name = short(schema["name"])
        self.scope[name] = self.classes[name]
        self._write_record(name, schema["fields"])
        self._read_record(name, schema["fields"])
        if name in self.repeated:
            self.add(f"{name}_AGAIN = Repeated(write_{name}, read_{name})")

    def _write_record(self, name: str, fields: list[Schema]) -> None:
        self.add(f"def write_{name}(r, head):")
        self.add('    return b"".join((head,')
        self._write_fields(name, fields, "r", "r")
        self.add("    ))")

    def _write_fields(self, name: str, fields: list[Schema], first: str, then: str) -> None:
        """Add the parts of a record; one that it always has in it is written as if it were flat.

        ``first`` is the expression for the record in its first field, ``then`` in all others.
        """
        for field in fields:
            value = f"{first}.{field['name']}"
            first = then
            schema = self.resolve(field["type"])
            if _is_record(schema) and short(schema["name"]) not in self.repeated:
                inner = f"{then}_{field['name']}"
                self._write_fields(
                    short(schema["name"]), schema["fields"], f"({inner} := {value})", inner
                )
            else:
                if schema == "string":
                    line = f"        LONG[len(t := {value}.encode())], t,"
                else:
                    line = f"        {self.written(schema, value)},"
                self.add(line, f"{name}.{field['name']}")

    def written(self, schema: Schema, value: str) -> str:
        """Return the expression for the bytes of ``value``."""
        schema = self.resolve(schema)
        if isinstance(schema, str):
            return _WRITE_PRIMITIVE[schema].format(value)
        if isinstance(schema, list):
            return self._written_union(schema, value)
        if schema["type"] == "record":
            name = short(schema["name"])
            if name in self.repeated:
                return f"{name}_AGAIN.write({value})"
            return f'write_{name}({value}, b"")'
        if schema["type"] == "enum":
            table = f"{short(schema['name'])}_BYTES"
            self.scope[table] = {s: LONGS[i] for i, s in enumerate(schema["symbols"])}
            return f"{table}[{value}]"
        if schema["type"] == "array":
            item = self.written(schema["items"], "x")
            return self._written_blocks(f"[{item} for x in a]", value)
        if schema["type"] == "map" and schema["values"] == "bytes":
            return self._written_blocks("[text(x) + blob(y) for x, y in a]", value)
        raise TypeError(f"cannot compile the Avro type {schema!r}")

    def _written_blocks(self, items: str, value: str) -> str:
        several = f'b"".join((LONG[len(a)], *{items}, b"\\0"))'
        return f'{several} if (a := {value}) else b"\\0"'

    def _written_union(self, branches: list[Schema], value: str) -> str:
        if len(branches) == 2 and branches[0] == "null":
            some = self.resolve(branches[1])
            if _is_record(some) and short(some["name"]) not in self.repeated:
                filled = f'write_{short(some["name"])}(v, b"\\2")'
            else:
                filled = f'b"\\2" + {self.written(some, "v")}'
            return f'b"\\0" if (v := {value}) is None else {filled}'
        table = self._union(branches)
        return f"(u := {table}_WRITE[(v := {value}).__class__])[0](v, u[1])"

    def _union(self, branches: list[Schema]) -> str:
        names = [_NULL if b == _NULL else short(self.resolve(b)["name"]) for b in branches]
        if names not in self._unions:
            self._unions.append(names)
        return f"UNION_{self._unions.index(names)}"

    def _read_record(self, name: str, fields: list[Schema]) -> None:
        self.add(f"def read_{name}(d, i):")
        for index, field in enumerate(fields):
            for line in self.read(field["type"], f"f{index}"):
                self.add(f"    {line}", f"{name}.{field['name']}")
        values = {field["name"]: f"f{index}" for index, field in enumerate(fields)}
        cls = self.classes[name]
        names = cls._fields if issubclass(cls, tuple) else cls.__match_args__
        arguments = ", ".join(values[each] for each in names)
        if issubclass(cls, tuple):
            self.add(f"    return tuple_new({name}, ({arguments})), i")
        else:
            self.add(f"    return {name}({arguments}), i")

    def read(self, schema: Schema, into: str) -> Iterator[str]:
        """Return the statements that read a value at ``d[i]`` and move ``i`` behind it."""
        schema = self.resolve(schema)
        if isinstance(schema, str):
            for line in _READ_PRIMITIVE[schema]:
                yield line.replace("{}", into)
        elif isinstance(schema, list):
            yield from self._read_union(schema, into)
        elif schema["type"] == "record":
            name = short(schema["name"])
            read = f"{name}_AGAIN.read" if name in self.repeated else f"read_{name}"
            yield f"{into}, i = {read}(d, i)"
        elif schema["type"] == "enum":
            table = f"{short(schema['name'])}_SYMBOL"
            self.scope[table] = {2 * i: symbol for i, symbol in enumerate(schema["symbols"])}
            yield f"{into} = {table}[d[i]]; i += 1"
        elif schema["type"] == "array":
            yield from self._read_blocks(self.read(schema["items"], "x"), "x", into)
        else:
            pair = (*_READ_TEXT_KEY, *self.read("bytes", "y"))
            yield from self._read_blocks(pair, "(x, y)", into)

    def _read_union(self, branches: list[Schema], into: str) -> Iterator[str]:
        if len(branches) == 2 and branches[0] == "null":
            yield "n = d[i]; i += 1"
            yield f"if n == 0: {into} = None"
            yield "elif n == 2:"
            yield from (f"    {line}" for line in self.read(branches[1], into))
            yield "else: raise ValueError('a union has no such branch')"
        else:
            yield f"{into}, i = {self._union(branches)}_READ[d[i]](d, i + 1)"

    def _read_blocks(self, item: Iterable[str], found: str, into: str) -> Iterator[str]:
        """Items come in blocks; a negative count is followed by the size of the block."""
        yield "a = []"
        yield "while d[i]:"
        yield from (f"    {line}" for line in _NUMBER)
        yield "    c = n >> 1 ^ -(n & 1)"
        yield "    if c < 0:"
        yield "        c = -c"
        yield from (f"        {line}" for line in _NUMBER)
        yield "    for _ in range(c):"
        yield from (f"        {line}" for line in item)
        yield f"        a.append({found})"
        yield f"i += 1; {into} = tuple(a)"

    def tables(self) -> None:
        """Fill in the tables of unions, which refer to functions and so come last."""
        for number, names in enumerate(self._unions):
            # One byte holds the number of a branch up to the 64th one.
            if len(names) > 64:
                raise TypeError(f"cannot compile a union of {len(names)} branches: 64 at the most")
            heads = {name: repr(LONGS[index]) for index, name in enumerate(names)}
            classes = {name: "NoneType" if name == _NULL else name for name in names}
            written = ", ".join(f"{classes[n]}: (write_{n}, {heads[n]})" for n in names)
            self.add(f"UNION_{number}_WRITE = {{{written}}}")
            read = ", ".join(f"{2 * index}: read_{name}" for index, name in enumerate(names))
            self.add(f"UNION_{number}_READ = {{{read}}}")


def compile_schema(
    name: str,
    named: Mapping[str, Schema],
    classes: Mapping[str, type],
    repeated: Collection[str] = (),
) -> Compiled:
    """Compile the record ``name``. ``named`` has each named type of its schema by full name.

    ``classes`` has the class of each record by its short name; its fields are the schema's.
    ``repeated`` are short names of records within it that have few different values.
    """
    generator = _Generator(named, classes, repeated)
    for schema in named.values():
        if schema["type"] == "record":
            generator.record(schema)
    generator.tables()
    source = "\n".join(generator.lines)
    generator.scope[_FIELD_OF_LINE] = ("", *generator.fields)
    exec(compile(source, f"<{name}>", "exec"), generator.scope)
    main = short(name)
    return Compiled(generator.scope[f"write_{main}"], generator.scope[f"read_{main}"], source)


def _is_record(schema: Schema) -> bool:
    return isinstance(schema, dict) and schema["type"] == "record"


def short(name: str) -> str:
    return name.rpartition(".")[2]


def field_at_fault(error: BaseException) -> str:
    """Return the field ("Record.field") that generated code was at when it raised ``error``."""
    field = ""
    trace = error.__traceback__
    while trace is not None:
        known = trace.tb_frame.f_globals.get(_FIELD_OF_LINE)
        if known is not None:
            field = known[trace.tb_lineno] or field
        trace = trace.tb_next
    return field
