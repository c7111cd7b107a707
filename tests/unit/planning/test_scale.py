"""What planning asks of the disk does not grow with videos times models times outputs."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.projects import Project

_asked: list[tuple[str, str]] | None = None


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _asked is not None and event in ("open", "os.scandir", "os.listdir"):
        _asked.append((event, str(arguments[0])))


sys.addaudithook(_note)  # which can't be removed


@contextmanager
def asked_below(*folders: Path) -> Iterator[Counter[str]]:
    """How often files are opened and folders listed below some folders, in the block."""
    global _asked
    counts: Counter[str] = Counter()
    _asked = []
    try:
        yield counts
    finally:
        noted, _asked = _asked, None
        counts.update(
            event for event, place in noted if any(place.startswith(str(f)) for f in folders)
        )


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def add_videos(project: Project, start: int, stop: int) -> None:
    clip = project.root / "clip.mp4"
    if not clip.exists():
        shutil.copy(project.video(f"cam{start}.mp4"), clip)
    for i in range(start, stop):
        shutil.copy(clip, project.videos / f"cam{i}.mp4")


def test_outputs_that_are_missing_cost_nothing_each(tmp_path: Path, cache: Path) -> None:
    project = Project(tmp_path)
    add_videos(project, 0, 4)
    project.plan()
    with asked_below(project.out) as before:
        project.plan()
    add_videos(project, 4, 24)
    project.plan()
    with asked_below(project.out) as after:
        project.plan()
    with asked_below(cache, project.videos) as inputs:
        project.plan()
    assert after == before
    assert after["open"] == 0
    n_asked = 24 + len(project.models)
    assert inputs["open"] == n_asked, "what the cache knows of each, and no video itself"


def test_finished_outputs_cost_their_record(tmp_path: Path, cache: Path) -> None:
    project = Project(tmp_path)
    add_videos(project, 0, 3)
    paths = project.finish()
    with asked_below(project.out) as asked:
        plan = project.plan()
    assert plan.done
    assert asked["open"] == len(paths)
