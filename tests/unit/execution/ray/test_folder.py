"""A folder that Ray's sockets fit into, and that no one else can enter."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from raypose.errors import UsageError
from raypose.execution.ray import folder
from raypose.execution.ray.folder import ray_folder

NAME = f"raypose-ray-{os.getuid()}"
TAIL = "/ray/session_2026-11-28_05-21-05_584007_1234567/sockets/plasma_store"
LONGEST = 107 - len(TAIL)


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The folder for temporary files, which is short enough."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(folder, "_SHORT", tmp_path)
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        yield Path(short)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_it_is_in_a_private_folder_among_the_temporary_files(temporary: Path) -> None:
    assert ray_folder() == temporary / NAME / "ray"
    assert mode(temporary / NAME) == 0o700
    assert ray_folder() == temporary / NAME / "ray"


def test_a_private_folder_elsewhere_where_that_of_temporary_files_is_too_long(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/" + "t" * LONGEST)
    assert ray_folder() == tmp_path / NAME / "ray"
    assert mode(tmp_path / NAME) == 0o700


def test_the_choice_of_the_user(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = "/" + "t" * (LONGEST - 1)
    monkeypatch.setenv("RAY_TMPDIR", longest)
    assert ray_folder() == Path(longest, "ray")
    monkeypatch.setenv("RAY_TMPDIR", "/" + "ü" * LONGEST)
    with pytest.raises(UsageError, match=rf"too long by {LONGEST + 1} bytes for Ray's sockets"):
        ray_folder()


def test_a_folder_that_others_may_enter_is_closed_to_them(temporary: Path) -> None:
    (temporary / NAME).mkdir(mode=0o755)
    assert ray_folder().parent == temporary / NAME
    assert mode(temporary / NAME) == 0o700


def test_a_link_is_not_followed(temporary: Path) -> None:
    (temporary / NAME).symlink_to(tempfile.mkdtemp(dir=temporary))
    found = ray_folder().parent
    assert found.name.startswith(f"{NAME}-") and mode(found) == 0o700


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to someone else")
def test_a_folder_of_someone_else_is_not_used(temporary: Path) -> None:
    (temporary / NAME).mkdir()
    os.chown(temporary / NAME, 12345, 12345)
    found = ray_folder().parent
    assert found.name.startswith(f"{NAME}-") and mode(found) == 0o700
