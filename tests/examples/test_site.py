"""The site of the pages builds without a warning, asks no other host, and leaves nothing out."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import processor
from processor import activity, connect, testing, workflow
from processor.cli.app import app

ROOT = Path(__file__).parents[2]
BUILD_S = 150
NOT_FOR_USERS = {"ActivityContext", "ActivityDefinition", "current"}
"""Public for the sake of the executor; no user calls them."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a broken link or a page without a place in the tree is an error."""
    folder = tmp_path_factory.mktemp("site")
    how = ("-W", "--keep-going", "-q", "-b", "html", "-d", str(folder / "doctrees"))
    command = [sys.executable, "-m", "sphinx", *how, str(ROOT / "docs"), str(folder / "html")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=BUILD_S)
    assert done.returncode == 0, done.stderr
    return folder / "html"


def text_of(page: Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text()))


def test_every_page_is_there(site: Path) -> None:
    pages = {p.relative_to(ROOT / "docs").with_suffix("") for p in (ROOT / "docs").rglob("*.md")}
    assert len(pages) > 20
    assert pages <= {p.relative_to(site).with_suffix("") for p in site.rglob("*.html")}


def test_no_page_asks_another_host(site: Path) -> None:
    loads = re.compile(
        r"""(?:<(?:script|img|link|iframe)\b[^>]*|url\(|@import )["'(]?(?:https?:)?//"""
    )
    for path in (*site.rglob("*.html"), *site.rglob("*.css")):
        assert not loads.search(path.read_text()), path


def test_the_reference_has_every_public_name(site: Path) -> None:
    ids = {
        anchor
        for page in (site / "reference").glob("*.html")
        for anchor in re.findall(r'id="(processor[\w.]*)"', page.read_text())
    }
    last = {each.rpartition(".")[2] for each in ids}
    for module in (processor, workflow, activity, connect, testing):
        names = (
            set(module.__all__) - NOT_FOR_USERS - {"activity", "connect", "workflow", "Settings"}
        )
        assert names <= last, f"{module.__name__}: docs/reference/api.md or errors.md"


def test_the_reference_has_every_command_and_setting(site: Path) -> None:
    commands = text_of(site / "reference" / "cli.html")
    for path in paths(get_command(app), "processor"):
        assert path in commands
    settings = text_of(site / "reference" / "settings.html")
    for name in processor.Settings.__dataclass_fields__:
        assert name in settings


def paths(command: Any, path: str) -> Iterator[str]:
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from paths(inner, f"{path} {name}")


def test_the_map_has_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    for folder in (ROOT / "processor").iterdir():
        if (folder / "__init__.py").exists():
            assert f"`{folder.name}/`" in page, f"docs/architecture.md, the rooms: {folder.name}/"
