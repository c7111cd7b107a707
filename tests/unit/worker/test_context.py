"""The context of a task: the plan's frame index is used for exactly the file that it describes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raypose.inputs.probe import known_index, probe
from raypose.video import index as index_module
from raypose.video.index_cache import trim
from raypose.worker.context import Context
from tests.steps import make_context
from tests.videos import damage_unsampled, large_video, make_video


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The videos whose packets are read, once it is asked for."""
    paths: list[str] = []
    scan = index_module.scan_packets

    def noted(path: str, *rest: Any) -> Any:
        paths.append(path)
        return scan(path, *rest)

    monkeypatch.setattr(index_module, "scan_packets", noted)
    return paths


def context_of(index: Any = known_index) -> Context:
    return make_context(index=index)


def test_no_packet_is_read_for_the_index_of_the_plan(tmp_path: Path, scanned: list[str]) -> None:
    path = make_video(tmp_path / "v.mp4")
    video = probe(path, "v")
    assert scanned == [str(path)]
    context = context_of()
    with context.video_check.task():
        index = context.index(video)
    assert (index.n_frames, index.path) == (30, str(path))
    assert index.packets is not None
    assert len(scanned) == 1


def test_an_index_that_is_not_known_is_made_once(tmp_path: Path, scanned: list[str]) -> None:
    video = probe(make_video(tmp_path / "v.mp4"), "v")
    shutil.rmtree(tmp_path / "cache")
    context = context_of()
    for _ in range(2):
        with context.video_check.task():
            assert context.index(video).n_frames == 30
    assert len(scanned) == 2


def test_an_index_that_the_cache_has_dropped_is_kept_again(
    tmp_path: Path, scanned: list[str]
) -> None:
    video = probe(make_video(tmp_path / "v.mp4"), "v")
    trim(0)
    assert known_index(video) is None
    for _ in range(2):
        context = context_of()
        with context.video_check.task():
            assert context.index(video).n_frames == 30
    assert len(scanned) == 2
    assert known_index(video) is not None


@pytest.mark.parametrize("how", ["touched", "replaced"])
def test_another_file_has_another_index(tmp_path: Path, scanned: list[str], how: str) -> None:
    """Size and samples are equal, and so does the task go on; between them bytes may differ."""
    path = large_video(tmp_path / "v.mp4")
    video = probe(path, "v")
    if how == "touched":
        path.touch()
    else:
        damage_unsampled(path, tmp_path / "other.mp4").replace(path)
    context = context_of(lambda _: pytest.fail("the plan's index is of another file"))
    with context.video_check.task():
        assert context.index(video).n_frames == 20
    assert len(scanned) == 2


def test_the_index_of_an_object_is_of_its_copy(tmp_path: Path, scanned: list[str]) -> None:
    path = make_video(tmp_path / "copy.mp4")
    video = probe(path, "v")
    known = known_index(video)
    assert known is not None
    context = context_of(lambda _: replace(known, path="s3://lab/v.mp4"))
    with context.video_check.task():
        assert context.index(video).path == str(path)
    assert len(scanned) == 1
