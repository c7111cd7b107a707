"""A video is described once, for as long as the file stays what it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from raypose.errors import VideoError
from raypose.inputs.probe import known_index, known_keyframes, probe
from raypose.storage import identity_of
from raypose.video import index
from raypose.video.index_cache import trim
from tests.unit.video.test_index_cache import assert_equal
from tests.videos import make_video


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return make_video(tmp_path / "v.mp4", n_frames=25, gop=10, rotation=90)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, reading a video's packets is an error."""

    def read(*_: object, **__: object) -> NoReturn:
        raise AssertionError("the packets are read")

    return lambda: monkeypatch.setattr(index, "index_video", read)


def overwrite(video: Path) -> None:
    """Break the content of a file and leave its size and its time of modification."""
    stat = video.stat()
    video.write_bytes(b"\0" * stat.st_size)
    os.utime(video, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_what_is_remembered_is_what_was_seen(
    cache: Path, video: Path, unread: Callable[[], None]
) -> None:
    first = probe(video)
    assert first.format == "h264 yuv420p, turned 270°"
    assert first.n_frames == 25
    assert first.identity == identity_of(video)
    unread()
    assert probe(video) == first


def test_notes_are_remembered(cache: Path, tmp_path: Path, unread: Callable[[], None]) -> None:
    video = make_video(tmp_path / "v.mp4", n_frames=5, pts=[0, 10, 20, 37, 41])
    first = probe(video)
    assert first.is_vfr
    assert len(first.notes) == 1
    unread()
    assert probe(video) == first


def test_a_changed_file_is_read_again(cache: Path, video: Path) -> None:
    probe(video)
    make_video(video, n_frames=12)
    assert probe(video).n_frames == 12
    overwrite(video)
    with pytest.raises(VideoError):
        probe(video)
    assert len(list(cache.rglob("*.index"))) == 1, "the new one replaces the old one"


def test_another_file_of_equal_size_and_time_is_read(
    cache: Path, video: Path, tmp_path: Path
) -> None:
    probe(video)
    other = shutil.copy2(video, tmp_path / "other.mp4")
    overwrite(other)
    os.replace(other, video)
    with pytest.raises(VideoError):
        probe(video)


def test_errors_are_not_remembered(cache: Path, video: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.mp4"
    path.write_bytes(b"\0" * video.stat().st_size)
    stat = path.stat()
    with pytest.raises(VideoError):
        probe(path)
    shutil.copy(video, path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert probe(path).n_frames == 25


def test_a_missing_file(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no such file"):
        probe(tmp_path / "no.mp4")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"of": 1}', b"\xff", b"null", b"[" * 100_000])
def test_a_broken_cache_is_no_error(cache: Path, video: Path, content: bytes) -> None:
    first = probe(video)
    (stored,) = cache.rglob("*.index")
    stored.write_bytes(content)
    assert probe(video) == first
    assert stored.read_bytes() != content


def test_a_pipe_in_the_cache_is_not_waited_for(cache: Path, video: Path) -> None:
    first = probe(video)
    (stored,) = cache.rglob("*.index")
    stored.unlink()
    os.mkfifo(stored)
    assert probe(video) == first


def test_a_cache_that_cannot_be_written(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", "/proc/nobody/can/write/here")
    assert probe(video).n_frames == 25


class TestIndex:
    def test_it_is_the_one_that_was_made(self, cache: Path, video: Path) -> None:
        known = known_index(probe(video))
        assert known is not None
        assert_equal(known, index.index_video(video))
        assert known_keyframes(probe(video)) == [0, 10, 20]

    @pytest.mark.parametrize("how", ["overwritten", "replaced", "touched"])
    def test_it_is_of_no_other_file(
        self, cache: Path, video: Path, tmp_path: Path, how: str
    ) -> None:
        before = probe(video)
        if how == "overwritten":
            overwrite(video)
        elif how == "replaced":
            other = shutil.copy2(video, tmp_path / "other.mp4")
            overwrite(other)
            os.replace(other, video)
        else:
            video.touch()
        now = replace(before, identity=identity_of(video))
        assert known_index(now) is None
        assert known_keyframes(now) == ()

    @pytest.mark.parametrize("content", [b"", b"[]", b"PK", b"\xff" * 1000, None])
    def test_one_that_is_damaged_is_none(
        self, cache: Path, video: Path, content: bytes | None
    ) -> None:
        spec = probe(video)
        (stored,) = cache.rglob("*.index")
        data = stored.read_bytes()
        stored.write_bytes(data[: len(data) // 2] if content is None else content)
        assert known_index(spec) is None
        assert known_keyframes(spec) == () or content is None

    def test_one_that_was_removed_does_not_cost_the_next_plan(
        self, cache: Path, video: Path, unread: Callable[[], None]
    ) -> None:
        first = probe(video)
        trim(0)
        unread()
        assert probe(video) == first
        assert known_index(first) is None
