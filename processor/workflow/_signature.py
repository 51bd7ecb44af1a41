"""The parameters of a user's function: names, types, and how arguments become a list and back."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Coroutine, Mapping
from functools import cached_property
from typing import Any, ParamSpec, Protocol, TypeVar, get_type_hints

from processor.checks import shown
from processor.core.data.payloads import Payloads
from processor.errors import InvalidArgument, SchemaMismatch

__all__ = ("AsyncFunction", "Signature", "event_value", "is_async", "names_at")

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

_ARGUMENT = re.compile(r"(?:at )?`\$\[(\d+)\]([^`]*)`")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class AsyncFunction(Protocol[P, R_co]):
    """An async function. As a protocol and not ``Callable[P, Awaitable[R]]``: with that one mypy
    finds both overloads to fit where an annotation holds Any, and gives up every type."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]: ...


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether what a function returns is to be awaited.

    A wrapper may be async around a plain function, or plain around an async one.
    """
    inner = inspect.unwrap(function, stop=inspect.iscoroutinefunction)
    return inspect.iscoroutinefunction(inner)


class Signature:
    """What a function takes and returns. Arguments cross the log as a list, so all have positions.

    ``what`` names the function in errors. ``maximum`` is None where it takes ``*args``,
    and ``limit`` is then a very large number. ``skipped``
    is 1 for a method, whose ``self`` does not cross. Annotations are resolved on first use, when
    everything that they name is defined; ``names`` are the locals of the place of definition.
    """

    def __init__(
        self,
        what: str,
        function: Callable[..., Any],
        skipped: int = 0,
        names: Mapping[str, Any] | None = None,
    ) -> None:
        self.what = what
        self._function = function
        self._names = names
        self._tuples: dict[int, Any] = {}
        try:
            self._signature = inspect.signature(function)
        except (TypeError, ValueError) as error:
            raise InvalidArgument(
                f"{what}: {shown(function)} has no parameters that can be read: {error}; put the "
                "call into a function (def)"
            ) from None
        parameters = list(self._signature.parameters.values())
        # What is skipped may be the first of ``*args``, which then has the others as well.
        taken = [each for each in parameters[:skipped] if each.kind in _POSITIONAL]
        parameters = parameters[len(taken) :]
        for each in parameters:
            if each.kind in (each.KEYWORD_ONLY, each.VAR_KEYWORD):
                raise InvalidArgument(
                    f"{what}: parameter {each} has no position, but arguments are stored as a "
                    "list. Make it a positional parameter, or take one dataclass"
                )
        self._signature = self._signature.replace(parameters=parameters)
        self._parameters = [each for each in parameters if each.kind in _POSITIONAL]
        self._rest = next((each for each in parameters if each.kind == each.VAR_POSITIONAL), None)
        self.required = sum(each.default is each.empty for each in self._parameters)
        self.maximum = None if self._rest is not None else len(self._parameters)
        self.limit = sys.maxsize if self.maximum is None else self.maximum

    @cached_property
    def hints(self) -> dict[str, Any]:
        function = inspect.unwrap(self._function)
        function = getattr(function, "__func__", function)
        try:
            return get_type_hints(function, localns=self._names, include_extras=True)
        except NameError as error:
            where = f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
            raise InvalidArgument(
                f"{self.what} at {where}: the annotations cannot be resolved ({error}). Names in "
                "annotations have to be importable in the function's module, not only for type "
                "checkers"
            ) from error

    def resolve(self) -> None:
        """Resolve the annotations now. Raises ``InvalidArgument`` where that is not possible."""
        assert self.hints is not None

    def check(self, payloads: Payloads) -> None:
        """Build the decoders now. Raises ``SchemaMismatch`` where a type cannot be decoded."""
        named = {each.name: self.hints.get(each.name, Any) for each in self._parameters}
        if self._rest is not None:
            named[self._rest.name] = self.hints.get(self._rest.name, Any)
        for name, annotation in (*named.items(), ("return", self.result)):
            try:
                payloads.decoder(annotation)
            except SchemaMismatch as error:
                which = "the result" if name == "return" else f"parameter {name!r}"
                raise SchemaMismatch(f"{self.what}{self._signature}: {which}: {error}") from error

    @cached_property
    def types(self) -> tuple[Any, ...]:
        """The types of the positional parameters; Any where there is no annotation."""
        return tuple(self.hints.get(each.name, Any) for each in self._parameters)

    @cached_property
    def result(self) -> Any:
        return self.hints.get("return", Any)

    def type_of(self, number: int) -> Any:
        """Return the type of an argument by its place."""
        if number < len(self._parameters):
            return self.types[number]
        return Any if self._rest is None else self.hints.get(self._rest.name, Any)

    def fits(self, count: int) -> bool:
        return self.required <= count <= self.limit

    def positions(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return arguments by position, as Python would bind them. Raises ``InvalidArgument``."""
        if not kwargs and self.fits(len(args)):
            return args
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArgument(f"{self.what}{self._signature}: {error}") from None
        given = (i for i, each in enumerate(self._parameters) if each.name in bound.arguments)
        last = max(given, default=-1)
        bound.apply_defaults()
        return bound.args[: max(last + 1, len(args))]

    def parameter(self, number: int) -> str:
        """Return the name of the parameter that takes an argument, by the argument's number."""
        if number < len(self._parameters):
            return repr(self._parameters[number].name)
        return str(number + 1) if self._rest is None else f"{number + 1} (*{self._rest.name})"

    def decode(self, arguments: bytes | None, payloads: Payloads) -> tuple[Any, ...]:
        """Return the arguments of an encoded list (None: an empty one), typed by annotations."""
        if arguments is None:
            if not self.fits(0):
                raise self._miscounted(0)
            return ()
        count = self.maximum
        if count is None or count != self.required:
            count = self._count(arguments, payloads)
        try:
            return self._decoder(count, payloads)(arguments)
        except SchemaMismatch as error:
            found = self._count(arguments, payloads)
            if not self.fits(found):
                raise self._miscounted(found) from None
            inner = f"the value does not fit {self._tuples[count]}: "  # nobody wrote that type
            text = _ARGUMENT.sub(self._named, str(error).removeprefix(inner))
            raise SchemaMismatch(f"{self.what}{self._signature}: {text}") from error

    def _named(self, path: re.Match[str]) -> str:
        """Return the path of an argument in the list of them as its name, and the path in it."""
        return f"argument {self.parameter(int(path[1]))} at `${path[2]}`"

    def _decoder(self, count: int, payloads: Payloads) -> Callable[[bytes | None], tuple[Any, ...]]:
        annotation = self._tuples.get(count)
        if annotation is None:
            types = self.types[:count]
            if self._rest is not None:
                rest = self.hints.get(self._rest.name, Any)
                types += (rest,) * (count - len(types))
            annotation = tuple[types] if types else tuple[()]  # type: ignore[valid-type]
            self._tuples[count] = annotation
        return payloads.decoder(annotation)

    def _count(self, arguments: bytes | None, payloads: Payloads) -> int:
        try:
            count = len(payloads.decoder(list[Any])(arguments))
        except SchemaMismatch as error:
            raise SchemaMismatch(
                f"{self.what}{self._signature}: the arguments have to be a list: {error}"
            ) from error
        if not self.fits(count):
            raise self._miscounted(count)
        return count

    def _miscounted(self, count: int) -> SchemaMismatch:
        if self.maximum is None:
            wanted = f"{self.required} or more"
        elif self.required == self.maximum:
            wanted = str(self.required)
        else:
            wanted = f"{self.required} to {self.maximum}"
        return SchemaMismatch(
            f"{self.what}{self._signature} takes {wanted} arguments; the payload has {count}"
        )


def event_value(signature: Signature | None, args: tuple[Any, ...]) -> Any:
    """Return the value of the event that calls something: its one argument, or the list of several.

    ``signature`` is that of what is called, None where only its name is known. Raises
    ``InvalidArgument``.
    """
    if signature is not None:
        args = signature.positions(args, {})
        if signature.limit > 1:
            return list(args)
    return args[0] if len(args) == 1 else list(args) or None


def names_at(depth: int, function: Callable[..., Any]) -> Mapping[str, Any] | None:
    """Return the locals of a caller, for a function that is defined inside of another one."""
    if "<locals>" not in getattr(function, "__qualname__", ""):
        return None
    return dict(sys._getframe(depth + 1).f_locals)
