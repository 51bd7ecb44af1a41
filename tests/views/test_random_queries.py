"""Random queries find what Python finds in the same runs; pages lose none, and repeat none."""

from __future__ import annotations

import operator
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from processor.core.event import Event
from processor.core.nouns.run import WorkflowCompleted, WorkflowFailed
from processor.views.asking import count, find
from processor.views.language import parsed
from processor.views.rows import Rows, open_rows

from .runs import DOWN, Log, started, turn

RUNS: Final = 120
QUERIES: Final = 600
EPOCH: Final = datetime(2027, 1, 1, tzinfo=UTC)
TEXTS: Final = ("ada", "Ada", "bob", "bö", "", "%", "a%b", "_", "it''s", "日本", "🧾", "\uffff")
TIMES: Final = tuple(EPOCH + timedelta(hours=hours) for hours in range(4))
NUMBERS: Final = (0, -1, 5, 2.5, 2**53 + 1, -(2**63), 1e300)
NAMES: Final = ("a", "b", "c", "x.y-z")
SIGNS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "STARTS_WITH": lambda value, given: value.startswith(given),
    "CONTAINS": lambda value, given: given in value,
}
Fits = Callable[[Mapping[str, Any]], bool]


def plain(text: str) -> str:
    return text.replace("''", "'")


def value_of(made: random.Random) -> Any:
    match made.randrange(5):
        case 0:
            return plain(made.choice(TEXTS))
        case 1:
            return made.choice(NUMBERS)
        case 2:
            return made.random() < 0.5
        case 3:
            return made.choice(TIMES)
        case _:
            return [plain(each) for each in made.sample(TEXTS, made.randint(1, 3))]


@pytest.fixture(scope="module")
def runs() -> list[dict[str, Any]]:
    made = random.Random(11)
    found = []
    for number in range(RUNS):
        attributes = {name: value_of(made) for name in NAMES if made.random() < 0.6}
        found.append(
            {
                "workflow_id": f"{made.choice(['é', 'o', '%'])}-{number}",
                "workflow": made.choice(("order", "ship")),
                "started": EPOCH + timedelta(minutes=made.randrange(240)),
                "closed": None,
                "events": 1,
                "status": "running",
                **attributes,
            }
        )
    for run in found:
        if made.random() < 0.6:
            run["closed"] = run["started"] + timedelta(minutes=made.randrange(60))
            run["events"] = 2
            run["status"] = made.choice(("completed", "failed"))
    return found


@pytest.fixture(scope="module")
def rows(runs: list[dict[str, Any]]) -> Iterator[Rows]:
    rows = open_rows(None, 0, "log")
    fill(Log(rows), runs)
    yield rows
    rows.close()


def fill(log: Log, runs: list[dict[str, Any]]) -> None:
    for run in runs:
        id, given = run["workflow_id"], {name: run[name] for name in NAMES if name in run}
        log.take(turn(f"{id}/1", 0, started(run["workflow"], **given), at=ms(run["started"])))
        if run["closed"] is not None:
            completes = run["status"] == "completed"
            end: Event = WorkflowCompleted(None) if completes else WorkflowFailed(DOWN)
            log.take(turn(f"{id}/1", 1, end, at=ms(run["closed"])))


def ms(at: datetime) -> int:
    return round(at.timestamp() * 1_000)


def written(value: Any) -> str:
    match value:
        case bool():
            return str(value).upper()
        case datetime():
            return f"'{value.isoformat()}'"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case _:
            return repr(value)


def kind_of(value: Any) -> str:
    return "n" if type(value) in (int, float) else type(value).__name__


def fits(value: Any, sign: str, given: Any) -> bool:
    """Return whether one value of a run fits a comparison: of another type, it does not.

    A time is written as text, and so compared with text, too.
    """
    if isinstance(given, datetime) and isinstance(value, str | list):
        given = given.isoformat()
    if isinstance(value, list):
        texts = isinstance(given, str) and sign in ("=", "STARTS_WITH", "CONTAINS")
        return texts and any(SIGNS[sign](each, given) for each in value)
    return kind_of(value) == kind_of(given) and SIGNS[sign](value, given)


