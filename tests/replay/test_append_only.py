"""Nobody edits or deletes what is recorded; and the check of that does find who does."""

from __future__ import annotations

import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from . import record
from .append_only import (
    HERE,
    MANIFEST,
    NoHistory,
    changes,
    lines_of,
    must_have_history,
    recorded_files,
    rewritten,
)
from .recording import PROGRAMS, RECORDED

PINNED = {"1": "3a6d7be9bd98d883fccfa8a2a4b7251708640c9b2918f7abb5f8e4513727381e"}
"""The hash of the manifest's lines of each level. It may change only until the level is closed."""


def test_what_is_recorded_is_as_it_was() -> None:
    assert not list(changes(HERE))


def test_no_commit_had_something_else() -> None:
    try:
        found = list(rewritten(HERE))
    except NoHistory as reason:
        if must_have_history():
            pytest.fail(f"CI cannot check what is recorded: {reason}. Check it out with git")
        pytest.skip(f"only the pinned hashes are checked: {reason}")
    assert not found


@pytest.mark.parametrize("level", sorted(path.name for path in RECORDED.iterdir()))
def test_each_level_is_pinned(level: str) -> None:
    """This needs no earlier commit: a shallow clone and an archive hold it too."""
    assert level in PINNED and level in PROGRAMS
    assert sha256(lines_of(HERE, level).encode()).hexdigest() == PINNED[level]


def test_recording_never_overwrites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, path in (("HERE", ""), ("RECORDED", "recorded"), ("MANIFEST", MANIFEST.name)):
        monkeypatch.setattr(record, name, tmp_path / path)
    chain = next(each for each in record.SCRIPTS if each.__qualname__.startswith("plainly"))
    monkeypatch.setattr(record, "SCRIPTS", (chain,))
    record.main()
    (file,) = tmp_path.glob("recorded/*/chain.json")
    listed = (tmp_path / MANIFEST.name).read_text()
    assert file.name in listed
    file.write_text("edited")
    record.main()
    assert file.read_text() == "edited"
    assert (tmp_path / MANIFEST.name).read_text() == listed


# --- the check can fail -----------------------------------------------------------------------


class Repository:
    """A git repository with two recordings, as ``tests/replay`` has them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path / "tests" / "replay"
        self.history = self.folder / "recorded" / "1" / "one.json"
        self.history.parent.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main", str(path), there=False)
        for name in ("one", "two"):
            self.history.with_stem(name).write_text(f"[{name!r}]")
        (self.folder / "programs_1.py").write_text("frozen = True\n")
        self.hide()
        self.commit()

    def git(self, *args: str, there: bool = True) -> None:
        where = ("-C", str(self.path)) if there else ()
        who = ("-c", "user.name=a test", "-c", "user.email=test@localhost")
        subprocess.run(("git", *where, *who, *args), check=True, capture_output=True)

    def hide(self) -> None:
        """Write the manifest anew, as somebody may who wants to hide an edit."""
        hashes = {
            path: sha256((self.folder / path).read_bytes()).hexdigest()
            for path in recorded_files(self.folder)
        }
        lines = "".join(f"{digest} {path}\n" for path, digest in hashes.items())
        (self.folder / MANIFEST.name).write_text(lines)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=a test")

    def found(self) -> list[str]:
        return [*changes(self.folder), *rewritten(self.folder)]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def test_new_recordings_are_welcome(repository: Repository) -> None:
    repository.history.with_stem("three").write_text("[]")
    assert "is not in MANIFEST-1" in repository.found()[0]
    repository.hide()
    assert not repository.found(), "before the commit"
    repository.commit()
    assert not repository.found(), "and after it"


@pytest.mark.parametrize("hidden", [False, True], ids=["plainly", "with the manifest"])
@pytest.mark.parametrize("committed", [False, True], ids=["working tree", "committed"])
@pytest.mark.parametrize("file", ["recorded/1/one.json", "programs_1.py"])
@pytest.mark.parametrize("how", ["edit", "delete"])
def test_an_edit_and_a_deletion_are_refused(
    repository: Repository, how: str, file: str, committed: bool, hidden: bool
) -> None:
    path = repository.folder / file
    if how == "edit":
        path.write_text(path.read_text() + "\n")
    else:
        path.unlink()
    if hidden:
        repository.hide()
    if committed:
        repository.commit()
    found = repository.found()
    said = "in commit" if hidden else {"edit": "was edited", "delete": "was deleted"}[how]
    assert found and all(file in each and said in each for each in found), found


def test_an_edit_many_commits_ago_is_refused(repository: Repository) -> None:
    repository.history.write_text("[]")
    repository.hide()
    repository.commit()
    for number in range(3):
        repository.history.with_stem(f"more-{number}").write_text("[]")
        repository.hide()
        repository.commit()
    assert len(repository.found()) == 1


def test_an_edit_on_a_merged_branch_is_refused(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "-b", "side")
    repository.history.with_stem("side").write_text("[]")
    repository.hide()
    repository.commit()
    repository.git("checkout", "--quiet", "main")
    repository.history.with_stem("main").write_text("[]")
    repository.hide()
    repository.commit()
    repository.git("merge", "--quiet", "--no-commit", "--strategy-option=ours", "side")
    repository.hide()
    repository.commit()
    assert not repository.found(), "two branches that add something"
    repository.history.with_stem("side").unlink()
    repository.hide()
    repository.commit()
    assert "side.json" in repository.found()[0]


def test_a_manifest_that_was_away_for_a_while_is_refused(repository: Repository) -> None:
    manifest = (repository.folder / MANIFEST.name).read_text()
    (repository.folder / MANIFEST.name).unlink()
    repository.commit()
    (repository.folder / MANIFEST.name).write_text(manifest)
    repository.commit()
    assert "was deleted in commit" in repository.found()[0]


def test_clones_are_checked_too(repository: Repository, tmp_path: Path) -> None:
    for depth in ("--depth=1", "--depth=100"):
        clone = tmp_path / depth
        repository.git("clone", "--quiet", depth, f"file://{repository.path}", str(clone))
        folder = clone / "tests" / "replay"
        assert not [*changes(folder), *rewritten(folder)]
        (folder / "recorded" / "1" / "one.json").unlink()
        assert list(changes(folder))


def test_where_git_knows_nothing_it_says_so(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(repository.path / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(repository.path.parent))
    with pytest.raises(NoHistory, match="git does not know"):
        list(rewritten(repository.folder))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoHistory, match="not installed"):
        list(rewritten(repository.folder))


def test_ci_may_not_skip_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, must in (("true", True), ("1", True), ("false", False), ("", False)):
        monkeypatch.setenv("CI", value)
        assert must_have_history() is must
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.fail.Exception, match="CI cannot check"):
        test_no_commit_had_something_else()
