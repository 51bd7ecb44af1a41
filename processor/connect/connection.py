"""A connection: which topic it reads, and the function that says what a record asks for."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, get_args, get_origin

from processor import checks
from processor.connect.actions import Action, Encode, Wanted
from processor.connect.values import Avro, Raw, Record, reader_of
from processor.core.data.payloads import Payloads
from processor.errors import InvalidArgument
from processor.seldom import Seldom
from processor.workflow._signature import Signature, is_async, names_at

__all__ = ("ACTIONS_MAX", "Begin", "Connection", "Taking", "define")

_log = logging.getLogger("processor.connect")

_SLOW_S: Final = 1.0
"""A function that takes longer for a record is told of, where it holds all others up."""

_SAY_EVERY_S: Final = 60.0

T = TypeVar("T")

Begin: TypeAlias = Literal["earliest", "latest"]
Said: TypeAlias = Action | Iterable[Action] | None
"""What a function returns: nothing, one action or several."""

Taking: TypeAlias = Callable[[Raw], list[Wanted]]
"""Returns what a record asks for. Raises whatever says why it cannot be used."""

ACTIONS_MAX: Final = 1_000
"""What one record may ask for."""


class Connection(Generic[T]):
    """Made by ``define``. Called with a ``Record``, it returns what the function does: for tests.

    ``group`` names the processes that share the topic, and what they have read.
    """

    def __init__(
        self,
        function: Callable[[Record[T]], Said],
        topic: str,
        group: str | None = None,
        begin: Begin = "earliest",
        avro: Avro | None = None,
        depth: int = 1,
    ) -> None:
        what = f"connection {checks.shown(topic)}"
        self.topic = checks.topic(topic, f"{what}: topic")
        self.group = checks.topic(topic if group is None else group, f"{what}: group")
        self.begin: Begin = checks.one_of(("earliest", "latest"), begin, f"{what}: begin")
        if avro is not None and not isinstance(avro, Avro):
            raise InvalidArgument(f"{what}: avro: give Avro('order.avsc'), not {avro!r}")
        if not callable(function) or is_async(function):
            shown = checks.shown(function)
            raise InvalidArgument(
                f"{what}: {shown} is no plain function: make it one (def) that awaits nothing; what"
                " takes its time belongs into an activity"
            )
        self.function = function
        self.avro = avro
        self._signature = Signature(what, function, names=names_at(depth, function))
        if not self._signature.fits(1):
            raise InvalidArgument(f"{what}: its function takes one argument, a connect.Record")

    def __call__(self, record: Record[T]) -> Said:
        return self.function(record)

    def __repr__(self) -> str:
        return f"Connection(topic={self.topic!r}, group={self.group!r})"

    @property
    def place(self) -> str:
        """Where its function is defined."""
        code = inspect.unwrap(self.function)
        found = getattr(code, "__code__", None)
        return repr(code) if found is None else f"{found.co_filename}:{found.co_firstlineno}"

    @property
    def value_type(self) -> Any:
        """The type of values, as the annotation of the function says. Raises ``InvalidArgument``.

        ``Any`` where nothing says so.
        """
        annotation = self._signature.type_of(0)
        if annotation is Any or annotation is Record:
            return Any
        if get_origin(annotation) is not Record:
            raise InvalidArgument(
                f"connection {self.topic!r} at {self.place}: its function takes a connect.Record, "
                f"and not {annotation}"
            )
        (found,) = get_args(annotation)
        return Any if isinstance(found, TypeVar) else found

    def taking(self, plain: Payloads, encode: Encode) -> Taking:
        """Return what tells the requests of a record.

        ``plain`` reads JSON; ``encode`` makes payloads. Raises ``InvalidArgument`` and
        ``SchemaMismatch`` where values of the annotated type cannot be read.
        """
        read = reader_of(self.value_type, self.avro, plain)
        is_time = Seldom(_SAY_EVERY_S)

        def take(raw: Raw) -> list[Wanted]:
            begun_s = monotonic()
            try:
                return listed(raw)
            finally:
                took_s = monotonic() - begun_s
                if took_s > _SLOW_S and is_time():
                    self._say_slow(raw, took_s)

        def listed(raw: Raw) -> list[Wanted]:
            asked = []
            for action in _listed(self.function(raw.decoded(read))):
                if not isinstance(action, Action):
                    raise InvalidArgument(
                        f"the function returned {checks.shown(action)}: return connect.Start, "
                        "SignalWorkflow or SignalEntity, a list of them, or None"
                    )
                one = action.asked(encode)
                one.operation.check()
                asked.append(one)
                if len(asked) > ACTIONS_MAX:
                    raise InvalidArgument(
                        f"the record asks for more than {ACTIONS_MAX:,} things: let it start one "
                        "workflow that does them"
                    )
            return asked

        return take

    def _say_slow(self, raw: Raw, took_s: float) -> None:
        _log.warning(
            "connection %s: %s took %.1f s for the record at offset %d of partition %d of %s. No "
            "other record is taken here meanwhile: let it only say what is asked for, and leave "
            "what takes its time to an activity",
            self.group,
            getattr(self.function, "__qualname__", "its function"),
            took_s,
            raw.offset,
            raw.partition,
            raw.topic,
        )


def _listed(said: Any) -> Iterable[Any]:
    if said is None:
        return ()
    return said if isinstance(said, Iterable) and not isinstance(said, str | bytes) else (said,)


def define(
    topic: str,
    *,
    group: str | None = None,
    begin: Begin = "earliest",
    avro: Avro | None = None,
) -> Callable[[Callable[[Record[T]], Said]], Connection[T]]:
    """Make a plain function a connection: it is given each record of a topic, and says what to do.

    It returns ``Start``, ``SignalWorkflow`` or ``SignalEntity``, several in their order, or None,
    and the same for a record whenever it is asked. ``group`` (default: the topic's name)
    names the processes that share the topic: another one reads all of it again. ``begin`` is where
    a new group begins. Values are JSON, of the type in the annotation ``Record[Order]``; raw, in
    ``Record[bytes]``; or ``avro``. Raises ``InvalidArgument``.
    """

    def decorate(function: Callable[[Record[T]], Said]) -> Connection[T]:
        return Connection(function, topic, group, begin, avro, depth=2)

    return decorate