def comparison(made: random.Random) -> tuple[str, Fits]:
    name = made.choice((*NAMES, *NAMES, "workflow_id", "started", "closed", "events"))
    shown = f"`{name}`" if name == "x.y-z" or made.random() < 0.2 else name
    if name in ("workflow_id", "started", "closed", "events"):
        shown, choices = name, {"workflow_id": TEXTS, "events": (1, 2, 1.5)}.get(name, TIMES)
        given = [plain(each) if isinstance(each, str) else each for each in choices]
    else:
        pool = made.choice((TEXTS, NUMBERS, (True, False), TIMES))
        given = [plain(each) if isinstance(each, str) else each for each in pool]
    first, second = made.choice(given), made.choice(given)
    match made.randrange(7):
        case 0:
            return f"{shown} IS NULL", lambda run: run.get(name) is None
        case 1:
            return f"{shown} IS NOT NULL", lambda run: run.get(name) is not None
        case 2:
            text = f"{shown} BETWEEN {written(first)} AND {written(second)}"
            return text, lambda run: has(run, name, ">=", first) and has(run, name, "<=", second)
        case 3:
            no = made.choice(("", "NOT "))
            text = f"{shown} {no}IN ({written(first)}, {written(second)})"
            return (
                text,
                lambda run: (
                    run.get(name) is not None
                    and (any(has(run, name, "=", each) for each in (first, second)) != bool(no))
                ),
            )
        case 4:
            text = f"{shown} != {written(first)}"
            return text, lambda run: run.get(name) is not None and not has(run, name, "=", first)
        case _:
            texts = isinstance(first, str)
            sign = made.choice([each for each in SIGNS if texts or not each[0].isalpha()])
            return f"{shown} {sign} {written(first)}", lambda run: has(run, name, sign, first)


def has(run: Mapping[str, Any], name: str, sign: str, given: Any) -> bool:
    return run.get(name) is not None and fits(run[name], sign, given)


def condition(made: random.Random, depth: int) -> tuple[str, Fits]:
    if depth == 0 or made.random() < 0.3:
        return comparison(made)
    text, test = condition(made, depth - 1)
    if made.random() < 0.25:
        return f"NOT ({text})", lambda run: not test(run)
    word, how = made.choice((("AND", all), ("OR", any)))
    other, also = condition(made, depth - 1)
    return f"({text}) {word} ({other})", lambda run: how((test(run), also(run)))


def test_queries_find_what_python_finds(rows: Rows, runs: list[dict[str, Any]]) -> None:
    made, some = random.Random(5), 0
    for _ in range(QUERIES):
        text, test = condition(made, 3)
        expected = {run["workflow_id"] for run in runs if test(run)}
        page = find((rows,), parsed(text, 0, "list"), RUNS, None, "list")
        found = {row.workflow_id for row in page.runs}
        assert found == expected, f"{text}\n{expected ^ found}"
        assert count((rows,), parsed(text, 0, "count"), "count").count == len(expected), text
        some += 0 < len(expected) < RUNS
    assert some > QUERIES / 2, "most of them tell runs apart"


@pytest.mark.parametrize("field", ["workflow_id", "started", "closed", "events", "workflow"])
@pytest.mark.parametrize("down", [False, True])
def test_pages_are_in_order_whatever_begins_meanwhile(
    field: str, down: bool, runs: list[dict[str, Any]]
) -> None:
    made, rows = random.Random(3), open_rows(None, 0, "log")
    log, late = Log(rows), iter(runs[80:])
    fill(log, runs[:80])
    text, test = condition(made, 1)
    query = parsed(f"{text} ORDER BY {field} {'DESC' if down else 'ASC'}", 0, "list")
    found, cursor, more = list[str](), None, True
    while more:
        page = find((rows,), query, 7, cursor, "list")
        found += [row.workflow_id for row in page.runs]
        cursor = page.cursor
        more = cursor is not None
        fill(log, [run for run, _ in zip(late, range(5), strict=False)])
    by_id = {run["workflow_id"]: run for run in runs}
    keys = [by_id[id][field] for id in found]
    there = [key for key in keys if key is not None]
    assert there == sorted(there, reverse=down)
    assert keys == there + [None] * (len(keys) - len(there)), "those without it come last"
    assert len(found) == len(set(found)), "no run comes twice"
    before = {run["workflow_id"] for run in runs[:80] if test(run)}
    assert before <= set(found), "no run is left out that was there"
    assert all(test(by_id[id]) for id in found)
    rows.close()


@pytest.mark.parametrize("fields", [("workflow", "status"), ("a",), ("status", "b"), ("x.y-z",)])
def test_groups_are_what_python_counts(
    fields: tuple[str, ...], rows: Rows, runs: list[dict[str, Any]]
) -> None:
    made = random.Random(9)
    for _ in range(30):
        text, test = condition(made, 2)
        expected = Counter[tuple[str, ...]]()
        for run in filter(test, runs):
            for key in keys_of(run, fields):
                expected[key] += 1
        named = ", ".join(f"`{each}`" if each == "x.y-z" else each for each in fields)
        groups = count((rows,), parsed(f"{text} GROUP BY {named}", 0, "count"), "count").groups
        found = {tuple(map(keyed, group.values)): group.count for group in groups}
        assert found == expected, text
        assert [group.count for group in groups] == sorted(expected.values(), reverse=True)


def keys_of(run: Mapping[str, Any], fields: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the groups that a run is in: a list is in that of each of its members."""
    if not fields:
        yield ()
        return
    value = run.get(fields[0])
    for each in value if isinstance(value, list) else [value]:
        for rest in keys_of(run, fields[1:]):
            yield (keyed(each), *rest)


def keyed(value: Any) -> str:
    """Return a value so that those of several types differ."""
    return f"{kind_of(value)} {float(value) if kind_of(value) == 'n' else value!s}"
