"""What a worker sees of the driver's files, and what it may do in a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from raypose.errors import Failure
from raypose.worker.storage_check import IoPaths, check_storage, marker_files
from tests.stores import Fault, Store


def io_paths(*videos: object, roots: tuple[object, ...] = ()) -> IoPaths:
    return IoPaths(tuple(map(str, videos)), tuple(map(str, roots)), "seen-1")


def test_who_sees_everything_is_not_refused(store: Store, tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.touch()
    here = io_paths(video, store.put("v.mp4", b"x"), roots=(tmp_path / "out", "s3://lab/out"))
    with marker_files(here):
        assert check_storage(here) is None
    assert store.keys() == ["v.mp4"]
    assert list((tmp_path / "out").iterdir()) == []


def test_a_mark_leaves_what_is_there(tmp_path: Path) -> None:
    kept = tmp_path / ".raypose" / "cam.csv.json"
    kept.parent.mkdir()
    kept.touch()
    with marker_files(io_paths(roots=(tmp_path,))):
        assert len(list(kept.parent.iterdir())) == 2
    assert list(kept.parent.iterdir()) == [kept]


def test_a_video_that_only_the_driver_sees(tmp_path: Path) -> None:
    found = check_storage(io_paths(tmp_path / "a.mp4"))
    assert isinstance(found, Failure)
    assert found.path == str(tmp_path / "a.mp4")
    assert "does not see it" in str(found) and found.hint


def test_an_output_directory_of_the_same_name_on_another_disk(tmp_path: Path) -> None:
    found = check_storage(io_paths(roots=(tmp_path,)))  # it is there, without the driver's mark
    assert isinstance(found, Failure) and found.path == str(tmp_path)


@pytest.mark.parametrize(
    ("request_line", "url"),
    [("GET /lab/v.mp4", "s3://lab/v.mp4"), ("PUT /lab/out", "s3://lab/out")],
)
def test_denied_access_is_noticed_beforehand(store: Store, request_line: str, url: str) -> None:
    store.put("v.mp4", b"x")
    store.faults.append(Fault("denied", request_line, times=99))
    found = check_storage(io_paths("s3://lab/v.mp4", roots=("s3://lab/out",)))
    assert isinstance(found, Failure)
    assert (
        found.path.startswith(url) and "denied" in found.message and "checked on" in found.message
    )


def test_who_may_not_remove_is_not_refused(store: Store) -> None:
    store.faults.append(Fault("denied", "DELETE|POST", times=99))
    assert check_storage(io_paths(roots=("s3://lab/out",))) is None
