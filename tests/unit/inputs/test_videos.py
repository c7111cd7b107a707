"""From arguments to videos: what is found, how outputs are called, what is said of bad files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from raypose.errors import NoVideoTrackError, UsageError, VideoError
from raypose.inputs.names import name_videos
from raypose.inputs.probe import known_keyframes
from raypose.inputs.videos import (
    LINK,
    NO_VIDEO,
    OWN,
    FoundVideo,
    FoundVideos,
    Unusable,
    find_videos,
    probe_videos,
)
from raypose.specs import VideoSpec
from raypose.storage import commits
from tests.videos import make_sound, make_video, truncate

ODD_NAMES = ["a b.mp4", "-x.mp4", 'it\'s "q".mp4', "naïve ☃.mp4", "~x.mp4", "[1].mp4", "a:b.mp4"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def names(found: FoundVideos) -> list[str]:
    return [video.path.name for video in found.videos]


def paths(found: FoundVideos) -> list[Path]:
    return [Path(str(video.path)) for video in found.videos]


class TestFind:
    def test_directories_give_videos_by_suffix_and_no_hidden_files(self, tmp_path: Path) -> None:
        for name in ("b.MP4", "a.avi", "c.mov", "d.Mkv", ".e.mp4", "f.csv", "g.mp4.part"):
            touch(tmp_path / name)
        touch(tmp_path / "sub" / "h.mp4")
        assert names(find_videos([str(tmp_path)])) == ["a.avi", "b.MP4", "c.mov", "d.Mkv"]

    def test_recursive(self, tmp_path: Path) -> None:
        touch(tmp_path / "a.mp4")
        touch(tmp_path / "x" / "y" / "b.mp4")
        touch(tmp_path / ".hidden" / "c.mp4")
        assert names(find_videos([str(tmp_path)], recursive=True)) == ["a.mp4", "b.mp4"]

    def test_a_named_file_is_taken_whatever_its_suffix(self, tmp_path: Path) -> None:
        path = touch(tmp_path / "movie.dat")
        (found,) = find_videos([str(path)]).videos
        assert found.path == path

    def test_globs(self, tmp_path: Path) -> None:
        for name in ("d1/cam.mp4", "d2/cam.mp4", "d2/other.mp4", "d2/cam.csv"):
            touch(tmp_path / name)
        found = find_videos([str(tmp_path / "*" / "cam.*")])
        assert paths(found) == [tmp_path / "d1" / "cam.mp4", tmp_path / "d2" / "cam.mp4"]

    def test_each_once_in_the_order_given(self, tmp_path: Path) -> None:
        b, a = touch(tmp_path / "b.mp4"), touch(tmp_path / "a.mp4")
        assert names(find_videos([str(b), str(tmp_path), str(a)])) == ["b.mp4", "a.mp4"]

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        path = touch(tmp_path / name)
        monkeypatch.chdir(tmp_path)
        for argument in (name, str(path), "."):
            assert paths(find_videos([argument])) == [path]

    def test_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        path = touch(tmp_path / "videos" / "a.mp4")
        assert paths(find_videos(["~/videos"])) == [path]

    @pytest.mark.parametrize("argument", ["no.mp4", "~nobody-here/a.mp4", "a" * 300 + "*"])
    def test_what_is_not_there(self, argument: str) -> None:
        with pytest.raises(UsageError) as caught:
            find_videos([argument])
        assert caught.value.path == argument

    def test_an_empty_directory_hints_at_recursive(self, tmp_path: Path) -> None:
        touch(tmp_path / "sub" / "a.mp4")
        with pytest.raises(UsageError, match="--recursive"):
            find_videos([str(tmp_path)])
        with pytest.raises(UsageError, match="no video there"):
            find_videos([str(tmp_path / "*.mp4")])


def record(path: Path) -> Path:
    """A file that raypose has made."""
    with commits.committing(path, {"kind": "label"}) as temporary:
        temporary.write_bytes(b"video")
    return path


def excluded(found: FoundVideos) -> dict[str, str]:
    return {item.path.name: item.reason for item in found.excluded}


class TestLeftOut:
    def test_what_raypose_made_is_no_input(self, tmp_path: Path) -> None:
        touch(tmp_path / "cam.mp4")
        preds = tmp_path / "out" / "a" / "video_preds"
        record(preds / "labeled_videos" / "cam_labeled.mp4")
        record(preds / "snippets" / "cam.short.mp4")
        # In the Pose-app's layout they lie beside the tables, and here a user's video as well.
        touch(tmp_path / "infer" / "mine.mp4")
        record(tmp_path / "infer" / "cam.labeled.mp4")
        found = find_videos([str(tmp_path)], recursive=True)
        assert names(found) == ["cam.mp4", "mine.mp4"]
        made = ("cam_labeled.mp4", "cam.short.mp4", "cam.labeled.mp4")
        assert excluded(found) == dict.fromkeys(made, OWN)
        found = find_videos([f"{tmp_path}/**/*.mp4"])
        assert names(found) == ["cam.mp4", "mine.mp4"]
        assert excluded(found) == dict.fromkeys(made, OWN)

    def test_nor_is_it_when_it_is_named(self, tmp_path: Path) -> None:
        # A shell that expands a pattern names it too.
        mine, ours = touch(tmp_path / "a.mp4"), record(tmp_path / "a_labeled.mp4")
        found = find_videos([str(mine), str(ours)])
        assert names(found) == ["a.mp4"]
        assert excluded(found) == {"a_labeled.mp4": OWN}
        with pytest.raises(UsageError, match=r"no video there: outputs of raypose \(1\)"):
            find_videos([str(ours)])

    def test_a_link_to_a_video_that_is_found_counts_once(self, tmp_path: Path) -> None:
        touch(tmp_path / "raw" / "cam.mp4")
        (tmp_path / "best.mp4").symlink_to("raw/cam.mp4")
        (tmp_path / "also").symlink_to("raw")
        found = find_videos([str(tmp_path)], recursive=True)
        assert paths(found) == [tmp_path / "raw" / "cam.mp4"]
        assert excluded(found) == {"best.mp4": LINK}
        found = find_videos([str(tmp_path / "also"), str(tmp_path / "raw")])
        assert (paths(found), excluded(found)) == ([tmp_path / "also" / "cam.mp4"], {})

    def test_links_to_files_elsewhere_are_videos_of_their_own(self, tmp_path: Path) -> None:
        touch(tmp_path / "disk" / "000123.mp4")
        (tmp_path / "videos").mkdir()
        for name in ("r1_top.mp4", "r2_top.mp4"):
            (tmp_path / "videos" / name).symlink_to(tmp_path / "disk" / "000123.mp4")
        found = find_videos([str(tmp_path / "videos")])
        assert (names(found), excluded(found)) == (["r1_top.mp4", "r2_top.mp4"], {})

    def test_texts_with_the_suffix_of_transport_streams(self, tmp_path: Path) -> None:
        (tmp_path / "index.ts").write_text("export const café = 1;\n" * 500, encoding="utf-8")
        (tmp_path / "module.mts").write_text("export {};\n")
        make_video(tmp_path / "cam.ts", n_frames=5)
        (tmp_path / "torn.ts").write_bytes(bytes(range(256)) * 9)
        (tmp_path / "page.mp4").write_text("<html>404</html>")
        found = find_videos([str(tmp_path)])
        assert names(found) == ["cam.ts", "page.mp4", "torn.ts"]
        assert excluded(found) == {"index.ts": NO_VIDEO, "module.mts": NO_VIDEO}

    def test_links_that_lead_nowhere_leave_the_others(self, tmp_path: Path) -> None:
        touch(tmp_path / "a.mp4")
        (tmp_path / "b.mp4").symlink_to("gone.mp4")
        for argument in (tmp_path, tmp_path / "*.mp4"):
            found = find_videos([str(argument)])
            assert names(found) == ["a.mp4"]
            assert [error.path for error in found.broken] == [str(tmp_path / "b.mp4")]
        found = find_videos([str(tmp_path / "b.mp4")])
        assert len(found.broken) == 1 and not found.videos


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.M4V", "libx264"),
        ("a.mpg", "mpeg2video"),
        ("a.mpeg", "mpeg1video"),
        ("a.webm", "libvpx"),
        ("a.wmv", "wmv2"),
        ("a.ts", "libx264"),
        ("a.MTS", "libx264"),
        ("a.m2ts", "libx264"),
    ],
)
def test_every_suffix_of_videos(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    make_video(path.with_suffix(path.suffix.lower()), n_frames=20, codec=codec).rename(path)
    (video,) = probe_videos(find_videos([str(tmp_path)]).videos, ["a"])
    assert isinstance(video, VideoSpec), video.error
    assert video.n_frames == n_frames_of_opencv(path) == 20


def n_frames_of_opencv(path: Path) -> int:
    import cv2

    capture = cv2.VideoCapture(str(path))
    n = 0
    while capture.read()[0]:
        n += 1
    return n


@pytest.mark.parametrize(
    ("name", "cover"),
    [("a.mp4", False), ("a.mp4", True), ("a.wmv", False), ("a.webm", False), ("a.ts", False)],
)
def test_sound_alone_is_no_video(tmp_path: Path, name: str, cover: bool) -> None:
    path = make_sound(tmp_path / name, cover=cover)
    (found,) = probe_videos([FoundVideo(path)], ["a"])
    assert isinstance(found, Unusable)
    assert isinstance(found.error, NoVideoTrackError)
    assert found.error.path == str(path)


class TestProbe:
    def test_what_the_packets_say(self, tmp_path: Path) -> None:
        path = make_video(tmp_path / "a.mp4", n_frames=25, width=96, height=64, fps=25, gop=10)
        (video,) = probe_videos(find_videos([str(path)]).videos, ["a"])
        assert isinstance(video, VideoSpec)
        assert (video.n_frames, video.width, video.height, video.fps) == (25, 96, 64, 25.0)
        assert (video.path, video.key, video.duration_s) == (str(path), "a", pytest.approx(1.0))
        assert known_keyframes(video) == [0, 10, 20]
        assert video.format == "h264 yuv420p"

    def test_one_bad_video_leaves_the_others(self, tmp_path: Path) -> None:
        good = make_video(tmp_path / "good.mp4")
        truncate(good, tmp_path / "cut.mp4", 0.4)
        (tmp_path / "empty.mp4").touch()
        (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
        shutil.copy(good, tmp_path / "z.mp4")
        os.mkfifo(tmp_path / "pipe")
        found = find_videos([str(tmp_path), str(tmp_path / "pipe")]).videos
        by_name = {Path(v.path).name: v for v in probe_videos(found, name_videos(found))}
        usable = {name for name, v in by_name.items() if isinstance(v, VideoSpec)}
        assert usable == {"good.mp4", "z.mp4"}
        for name, words in (
            ("cut.mp4", "index"),
            ("empty.mp4", "empty"),
            ("text.mp4", "not a video"),
            ("pipe", "regular file"),
        ):
            video = by_name[name]
            assert isinstance(video, Unusable)
            error = video.error
            assert words in error.message
            assert error.path == str(tmp_path / name)

    def test_a_video_that_is_gone_meanwhile(self, tmp_path: Path) -> None:
        (video,) = probe_videos([FoundVideo(tmp_path / "a.mp4")], ["a"])
        assert isinstance(video, Unusable) and isinstance(video.error, VideoError)

    def test_fingerprints_tell_content_apart_and_not_names(self, tmp_path: Path) -> None:
        a = make_video(tmp_path / "a.mp4", n_frames=10)
        shutil.copy(a, tmp_path / "b.mp4")
        make_video(tmp_path / "c.mp4", n_frames=11)
        found = find_videos([str(tmp_path)]).videos
        specs = probe_videos(found, name_videos(found))
        prints = [video.fingerprint for video in specs if isinstance(video, VideoSpec)]
        assert prints[0] == prints[1] != prints[2]

    @pytest.mark.parametrize("name", [*ODD_NAMES, os.fsdecode(b"caf\xe9.mp4"), "%03d.mp4"])
    def test_odd_names(self, tmp_path: Path, name: str) -> None:
        os.replace(make_video(tmp_path / "v.mp4", n_frames=5), tmp_path / name)
        found = find_videos([str(tmp_path)]).videos
        (video,) = probe_videos(found, name_videos(found))
        assert isinstance(video, VideoSpec)
        assert (video.n_frames, Path(video.path).name) == (5, name)

    def test_order_is_kept(self, tmp_path: Path) -> None:
        for i in range(8):
            make_video(tmp_path / f"v{i}.mp4", n_frames=20 - i)
        found = find_videos([str(tmp_path)]).videos
        specs = probe_videos(found, name_videos(found))
        assert [v.n_frames for v in specs if isinstance(v, VideoSpec)] == list(range(20, 12, -1))
