"""The cache is this user's alone, and what others have put there is not read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raypose.storage import cache


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_no_one_else_may_enter_it(root: Path) -> None:
    (root / "digests").mkdir(parents=True, mode=0o755)
    assert cache.store(cache.cache_dir("digests") / "ab" / "x.json", b"1")
    assert (root / "digests" / "ab" / "x.json").read_bytes() == b"1"
    assert (root / "digests").stat().st_mode & 0o777 == 0o700


def test_a_link_is_not_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "a.graph").write_bytes(b"theirs")
    root.mkdir()
    (root / "graphs").symlink_to(tmp_path / "theirs")
    path = cache.cache_dir("graphs") / "a.graph"
    assert not path.exists()
    assert not cache.store(path, b"mine")
    assert os.listdir(tmp_path / "theirs") == ["a.graph"]


def test_another_users_is_not_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "trials").mkdir(parents=True)
    theirs = (root / "trials").stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: theirs + 1)
    path = cache.cache_dir("trials") / "a.json"
    assert not cache.store(path, b"mine")
    assert not list((root / "trials").iterdir())
