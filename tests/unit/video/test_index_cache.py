"""Indexes on disk: the same when they come back, small, and bounded in all."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raypose.storage import identity_of
from raypose.video.index import VideoIndex, index_video
from raypose.video.index_cache import (
    facts_of,
    load_facts,
    load_index,
    load_keyframes,
    store_index,
    trim,
)
from tests.videos import edit_list, make_video, repeat_packets, retime

KINDS: dict[str, dict[str, Any]] = {
    "b-frames.mp4": {"bframes": 3},
    "mpeg4.avi": {"codec": "mpeg4"},
    "late.mkv": {"pts": [i * i + 50 for i in range(30)]},
    "tracks.mp4": {"audio": True, "rotation": 90},
    "one.mp4": {"n_frames": 1},
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def assert_equal(one: Any, other: Any) -> None:
    """Two indexes, or tables of packets, are equal in every field."""
    assert type(one) is type(other)
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if dataclasses.is_dataclass(a):
            assert_equal(a, b)
        elif isinstance(a, np.ndarray):
            assert a.dtype == b.dtype and np.array_equal(a, b), field.name
        else:
            assert a == b and type(a) is type(b), field.name


def size_of(cache: Path) -> int:
    return sum(file.stat().st_size for file in cache.rglob("*.index"))


def stored(path: Path) -> VideoIndex:
    index = index_video(path)
    store_index(str(path), identity_of(path), index, "print")
    return index


@pytest.mark.parametrize("name", KINDS)
def test_it_comes_back_the_same(name: str, tmp_path: Path) -> None:
    path = make_video(tmp_path / name, **KINDS[name])
    index = stored(path)
    assert_equal(load_index(str(path), identity_of(path)), index)
    assert np.array_equal(load_keyframes(str(path), identity_of(path)), index.keyframes)
    stats = facts_of(index, "print")
    assert load_facts(str(path), identity_of(path)) == {**stats, "notes": list(stats["notes"])}


def test_odd_videos_come_back_the_same(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4")
    for path in (
        edit_list(whole, tmp_path / "cut.mp4", skip_frames=4),
        retime(whole, tmp_path / "back.mkv", [0, 40, 40, *range(120, 1200, 40)]),
    ):
        index = stored(path)
        assert index.notes
        assert_equal(load_index(str(path), identity_of(path)), index)


def test_it_is_of_one_file(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4")
    stored(path)
    before = identity_of(path)
    os.utime(path, ns=(1, 1))
    assert load_index(str(path), identity_of(path)) is None
    assert load_index(str(path), before) is not None
    assert load_index(str(path), None) is None
    assert load_index(str(tmp_path / "other.mp4"), before) is None


def test_it_is_small(tmp_path: Path, cache: Path) -> None:
    segment = make_video(tmp_path / "segment.mp4", n_frames=50)
    path = repeat_packets(tmp_path / "long.mp4", segment, 20_000)
    index = stored(path)
    assert index.packets is not None
    (file,) = cache.rglob("*.index")
    assert file.stat().st_size - len(index.packets.head) < 4 * index.n_frames


def test_those_used_longest_ago_go_first(tmp_path: Path, cache: Path) -> None:
    paths = [make_video(tmp_path / f"{n}.mp4", n_frames=5) for n in range(4)]
    for n, path in enumerate(paths):
        stored(path)
        newest = max(cache.rglob("*.index"), key=lambda file: file.stat().st_mtime_ns)
        os.utime(newest, (n + 1, n + 1))
    assert load_index(str(paths[0]), identity_of(paths[0])) is not None, "it is in use again"
    trim(size_of(cache) - 1)
    known = [load_index(str(path), identity_of(path)) is not None for path in paths]
    assert known == [True, False, True, True]
    trim(0)
    assert all(load_index(str(path), identity_of(path)) is None for path in paths)
    assert all(load_facts(str(path), identity_of(path)) for path in paths), (
        "the next plan is quick"
    )
    size = size_of(cache)
    trim(0)
    assert size_of(cache) == size < 4 * 1024


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", "/proc/no/one/can/write/here")
    path = make_video(tmp_path / "v.mp4", n_frames=5)
    stored(path)
    assert load_index(str(path), identity_of(path)) is None
