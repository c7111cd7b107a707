"""From arguments to videos: what is found, how outputs are called, what is said of bad files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from raypose.errors import UsageError, VideoError
from raypose.inputs.videos import FoundVideo, find_videos, inspect_videos, name_videos
from tests.videos import make_video, truncate

ODD_NAMES = ["a b.mp4", "-x.mp4", 'it\'s "q".mp4', "naïve ☃.mp4", "~x.mp4", "[1].mp4", "a:b.mp4"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def names(found: list[FoundVideo]) -> list[str]:
    return [video.path.name for video in found]


def keys(*paths: str) -> list[str]:
    return name_videos([FoundVideo(Path(p), Path(p).parent) for p in paths])


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
        (found,) = find_videos([str(path)])
        assert (found.path, found.root) == (path, tmp_path)

    def test_globs(self, tmp_path: Path) -> None:
        for name in ("d1/cam.mp4", "d2/cam.mp4", "d2/other.mp4", "d2/cam.csv"):
            touch(tmp_path / name)
        found = find_videos([str(tmp_path / "*" / "cam.*")])
        assert [video.path for video in found] == [
            tmp_path / "d1" / "cam.mp4",
            tmp_path / "d2" / "cam.mp4",
        ]

    def test_each_once_in_the_order_given(self, tmp_path: Path) -> None:
        b, a = touch(tmp_path / "b.mp4"), touch(tmp_path / "a.mp4")
        assert names(find_videos([str(b), str(tmp_path), str(a)])) == ["b.mp4", "a.mp4"]

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        path = touch(tmp_path / name)
        monkeypatch.chdir(tmp_path)
        for argument in (name, str(path), "."):
            assert [video.path for video in find_videos([argument])] == [path]

    def test_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        path = touch(tmp_path / "videos" / "a.mp4")
        assert [video.path for video in find_videos(["~/videos"])] == [path]

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


class TestNames:
    def test_stems(self) -> None:
        assert keys("/v/a.mp4", "/w/b.c.avi") == ["a", "b.c"]

    def test_colliding_stems_mirror_their_folders(self) -> None:
        assert keys("/v/d1/cam.mp4", "/v/d2/cam.mp4", "/v/d2/top.mp4") == [
            "d1/cam",
            "d2/cam",
            "top",
        ]

    def test_one_above_the_other(self) -> None:
        assert keys("/v/cam.mp4", "/v/d2/cam.mp4") == ["cam", "d2/cam"]

    def test_suffixes_tell_apart_what_nothing_else_does(self) -> None:
        assert keys("/v/cam.mp4", "/v/cam.avi") == ["cam.mp4", "cam.avi"]
        assert keys("/v/d1/cam.mp4", "/v/d1/cam.avi", "/v/d2/cam.mp4") == [
            "d1/cam.mp4",
            "d1/cam.avi",
            "d2/cam",
        ]

    def test_none(self) -> None:
        assert name_videos([]) == []


class TestInspect:
    def test_what_the_packets_say(self, tmp_path: Path) -> None:
        path = make_video(tmp_path / "a.mp4", n_frames=25, width=96, height=64, fps=25, gop=10)
        (video,) = inspect_videos(find_videos([str(path)]), ["a"])
        assert video.error is None
        spec = video.spec
        assert spec is not None
        assert (spec.n_frames, spec.width, spec.height, spec.fps) == (25, 96, 64, 25.0)
        assert (spec.path, spec.key, spec.duration_s) == (str(path), "a", pytest.approx(1.0))
        assert video.keyframes == (0, 10, 20)
        assert str(video.format) == "h264 yuv420p"

    def test_one_bad_video_leaves_the_others(self, tmp_path: Path) -> None:
        good = make_video(tmp_path / "good.mp4")
        truncate(good, tmp_path / "cut.mp4", 0.4)
        (tmp_path / "empty.mp4").touch()
        (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
        shutil.copy(good, tmp_path / "z.mp4")
        os.mkfifo(tmp_path / "pipe")
        found = [*find_videos([str(tmp_path)]), *find_videos([str(tmp_path / "pipe")])]
        by_name = {v.path.name: v for v in inspect_videos(found, name_videos(found))}
        assert {name for name, v in by_name.items() if v.spec} == {"good.mp4", "z.mp4"}
        for name, words in (
            ("cut.mp4", "index"),
            ("empty.mp4", "empty"),
            ("text.mp4", "not a video"),
            ("pipe", "regular file"),
        ):
            error = by_name[name].error
            assert isinstance(error, VideoError)
            assert words in error.message
            assert error.path == str(tmp_path / name)

    def test_a_video_that_is_gone_meanwhile(self, tmp_path: Path) -> None:
        (video,) = inspect_videos([FoundVideo(tmp_path / "a.mp4", tmp_path)], ["a"])
        assert isinstance(video.error, VideoError)

    def test_fingerprints_tell_content_apart_and_not_names(self, tmp_path: Path) -> None:
        a = make_video(tmp_path / "a.mp4", n_frames=10)
        shutil.copy(a, tmp_path / "b.mp4")
        make_video(tmp_path / "c.mp4", n_frames=11)
        found = find_videos([str(tmp_path)])
        prints = [v.spec.fingerprint for v in inspect_videos(found, name_videos(found)) if v.spec]
        assert prints[0] == prints[1] != prints[2]

    @pytest.mark.parametrize("name", [*ODD_NAMES, os.fsdecode(b"caf\xe9.mp4"), "%03d.mp4"])
    def test_odd_names(self, tmp_path: Path, name: str) -> None:
        os.replace(make_video(tmp_path / "v.mp4", n_frames=5), tmp_path / name)
        found = find_videos([str(tmp_path)])
        (video,) = inspect_videos(found, name_videos(found))
        assert video.spec is not None
        assert (video.spec.n_frames, video.path.name) == (5, name)

    def test_order_is_kept(self, tmp_path: Path) -> None:
        for i in range(8):
            make_video(tmp_path / f"v{i}.mp4", n_frames=20 - i)
        found = find_videos([str(tmp_path)])
        specs = [v.spec for v in inspect_videos(found, name_videos(found), workers=3)]
        assert [spec.n_frames for spec in specs if spec] == list(range(20, 12, -1))
