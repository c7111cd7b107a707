"""Videos that change after the plan, before they are opened or while they are read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from raypose.errors import CancelledError, StorageError, VideoError
from raypose.inputs.probe import probe
from raypose.specs import VideoSpec
from raypose.storage import as_path, digests, identity_of
from raypose.storage.digests import content_digest
from raypose.storage.identity import Identity
from raypose.storage.origins import Origin, VideoRead
from raypose.worker.video_check import Staging, VideoCheck
from tests.stores import Store
from tests.videos import damage_unsampled, large_video, make_video

Change = Callable[[Path, Path], None]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_contents", {})


@pytest.fixture
def video_check() -> Iterator[VideoCheck]:
    staging = Staging(lambda: False)
    with staging.task():
        yield VideoCheck(staging, lambda: False)
    staging.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A video, and a damaged copy that has the same fingerprint, size and times."""
    folder = tmp_path_factory.mktemp("large")
    intact = large_video(folder / "intact.mp4")
    return intact, damage_unsampled(intact, folder / "damaged.mp4")


def spec_of(path: Path | str) -> VideoSpec:
    return probe(Path(path), "cam")


@pytest.fixture
def video(tmp_path: Path) -> VideoSpec:
    return spec_of(make_video(tmp_path / "cam.mp4", n_frames=12))


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another video, of another size."""
    return make_video(tmp_path / "other.mp4", n_frames=8)


def replaced(path: Path, other: Path) -> None:
    os.replace(other, path)


def overwritten(path: Path, other: Path) -> None:
    """In the same file, as `cp` does it, with the old time of modification."""
    times = path.stat()
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def cut(path: Path, other: Path) -> None:
    os.truncate(path, 100)


def removed(path: Path, other: Path) -> None:
    path.unlink()


CHANGES = [replaced, overwritten, cut, removed]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_before_it_is_opened(
    video_check: VideoCheck, video: VideoSpec, other: Path, change: Change
) -> None:
    change(Path(video.path), other)
    said = r"the video (changed after the run|is gone: it was there when the run) was planned"
    with video_check.task(), pytest.raises(VideoError, match=said) as caught:
        video_check.open(video)
    assert caught.value.path == video.path
    assert "run the same command again" in caught.value.hint.lower()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("whole", [True, False])
def test_a_change_while_it_is_read(
    video_check: VideoCheck, video: VideoSpec, other: Path, change: Change, whole: bool
) -> None:
    with video_check.task():
        video_check.open(video)
        change(Path(video.path), other)
        with pytest.raises(VideoError, match=r"the video (changed while it was read|is gone)"):
            video_check.seen([video], whole=whole)


@pytest.mark.parametrize("change", CHANGES)
def test_an_error_is_explained_by_a_change(
    video_check: VideoCheck, video: VideoSpec, other: Path, change: Change
) -> None:
    error = ValueError("got 0 bytes")
    with video_check.task():
        video_check.open(video)
        assert video_check.explained(error) is error
        change(Path(video.path), other)
        assert isinstance(video_check.explained(error), VideoError)


def test_what_was_read(video_check: VideoCheck, video: VideoSpec) -> None:
    path = Path(video.path)
    with video_check.task():
        assert video_check.open(video) == (path, identity_of(path))
        (part,) = video_check.seen([video], whole=False)
        assert part == VideoRead(video.fingerprint, identity_of(path))
        video_check.hash_along(video)
        (whole,) = video_check.seen([video])
    assert whole == replace(part, content=content_digest(path, identity_of(path)))
    assert whole.content


def test_what_the_plan_knows_is_not_read_again(
    video_check: VideoCheck, video: VideoSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_xxh3", None)
    with video_check.task():
        video_check.hash_along(replace(video, content="known"))
        assert video_check.seen([video])[0].content == "known"


def test_what_the_table_was_made_from_is_named_too(
    video_check: VideoCheck, video: VideoSpec
) -> None:
    with video_check.task():
        video_check.open(video)
        assert video.identity is not None
        content = content_digest(Path(video.path), video.identity)
        mine = VideoRead(video.fingerprint, video.identity, content, n_bad=3)
        view = VideoRead("view", Identity(1, inode=1), "x")
        assert video_check.seen([video], behind=Origin("r", (mine, view))) == (mine, view)


def test_a_file_that_was_touched_or_copied_again_is_the_same(
    video_check: VideoCheck, video: VideoSpec
) -> None:
    path = Path(video.path)
    shutil.copy(path, path.with_name("copy"))
    os.replace(path.with_name("copy"), path)
    with video_check.task():
        video_check.open(video)
        (read,) = video_check.seen([video], whole=False)
    assert read.identity == identity_of(path) != video.identity
    assert read.content, "it is not just what the plan saw"


def test_equal_samples_and_other_bytes_before_it_is_opened(
    video_check: VideoCheck, large: tuple[Path, Path], tmp_path: Path
) -> None:
    """The record names the bytes that were read, so it may be read."""
    video = spec_of(shutil.copy2(large[1], tmp_path / "cam.mp4"))
    shutil.copy2(large[0], video.path)
    with video_check.task():
        video_check.open(video)
        (read,) = video_check.seen([video], whole=False)
    assert read.content == content_digest(large[0], identity_of(large[0]))


@pytest.mark.parametrize("along", [True, False])
@pytest.mark.parametrize("change", [replaced, overwritten])
def test_equal_samples_and_other_bytes_while_it_is_read(
    video_check: VideoCheck, large: tuple[Path, Path], tmp_path: Path, along: bool, change: Change
) -> None:
    video = spec_of(shutil.copy2(large[1], tmp_path / "cam.mp4"))
    copy = Path(shutil.copy2(large[0], tmp_path / "copy.mp4"))
    with video_check.task():
        if along:
            video_check.hash_along(video)
        video_check.open(video)
        change(Path(video.path), copy)
        with pytest.raises(VideoError, match="changed while it was read"):
            video_check.seen([video], whole=False)


def test_an_equal_copy_may_take_its_place_while_it_is_read(
    video_check: VideoCheck, video: VideoSpec, tmp_path: Path
) -> None:
    """As a network file system that gives a file another inode does it."""
    copy = shutil.copy2(video.path, tmp_path / "copy.mp4")
    before = identity_of(Path(video.path))
    with video_check.task():
        video_check.hash_along(video)
        video_check._opened[video.path].hashing.result()  # type: ignore[union-attr]
        os.replace(copy, video.path)
        (read,) = video_check.seen([video])
    assert read.identity == before


def test_drawn_on_another_video_than_was_predicted(
    video_check: VideoCheck, large: tuple[Path, Path], tmp_path: Path
) -> None:
    damaged = large[1]
    video = spec_of(shutil.copy2(large[0], tmp_path / "cam.mp4"))
    identity = identity_of(damaged)
    read = VideoRead(video.fingerprint, identity, content_digest(damaged, identity), n_bad=1)
    with video_check.task():
        video_check.open(video)
        with pytest.raises(VideoError, match="changed after its keypoints were predicted"):
            video_check.seen([video], behind=Origin("r", (read,)))


def test_stopped_while_the_digest_is_computed(tmp_path: Path) -> None:
    video = spec_of(make_video(tmp_path / "cam.mp4", n_frames=3))
    video_check = VideoCheck(Staging(lambda: True), lambda: True)
    with video_check.task():
        video_check.hash_along(video)
        with pytest.raises(CancelledError):
            video_check.seen([video])


class TestObjects:
    def test_replaced_after_the_plan(
        self, store: Store, video_check: VideoCheck, video: VideoSpec, other: Path
    ) -> None:
        url = store.put("v/cam.mp4", Path(video.path).read_bytes())
        planned = replace(video, path=url, identity=identity_of(as_path(url)))
        store.put("v/cam.mp4", other.read_bytes())
        with (
            video_check.task(),
            pytest.raises(VideoError, match="changed after the run") as caught,
        ):
            video_check.open(planned)
        assert caught.value.path == url

    def test_gone(self, store: Store, video_check: VideoCheck, video: VideoSpec) -> None:
        url = store.put("v/cam.mp4", Path(video.path).read_bytes())
        planned = replace(video, path=url, identity=identity_of(as_path(url)))
        store.delete("v/cam.mp4")
        with (
            video_check.task(),
            pytest.raises(StorageError, match="there is no such object") as caught,
        ):
            video_check.open(planned)
        assert caught.value.path == url

    def test_replaced_while_its_copy_is_read(
        self, store: Store, video_check: VideoCheck, video: VideoSpec, other: Path
    ) -> None:
        content = content_digest(Path(video.path), identity_of(Path(video.path)))
        url = store.put("v/cam.mp4", Path(video.path).read_bytes())
        planned = replace(video, path=url, identity=identity_of(as_path(url)))
        with video_check.task():
            copy, identity = video_check.open(planned)
            store.put("v/cam.mp4", other.read_bytes())
            (read,) = video_check.seen([planned])
            assert copy.read_bytes() == Path(video.path).read_bytes()
        assert read == VideoRead(video.fingerprint, identity, content)
