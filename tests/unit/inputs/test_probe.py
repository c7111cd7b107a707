"""A look into a video is remembered for as long as the file stays what it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from raypose.errors import VideoError
from raypose.inputs.probe import VideoFormat, _compact, _expand, look_into
from raypose.storage import identity_of
from raypose.video import index
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
    first = look_into(video)
    assert first.format == VideoFormat("h264", "yuv420p", 270)
    assert (first.n_frames, first.keyframes) == (25, (0, 10, 20))
    assert first.identity == identity_of(video)
    unread()
    assert look_into(video) == first


def test_notes_are_remembered(cache: Path, tmp_path: Path, unread: Callable[[], None]) -> None:
    video = make_video(tmp_path / "v.mp4", n_frames=5, pts=[0, 10, 20, 37, 41])
    first = look_into(video)
    assert first.format.is_vfr
    assert len(first.notes) == 1
    unread()
    assert look_into(video) == first


def test_a_changed_file_is_looked_into_again(cache: Path, video: Path) -> None:
    look_into(video)
    make_video(video, n_frames=12)
    assert look_into(video).n_frames == 12
    overwrite(video)
    with pytest.raises(VideoError):
        look_into(video)
    assert len(list(cache.rglob("*.json"))) == 1, "the new look takes the old one's place"


def test_another_file_of_equal_size_and_time_is_looked_into(
    cache: Path, video: Path, tmp_path: Path
) -> None:
    look_into(video)
    other = shutil.copy2(video, tmp_path / "other.mp4")
    overwrite(other)
    os.replace(other, video)
    with pytest.raises(VideoError):
        look_into(video)


def test_errors_are_not_remembered(cache: Path, video: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.mp4"
    path.write_bytes(b"\0" * video.stat().st_size)
    stat = path.stat()
    with pytest.raises(VideoError):
        look_into(path)
    shutil.copy(video, path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert look_into(path).n_frames == 25


def test_a_missing_file(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no such file"):
        look_into(tmp_path / "no.mp4")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"of": 1}', b"\xff", b"null", b"[" * 100_000])
def test_a_broken_cache_is_no_error(cache: Path, video: Path, content: bytes) -> None:
    first = look_into(video)
    (stored,) = cache.rglob("*.json")
    stored.write_bytes(content)
    assert look_into(video) == first
    assert stored.read_bytes() != content


def test_a_pipe_in_the_cache_is_not_waited_for(cache: Path, video: Path) -> None:
    first = look_into(video)
    (stored,) = cache.rglob("*.json")
    stored.unlink()
    os.mkfifo(stored)
    assert look_into(video) == first


def test_a_cache_that_cannot_be_written(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", "/proc/nobody/can/write/here")
    assert look_into(video).n_frames == 25


@pytest.mark.parametrize("keyframes", [(0,), (0, 1), tuple(range(1000)), (0, 12, 24, 31, 43)])
def test_keyframes_as_runs(keyframes: tuple[int, ...]) -> None:
    runs = _compact(keyframes)
    assert _expand(runs) == keyframes
    assert len(runs) <= 3
