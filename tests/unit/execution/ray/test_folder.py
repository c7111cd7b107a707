"""A folder that Ray's sockets fit into, and that no one else can enter."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from raypose.errors import UsageError
from raypose.execution.ray import folder
from raypose.execution.ray.folder import private_folder, ray_folder

TAIL = "/ray/session_2026-11-28_05-21-05_584007_1234567/sockets/plasma_store"
LONGEST = 107 - len(TAIL)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(folder, "_SHORT", tmp_path)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_ray_s_own_choice_where_it_is_short_enough(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ray_folder() == Path("/tmp/ray")
    longest = "/" + "t" * (LONGEST - 1)
    monkeypatch.setenv(variable, longest)
    assert ray_folder() == Path(longest, "ray")


def test_a_private_folder_for_a_long_tmpdir(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", "/" + "t" * LONGEST)
    chosen = ray_folder()
    assert chosen == tmp_path / f"raypose-{os.getuid()}" / "ray"
    assert mode(chosen.parent) == 0o700
    assert ray_folder() == chosen


def test_a_long_choice_of_the_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/tmp")
    monkeypatch.setenv("RAY_TMPDIR", "/" + "ü" * LONGEST)
    with pytest.raises(UsageError, match=rf"too long by {LONGEST + 1} bytes for Ray's sockets"):
        ray_folder()


def test_a_folder_that_others_may_enter_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir(mode=0o755)
    assert private_folder(path) == path and mode(path) == 0o700


def test_a_folder_of_someone_else_is_not_used(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tempfile.mkdtemp(dir=tmp_path))
    found = private_folder(link)
    assert found != link and found.parent == tmp_path and mode(found) == 0o700
    if os.getuid() == 0:
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        os.chown(theirs, 12345, 12345)
        found = private_folder(theirs)
        assert found != theirs and mode(found) == 0o700
