"""Which files are views of one recording, and what is said of those that are none."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypose.errors import UsageError
from raypose.inputs.sessions import Grouping, group_by_view, read_session_list
from raypose.limits import MAX_SESSION_LIST_BYTES

VIEWS = ("top", "side")


def group(*files: str, views: tuple[str, ...] = VIEWS) -> Grouping:
    return group_by_view([Path("/data", file) for file in files], views)


def found(grouping: Grouping) -> dict[str, dict[str, str]]:
    return {
        recording.name: {view: path.relative_to("/data").as_posix() for view, path in r}
        for recording in grouping.recordings
        for r in [recording.files]
    }


def unmatched(grouping: Grouping) -> dict[str, str]:
    return {path.relative_to("/data").as_posix(): reason for path, reason in grouping.unmatched}


class TestByStem:
    @pytest.mark.parametrize(
        ("top", "side", "name"),
        [
            ("rec1_top.mp4", "rec1_side.mp4", "rec1"),
            ("top_rec1.mp4", "side_rec1.mp4", "rec1"),
            ("rec1_top_day2.mp4", "rec1_side_day2.mp4", "rec1_day2"),
            ("rec1.top-day2.mp4", "rec1.side-day2.mp4", "rec1.day2"),
            ("rec 1 top.mp4", "rec 1 side.avi", "rec 1"),
            ("-rec1_top.mp4", "-rec1_side.mp4", "-rec1"),
            ("top_rec1_top.mp4", "side_rec1_side.mp4", "rec1"),
            ("rec1_Top.mp4", "rec1_SIDE.mp4", "rec1"),
        ],
    )
    def test_the_recording_is_called_by_what_is_left(self, top: str, side: str, name: str) -> None:
        grouping = group(side, top)
        assert found(grouping) == {name: {"top": top, "side": side}}
        assert list(found(grouping)[name]) == ["top", "side"]
        assert grouping.unmatched == ()

    def test_a_view_is_a_whole_part_of_the_name(self) -> None:
        grouping = group("mousetop_side.mp4", "mousetop_top.mp4", "laptop.mp4")
        assert found(grouping) == {
            "mousetop": {"top": "mousetop_top.mp4", "side": "mousetop_side.mp4"}
        }
        assert unmatched(grouping) == {"laptop.mp4": "names none of the views top, side"}

    def test_the_longer_view_hides_the_shorter(self) -> None:
        views = ("top", "top_left", "left")
        grouping = group("r_top_left.mp4", "r_top.mp4", "r_left.mp4", views=views)
        assert found(grouping) == {
            "r": {"top": "r_top.mp4", "top_left": "r_top_left.mp4", "left": "r_left.mp4"}
        }

    def test_a_shorter_view_elsewhere_in_the_name_is_not_hidden(self) -> None:
        grouping = group("top_left_r_top.mp4", views=("top", "top_left"))
        assert unmatched(grouping) == {"top_left_r_top.mp4": "names two views: top, top_left"}

    def test_separators_within_a_view_may_differ(self) -> None:
        grouping = group("r_top-left.mp4", "r_side.mp4", views=("top_left", "side"))
        assert found(grouping)["r"]["top_left"] == "r_top-left.mp4"

    def test_case_decides_where_it_can(self) -> None:
        views = ("cam", "Cam")
        assert found(group("r_cam.mp4", "r_Cam.mp4", views=views)) == {
            "r": {"cam": "r_cam.mp4", "Cam": "r_Cam.mp4"}
        }
        assert unmatched(group("r_CAM.mp4", views=views)) == {
            "r_CAM.mp4": "names two views: cam, Cam"
        }

    def test_two_views_in_one_name_are_no_guess(self) -> None:
        grouping = group("a_top_side.mp4", "a_top.mp4")
        assert unmatched(grouping) == {"a_top_side.mp4": "names two views: top, side"}
        assert grouping.recordings[0].missing == ("side",)

    def test_a_second_file_of_a_view(self) -> None:
        grouping = group("r_top.mp4", "r_side.mp4", "r_top.avi")
        assert found(grouping) == {"r": {"top": "r_top.mp4", "side": "r_side.mp4"}}
        assert unmatched(grouping) == {
            "r_top.avi": "is the second file of view top of r: /data/r_top.mp4 is taken"
        }

    def test_the_same_file_twice_is_one(self) -> None:
        assert group("r_top.mp4", "r_side.mp4", "r_top.mp4").unmatched == ()

    def test_no_files(self) -> None:
        assert group() == Grouping(VIEWS, ())


class TestByFolder:
    def test_a_folder_for_each_view(self) -> None:
        grouping = group("top/r1.mp4", "top/r2.mp4", "side/r1.mp4", "side/r2.mp4")
        assert found(grouping) == {
            "r1": {"top": "top/r1.mp4", "side": "side/r1.mp4"},
            "r2": {"top": "top/r2.mp4", "side": "side/r2.mp4"},
        }

    @pytest.mark.parametrize("pattern", ["{day}/{view}/r.mp4", "{view}/{day}/r.mp4"])
    def test_folders_tell_recordings_of_one_name_apart(self, pattern: str) -> None:
        files = [pattern.format(day=day, view=view) for day in ("d1", "d2") for view in VIEWS]
        assert list(found(group(*files))) == ["d1/r", "d2/r"]

    def test_a_folder_for_each_recording(self) -> None:
        grouping = group("r1/top.mp4", "r1/side.mp4", "r2/top.mp4")
        assert found(grouping) == {
            "r1": {"top": "r1/top.mp4", "side": "r1/side.mp4"},
            "r2": {"top": "r2/top.mp4"},
        }
        assert [r.missing for r in grouping.recordings] == [(), ("side",)]

    def test_a_single_recording_called_by_its_folder(self) -> None:
        assert list(found(group("r1/top.mp4", "r1/side.mp4"))) == ["r1"]

    def test_the_folder_that_all_files_are_in(self) -> None:
        assert found(group("top/r1.mp4", "top/r2.mp4")) == {
            "r1": {"top": "top/r1.mp4"},
            "r2": {"top": "top/r2.mp4"},
        }

    def test_folder_and_stem_say_the_same(self) -> None:
        grouping = group("top/r_top.mp4", "side/r_side.mp4")
        assert list(found(grouping)) == ["r"]

    def test_a_folder_with_files_of_several_views_names_none(self) -> None:
        # `left` is where the mouse went, and the name of a camera as well.
        views = ("left", "right")
        files = [f"{went}/r_{view}.mp4" for went in views for view in views]
        grouping = group(*files, views=views)
        assert found(grouping) == {
            "left/r": {"left": "left/r_left.mp4", "right": "left/r_right.mp4"},
            "right/r": {"left": "right/r_left.mp4", "right": "right/r_right.mp4"},
        }

    def test_a_part_of_a_folder_is_not_enough(self) -> None:
        grouping = group("cam_top/r.mp4", "side/r.mp4")
        assert unmatched(grouping) == {"cam_top/r.mp4": "names none of the views top, side"}

    def test_folders_of_two_views(self) -> None:
        grouping = group("top/side/r.mp4", "r_top.mp4")
        assert unmatched(grouping) == {"top/side/r.mp4": "names two views: top, side"}


def test_what_comes_out_is_what_went_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    files = [Path("r_top.csv"), Path("../x/r_side.csv"), Path("other.csv")]
    grouping = group_by_view(files, VIEWS)
    out = [file for r in grouping.recordings for _, file in r.files]
    assert {*out, *(file for file, _ in grouping.unmatched)} == set(files)


@pytest.mark.parametrize("views", [(), ("top", ""), ("top", "top"), ("a_b", "a-b"), ("_",)])
def test_views_that_cannot_be_used(views: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        group("r_top.mp4", views=views)


class TestList:
    def write(self, tmp_path: Path, text: str) -> Path:
        path = tmp_path / "list.csv"
        path.write_text(text)
        return path

    def test_paths_are_relative_to_the_list(self, tmp_path: Path) -> None:
        text = "\ufeffsession,top,side\nday1/r1,a/x.mp4,/y/b.mp4\n\nr2, ,c d.mp4\n"
        grouping = read_session_list(self.write(tmp_path, text))
        assert grouping.views == ("top", "side")
        first, second = grouping.recordings
        assert first.name == "day1/r1"
        assert first.files == (("top", tmp_path / "a" / "x.mp4"), ("side", Path("/y/b.mp4")))
        assert (second.files, second.missing) == ((("side", tmp_path / "c d.mp4"),), ("top",))

    def test_urls(self, tmp_path: Path) -> None:
        text = "session,top,side\nr1,s3://lab/a/x.mp4,file:///y/b%20c.mp4\n"
        (recording,) = read_session_list(self.write(tmp_path, text)).recordings
        assert [str(path) for _, path in recording.files] == ["s3://lab/a/x.mp4", "/y/b c.mp4"]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "does not name a column session"),
            ("top,side\na,b\n", "does not name a column session"),
            ("session\nr1\n", "no views"),
            ("session,top,top\nr1,a,b\n", "does not name"),
            ("session,top,\nr1,a,b\n", "does not name"),
            ("session,top\n", "lists no session"),
            ("session,top,side\nr1,a\n", "line 2 has 2 fields"),
            ("session,top\nr1,a\nr1,b\n", "r1 is in line 2 and in line 3"),
            ("session,top,side\nr1,a,b\nr2,c,b\n", "in line 2 and in line 3"),
            ("session,top\n../r1,a\n", "can't be the name"),
            ("session,top\n/r1,a\n", "can't be the name"),
            ("session,top\n,a\n", "can't be the name"),
            ("session,top,side\nr1,,\n", "has no file"),
            ('session,top\nr1,"a\n', "is no CSV"),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path: Path, text: str, said: str) -> None:
        path = self.write(tmp_path, text)
        with pytest.raises(UsageError, match=said) as caught:
            read_session_list(path)
        assert caught.value.path == str(path)

    def test_a_list_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="can't be read"):
            read_session_list(tmp_path / "no.csv")

    @pytest.mark.parametrize(
        ("text", "encoding"),
        [
            ("session;top;side\r\nr1;a.mp4;b.mp4\r\n", "utf-8-sig"),
            ("session\ttop\tside\nr1\ta.mp4\tb.mp4", "utf-16"),
            ("session,top,side\rr1,a.mp4,b.mp4\r", "utf-8"),
            (' session , top, side\n"r1",a.mp4 , b.mp4\n', "utf-8"),
        ],
    )
    def test_what_spreadsheets_write_is_read(
        self, tmp_path: Path, text: str, encoding: str
    ) -> None:
        path = tmp_path / "list.csv"
        path.write_bytes(text.encode(encoding))
        (recording,) = read_session_list(path).recordings
        assert recording.name == "r1"
        assert recording.files == (("top", tmp_path / "a.mp4"), ("side", tmp_path / "b.mp4"))

    def test_what_is_no_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for name, said in (("none", "No such file"), ("pipe", "a named pipe"), (".", "directory")):
            with pytest.raises(UsageError, match=said):
                read_session_list(tmp_path / name)

    def test_the_largest_list(self, tmp_path: Path) -> None:
        blank = (" " * 100_000 + "\n") * (MAX_SESSION_LIST_BYTES // 100_001 + 1)
        rows = "session,top,side\nr,a.mp4,b.mp4\n" + blank
        path = self.write(tmp_path, rows[:MAX_SESSION_LIST_BYTES])
        assert len(read_session_list(path).recordings) == 1
        with path.open("a") as file:
            file.write("\n")
        with pytest.raises(UsageError, match=f"larger than {MAX_SESSION_LIST_BYTES} bytes"):
            read_session_list(path)

    @settings(max_examples=3 * settings().max_examples, deadline=None)
    @given(
        st.binary(max_size=80)
        | st.lists(
            st.sampled_from(
                ["session", "top", "side", "r1", "a.mp4", "s3://b/k", "s3://", "x://y", "/", "~"]
                + 3 * [",", "\n"]
                + [";", "\t", '"', " ", "..", "\0", "\ud7ff", "\r", "file:///a"]
            )
        ).map(lambda words: f"session,top,side\n{''.join(words)}".encode())
    )
    def test_any_bytes_are_a_list_or_an_error(self, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "list.csv"
            path.write_bytes(content)
            try:
                grouping = read_session_list(path)
            except UsageError as error:
                assert error.path
            else:
                assert grouping.recordings
                assert all(r.files and r.name for r in grouping.recordings)
