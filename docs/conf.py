"""Makes the site of these pages: ``make docs``. Sphinx reads this file.

Two pages hold what the code says of itself. A line ``<!-- generated: NAME -->`` in a page is
replaced by the text that the function of that name returns, so that no copy can grow old.
"""

from __future__ import annotations

import ast
import dataclasses
import html
import inspect
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

project = "processor"
author = "the processor authors"
project_copyright = "the processor authors"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
templates_path: list[str] = []

html_theme = "furo"
html_title = "processor"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
smartquotes = False

myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
maximum_signature_line_length = 80

UNITS = {r"_s$": "s", r"_ms$": "ms", r"bytes": "bytes"}
"""What a setting's name says of its unit."""


# --- what is generated ------------------------------------------------------------------------


def settings() -> str:
    """Return a table of ``Settings``, from its fields and the texts below them."""
    from processor import Settings

    module = ast.parse(inspect.getsource(sys.modules[Settings.__module__]))
    body = next(n for n in module.body if isinstance(n, ast.ClassDef) and n.name == "Settings").body
    texts = {
        field.target.id: text.value.value
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }
    rows = ["| setting | default | unit | what it bounds |", "|---|---|---|---|"]
    for field in dataclasses.fields(Settings):
        unit = next((unit for name, unit in UNITS.items() if re.search(name, field.name)), "")
        value = f"{field.default:,}" if type(field.default) in (int, float) else repr(field.default)
        text = " ".join(inspect.cleandoc(texts[field.name]).replace("``", "`").split())
        rows.append(f"| `{field.name}` | `{value}` | {unit} | {text} |")
    return "\n".join(rows)


def cli() -> str:
    """Return every command of the command line, from the help texts of its application."""
    import typer

    from processor.cli.app import app
    from processor.cli.faults import EXIT_CODES

    top = typer.main.get_command(app)
    parts = [part for path, command in _commands(top, "processor") for part in _told(path, command)]
    return "\n\n".join((EXIT_CODES, *parts))


def topics() -> str:
    """Return every topic of a namespace, from the files in ``topics/``."""
    from processor.kafka.topics.specs import load_specs

    parts = []
    for spec in sorted(load_specs(), key=lambda each: each.name):
        configs = "\n".join(f"| `{name}` | `{value}` |" for name, value in spec.configs.items())
        parts += [
            f"## `<namespace>.{spec.name}{'.<queue>' if spec.template else ''}`",
            html.escape(spec.why),
            f"Key: {spec.key}. Clean-up: {spec.cleanup_policy}. Records: "
            + ", ".join(spec.schemas)
            + ".",
            f"| setting of Kafka | value |\n|---|---|\n{configs}",
        ]
    return "\n\n".join(parts)


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield a command and all below it, each with the words that call it."""
    if path != "processor":
        yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, f"{path} {name}")


def _told(path: str, command: Any) -> Iterator[str]:
    """Yield what a command's help says, as Markdown."""
    yield f"{'#' * (path.count(' ') + 1)} `{path}`"
    yield inspect.cleandoc(command.help or "").split("\f")[0]
    rows = []
    for parameter in command.params:
        if parameter.name == "help" or getattr(parameter, "hidden", False):
            continue
        names = ", ".join((*parameter.opts, *parameter.secondary_opts))
        if parameter.param_type_name == "argument":
            names = parameter.metavar or parameter.name.upper()
        default = parameter.show_default if isinstance(parameter.show_default, str) else None
        if (
            default is None
            and parameter.default not in (None, False, True)
            and not callable(parameter.default)
        ):
            default = str(parameter.default)
        told = [parameter.help or ""]
        told += [f"Default: {default}."] if default else []
        told += [f"Environment: `{parameter.envvar}`."] if parameter.envvar else []
        rows.append(f"| `{names}` | {' '.join(told).replace('|', chr(92) + '|')} |")
    if rows:
        yield "\n".join(("| option or argument | meaning |", "|---|---|", *rows))


GENERATED: dict[str, Callable[[], str]] = {"cli": cli, "settings": settings, "topics": topics}


def generate(app: Any, page: str, source: list[str]) -> None:
    """Put what is generated into a page."""
    source[0] = re.sub(
        r"^<!-- generated: (\w+) -->$", lambda m: GENERATED[m[1]](), source[0], flags=re.M
    )


def setup(app: Any) -> None:
    app.connect("source-read", generate)
