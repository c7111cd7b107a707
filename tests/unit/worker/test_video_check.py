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
from raypose.storage import digests
from raypose.storage.digests import Identity, content_digest
from raypose.storage.origins import Origin, VideoRead
from raypose.worker.staging import Staging
from raypose.worker.video_check import Witness
from tests.stores import Store
from tests.videos import damage_unsampled, large_video, make_video

Change = Callable[[Path, Path], None]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_contents", {})


@pytest.fixture
def witness() -> Iterator[Witness]:
    staging = Staging(lambda: False)
    with staging.task():
        yield Witness(staging, lambda: False)
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
    witness: Witness, video: VideoSpec, other: Path, change: Change
) -> None:
    change(Path(video.path), other)
    said = r"the video (changed after the run|is gone: it was there when the run) was planned"
    with witness.task(), pytest.raises(VideoError, match=said) as caught:
        witness.open(video)
    assert caught.value.path == video.path
    assert "run the same command again" in caught.value.hint.lower()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("whole", [True, False])
def test_a_change_while_it_is_read(
    witness: Witness, video: VideoSpec, other: Path, change: Change, whole: bool
) -> None:
    with witness.task():
        witness.open(video)
        change(Path(video.path), other)
        with pytest.raises(VideoError, match=r"the video (changed while it was read|is gone)"):
            witness.seen([video], whole=whole)


@pytest.mark.parametrize("change", CHANGES)
def test_an_error_is_explained_by_a_change(
    witness: Witness, video: VideoSpec, other: Path, change: Change
) -> None:
    error = ValueError("got 0 bytes")
    with witness.task():
        witness.open(video)
        assert witness.explained(error) is error
        change(Path(video.path), other)
        assert isinstance(witness.explained(error), VideoError)


def test_what_was_read(witness: Witness, video: VideoSpec) -> None:
    path = Path(video.path)
    with witness.task():
        assert witness.open(video) == (path, Identity.of(path))
        (part,) = witness.seen([video], whole=False)
        assert part == VideoRead(video.fingerprint, Identity.of(path))
        witness.hash_along(video)
        (whole,) = witness.seen([video])
    assert whole == replace(part, content=content_digest(path, Identity.of(path)))
    assert whole.content


