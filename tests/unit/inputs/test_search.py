"""A search: what it finds below directories and globs, once, and what it names as broken."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raypose.inputs.search import Search


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def search(*, recursive: bool = True) -> Search:
    return Search(lambda name: name.endswith(".mp4"), recursive=recursive)


def broken(found: Search) -> list[str]:
    return [Path(error.path).name for error in found.broken]


class TestLinks:
    def test_a_link_to_a_directory_is_followed(self, tmp_path: Path) -> None:
        touch(tmp_path / "disk" / "deep" / "a.mp4")
        (tmp_path / "videos").mkdir()
        (tmp_path / "videos" / "day1").symlink_to(tmp_path / "disk")
        found = search().below(tmp_path / "videos")
        assert found == [tmp_path / "videos" / "day1" / "deep" / "a.mp4"]

    def test_circles_end_and_real_directories_come_first(self, tmp_path: Path) -> None:
        real = touch(tmp_path / "day1" / "a.mp4")
        # By its name the link would be searched before what it leads to.
        (tmp_path / "alias").symlink_to("day1")
        (tmp_path / "day1" / "up").symlink_to("..")
        (tmp_path / "day1" / "again").symlink_to(tmp_path)
        (tmp_path / "self").symlink_to("self")
        looking = search()
        assert looking.below(tmp_path) == [real]
        assert broken(looking) == ["self"]

    def test_the_root_may_be_a_link(self, tmp_path: Path) -> None:
        touch(tmp_path / "disk" / "a.mp4")
        (tmp_path / "videos").symlink_to("disk")
        for recursive in (True, False):
            looking = search(recursive=recursive)
            assert looking.below(tmp_path / "videos") == [tmp_path / "videos" / "a.mp4"]

    def test_links_that_lead_nowhere_are_named(self, tmp_path: Path) -> None:
        for name in ("a.mp4", "notes.txt", ".hidden.mp4", "day3", "2026.11.01"):
            (tmp_path / name).symlink_to(tmp_path / "gone" / name)
        looking = search()
        assert looking.below(tmp_path) == []
        assert broken(looking) == ["2026.11.01", "a.mp4", "day3"]
        assert "gone/a.mp4" in looking.broken[1].message
        # Where no directory is searched, only a video can be missed.
        looking = search(recursive=False)
        looking.below(tmp_path)
        assert broken(looking) == ["a.mp4"]

    def test_a_name_without_a_suffix_that_led_to_a_video(self, tmp_path: Path) -> None:
        (tmp_path / "latest").symlink_to(tmp_path / "gone.mp4")
        looking = search(recursive=False)
        looking.below(tmp_path)
        assert broken(looking) == ["latest"]


def refuse(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let a directory be unreadable, also for a superuser who runs the tests."""
    scandir = os.scandir

    def refusing(path: Any) -> Iterator[Any]:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)


def test_a_directory_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "day1" / "a.mp4")
    touch(tmp_path / "day2" / "b.mp4")
    refuse(monkeypatch, tmp_path / "day1")
    looking = search()
    assert looking.below(tmp_path) == [tmp_path / "day2" / "b.mp4"]
    (error,) = looking.broken
    assert error.path == str(tmp_path / "day1")
    assert "Permission denied" in error.message
    looking = search()
    assert looking.matching(f"{tmp_path}/*/*.mp4") == [tmp_path / "day2" / "b.mp4"]
    assert broken(looking) == ["day1"]


class TestGlobs:
    def matching(self, tmp_path: Path, pattern: str, **values: Any) -> list[str]:
        found = search(**values).matching(f"{tmp_path}/{pattern}")
        return [str(path.relative_to(tmp_path)) for path in found]

    def test_patterns(self, tmp_path: Path) -> None:
        for name in ("d1/a.mp4", "d2/a.mp4", "d2/b.mp4", "d2/x/c.mp4", ".h/a.mp4", "d2/a.csv"):
            touch(tmp_path / name)
        assert self.matching(tmp_path, "*/a.*", recursive=False) == ["d1/a.mp4", "d2/a.mp4"]
        assert self.matching(tmp_path, "d?/[ab].mp4") == ["d1/a.mp4", "d2/a.mp4", "d2/b.mp4"]
        assert self.matching(tmp_path, "**/c.mp4") == ["d2/x/c.mp4"]
        everything = ["d1/a.mp4", "d2/a.mp4", "d2/b.mp4", "d2/x/c.mp4"]
        assert self.matching(tmp_path, "**", recursive=False) == everything
        assert self.matching(tmp_path, "**/*.mp4", recursive=False) == everything
        assert self.matching(tmp_path, ".*/a.mp4") == [".h/a.mp4"]
        assert self.matching(tmp_path, "no*") == []

    def test_a_directory_stands_for_its_files_as_in_a_shell(self, tmp_path: Path) -> None:
        for name in ("d1/a.mp4", "d2/x/c.mp4"):
            touch(tmp_path / name)
        assert self.matching(tmp_path, "d*", recursive=False) == ["d1/a.mp4"]
        assert self.matching(tmp_path, "d*", recursive=True) == ["d1/a.mp4", "d2/x/c.mp4"]

    def test_two_circles_do_not_multiply(self, tmp_path: Path) -> None:
        touch(tmp_path / "a.mp4")
        for name in ("one", "two"):
            (tmp_path / name).symlink_to(".")
        assert self.matching(tmp_path, "**/*.mp4") == ["a.mp4"]
        assert self.matching(tmp_path, "**/**/*.mp4") == ["a.mp4"]

    def test_links_that_lead_nowhere_are_named(self, tmp_path: Path) -> None:
        touch(tmp_path / "a.mp4")
        (tmp_path / "b.mp4").symlink_to("gone.mp4")
        looking = search(recursive=False)
        assert looking.matching(f"{tmp_path}/*.mp4") == [tmp_path / "a.mp4"]
        assert broken(looking) == ["b.mp4"]
