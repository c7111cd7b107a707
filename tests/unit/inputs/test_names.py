"""How outputs are called, and that a name stays once it was given."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import pytest

from raypose.inputs.names import GivenNames, name_recordings, name_videos
from raypose.inputs.sessions import Recording
from raypose.inputs.videos import FoundVideo
from raypose.storage import commits


def found(*paths: Path | str) -> list[FoundVideo]:
    return [FoundVideo(Path(path)) for path in paths]


def keys(*paths: str) -> list[str]:
    return name_videos(found(*paths))


class TestBaseNames:
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


class Lab:
    """Folders of videos, and the outputs of two models."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.owners = [root / "out" / name / "video_preds" for name in ("a", "b")]

    def video(self, name: str) -> Path:
        path = self.root / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    def commit(self, key: str, source: Path, owner: int = 0) -> None:
        output = self.owners[owner] / f"{key}.csv"
        with commits.committing(output, {}, source=str(source)) as temporary:
            temporary.write_text("table")

    def names(self, *paths: Path) -> list[str]:
        return name_videos(found(*paths), GivenNames(self.owners, ".csv"))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


class TestGivenNames:
    def test_a_new_video_does_not_rename_another(self, lab: Lab) -> None:
        first, second = lab.video("day1/cam.mp4"), lab.video("day2/cam.mp4")
        lab.commit("cam", first)
        assert lab.names(first, second) == ["cam", "day2/cam"]

    def test_what_was_named_by_its_folder_keeps_that_when_it_is_alone(self, lab: Lab) -> None:
        first = lab.video("day1/cam.mp4")
        lab.commit("day1/cam", first)
        assert lab.names(first) == ["day1/cam"]

    def test_a_suffix_once_given_stays_away_or_there(self, lab: Lab) -> None:
        mp4, avi = lab.video("cam.mp4"), lab.video("cam.avi")
        lab.commit("cam", mp4)
        assert lab.names(mp4, avi) == ["cam", "cam.avi"]
        lab.commit("cam.avi", avi)
        assert lab.names(avi) == ["cam.avi"]

    def test_order_does_not_matter(self, lab: Lab) -> None:
        videos = [lab.video(f"day{i}/cam.mp4") for i in range(4)]
        lab.commit("cam", videos[2])
        expected = ["day0/cam", "day1/cam", "cam", "day3/cam"]
        for order in itertools.permutations(range(4)):
            names = lab.names(*(videos[i] for i in order))
            assert names == [expected[i] for i in order]

    def test_outputs_of_a_run_that_goes_on_change_no_name(self, lab: Lab) -> None:
        # Drivers of a job array plan at different times, between one another's commits.
        videos = [lab.video(f"day{i}/cam.mp4") for i in range(4)]
        lab.commit("cam", videos[1], owner=1)
        names = lab.names(*videos)
        for video, name in zip(videos, names, strict=True):
            for owner in (0, 1):
                lab.commit(name, video, owner)
                assert lab.names(*videos) == names

    def test_a_name_that_two_models_give_to_two_videos_is_no_ones(self, lab: Lab) -> None:
        first, second = lab.video("day1/cam.mp4"), lab.video("day2/cam.mp4")
        lab.commit("cam", first, owner=0)
        lab.commit("cam", second, owner=1)
        assert lab.names(first, second) == ["day1/cam", "day2/cam"]

    def test_a_video_above_another_makes_way_for_it(self, lab: Lab) -> None:
        above, below = lab.video("cam.mp4"), lab.video("day1/cam.mp4")
        lab.commit("cam", below)
        assert lab.names(above, below) == ["videos/cam", "cam"]

    def test_the_folders_of_the_videos_may_move(self, lab: Lab) -> None:
        first, second = lab.video("day1/cam.mp4"), lab.video("day2/cam.mp4")
        lab.commit("cam", first)
        shutil.move(lab.root / "videos", lab.root / "archive")
        moved = [lab.root / "archive" / p.parent.name / p.name for p in (first, second)]
        assert lab.names(*moved) == ["cam", "day2/cam"]

    def test_a_link_to_the_folder_leads_to_the_same_video(self, lab: Lab) -> None:
        first, second = lab.video("day1/cam.mp4"), lab.video("day2/cam.mp4")
        lab.commit("cam", first)
        (lab.root / "link").symlink_to(lab.root / "videos")
        linked = [lab.root / "link" / p.parent.name / p.name for p in (first, second)]
        assert lab.names(*linked) == ["cam", "day2/cam"]

    @pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"source": 5}', b"{}"])
    def test_a_record_that_says_nothing_gives_no_name(self, lab: Lab, content: bytes) -> None:
        first, second = lab.video("day1/cam.mp4"), lab.video("day2/cam.mp4")
        lab.commit("cam", first)
        (lab.owners[0] / ".raypose" / "cam.csv.json").write_bytes(content)
        assert lab.names(first, second) == ["day1/cam", "day2/cam"]

    def test_odd_names(self, lab: Lab) -> None:
        name = os.fsdecode(b"caf\xe9 [1].mp4")
        first, second = lab.video(f"day1/{name}"), lab.video(f"day2/{name}")
        lab.commit(first.stem, first)
        assert lab.names(first, second) == [first.stem, f"day2/{first.stem}"]


def test_a_recording_keeps_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "eks" / "smooth_params"
    source = tmp_path / "day1" / "r1_top.mp4"
    with commits.committing(folder / "r1.json", {}, source=str(source)) as temporary:
        temporary.write_text("{}")
    days = [
        Recording(f"day{i}/r1", (("top", tmp_path / f"day{i}" / "r1_top.mp4"),)) for i in (1, 2)
    ]
    named = name_recordings(days, GivenNames([folder], ".json"))
    assert [recording.name for recording in named] == ["r1", "day2/r1"]
    (alone,) = name_recordings([Recording("r1", days[1].files)], GivenNames([folder], ".json"))
    assert alone.name == "r1", "the clash of outputs is for the plan to see"