def test_what_the_plan_knows_is_not_read_again(
    witness: Witness, video: VideoSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_xxh3", None)
    with witness.task():
        witness.hash_along(replace(video, content="known"))
        assert witness.seen([video])[0].content == "known"


def test_what_the_table_was_made_from_is_named_too(witness: Witness, video: VideoSpec) -> None:
    with witness.task():
        witness.open(video)
        assert video.identity is not None
        content = content_digest(Path(video.path), video.identity)
        mine = VideoRead(video.fingerprint, video.identity, content, n_bad=3)
        view = VideoRead("view", Identity(1, (("inode", 1),)), "x")
        assert witness.seen([video], behind=Origin("r", (mine, view))) == (mine, view)


def test_a_file_that_was_touched_or_copied_again_is_the_same(
    witness: Witness, video: VideoSpec
) -> None:
    path = Path(video.path)
    shutil.copy(path, path.with_name("copy"))
    os.replace(path.with_name("copy"), path)
    with witness.task():
        witness.open(video)
        (read,) = witness.seen([video], whole=False)
    assert read.identity == Identity.of(path) != video.identity
    assert read.content, "it is not just what the plan saw"


def test_equal_samples_and_other_bytes_before_it_is_opened(
    witness: Witness, large: tuple[Path, Path], tmp_path: Path
) -> None:
    """The record names the bytes that were read, so it may be read."""
    video = spec_of(shutil.copy2(large[1], tmp_path / "cam.mp4"))
    shutil.copy2(large[0], video.path)
    with witness.task():
        witness.open(video)
        (read,) = witness.seen([video], whole=False)
    assert read.content == content_digest(large[0], Identity.of(large[0]))


@pytest.mark.parametrize("along", [True, False])
@pytest.mark.parametrize("change", [replaced, overwritten])
def test_equal_samples_and_other_bytes_while_it_is_read(
    witness: Witness, large: tuple[Path, Path], tmp_path: Path, along: bool, change: Change
) -> None:
    video = spec_of(shutil.copy2(large[1], tmp_path / "cam.mp4"))
    copy = Path(shutil.copy2(large[0], tmp_path / "copy.mp4"))
    with witness.task():
        if along:
            witness.hash_along(video)
        witness.open(video)
        change(Path(video.path), copy)
        with pytest.raises(VideoError, match="changed while it was read"):
            witness.seen([video], whole=False)


def test_an_equal_copy_may_take_its_place_while_it_is_read(
    witness: Witness, video: VideoSpec, tmp_path: Path
) -> None:
    """As a network file system that gives a file another inode does it."""
    copy = shutil.copy2(video.path, tmp_path / "copy.mp4")
    before = Identity.of(Path(video.path))
    with witness.task():
        witness.hash_along(video)
        witness._opened[video.path].hashing.result()  # type: ignore[union-attr]
        os.replace(copy, video.path)
        (read,) = witness.seen([video])
    assert read.identity == before


def test_drawn_on_another_video_than_was_predicted(
    witness: Witness, large: tuple[Path, Path], tmp_path: Path
) -> None:
    damaged = large[1]
    video = spec_of(shutil.copy2(large[0], tmp_path / "cam.mp4"))
    identity = Identity.of(damaged)
    read = VideoRead(video.fingerprint, identity, content_digest(damaged, identity), n_bad=1)
    with witness.task():
        witness.open(video)
        with pytest.raises(VideoError, match="changed after its keypoints were predicted"):
            witness.seen([video], behind=Origin("r", (read,)))


def test_stopped_while_the_digest_is_computed(tmp_path: Path) -> None:
    video = spec_of(make_video(tmp_path / "cam.mp4", n_frames=3))
    witness = Witness(Staging(lambda: True), lambda: True)
    with witness.task():
        witness.hash_along(video)
        with pytest.raises(CancelledError):
            witness.seen([video])


class TestObjects:
    def test_replaced_after_the_plan(
        self, store: Store, witness: Witness, video: VideoSpec, other: Path
    ) -> None:
        url = store.put("v/cam.mp4", Path(video.path).read_bytes())
        planned = replace(video, path=url, identity=identity_of(url))
        store.put("v/cam.mp4", other.read_bytes())
        with witness.task(), pytest.raises(VideoError, match="changed after the run") as caught:
            witness.open(planned)
        assert caught.value.path == url

    def test_gone(self, store: Store, witness: Witness, video: VideoSpec) -> None:
        url = store.put("v/cam.mp4", Path(video.path).read_bytes())
        planned = replace(video, path=url, identity=identity_of(url))
        store.delete("v/cam.mp4")
        with (
            witness.task(),
            pytest.raises(StorageError, match="there is no such object") as caught,
        ):
            witness.open(planned)
        assert caught.value.path == url

    def test_replaced_while_its_copy_is_read(
        self, store: Store, witness: Witness, video: VideoSpec, other: Path
    ) -> None:
        content = content_digest(Path(video.path), Identity.of(Path(video.path)))
        url = store.put("v/cam.mp4", Path(video.path).read_bytes())
        planned = replace(video, path=url, identity=identity_of(url))
        with witness.task():
            copy, identity = witness.open(planned)
            store.put("v/cam.mp4", other.read_bytes())
            (read,) = witness.seen([planned])
            assert copy.read_bytes() == Path(video.path).read_bytes()
        assert read == VideoRead(video.fingerprint, identity, content)


def identity_of(url: str) -> Identity:
    from raypose.storage import as_path

    return Identity.of(as_path(url))
