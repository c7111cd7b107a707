"""Which files have a record of raypose beside them."""

from __future__ import annotations

from pathlib import Path

from raypose.storage import commits
from raypose.storage.records import RecordedFiles, recorded_below


def commit(path: Path) -> Path:
    with commits.committing(path, {}) as temporary:
        temporary.write_text("x")
    return path


def test_those_with_a_record(tmp_path: Path) -> None:
    ours = commit(tmp_path / "a" / "cam.mp4")
    other = tmp_path / "a" / "other.mp4"
    records = RecordedFiles()
    assert ours in records
    assert other not in records
    assert tmp_path / "nowhere" / "cam.mp4" not in records


def test_a_listing_spares_those_of_its_folders(tmp_path: Path) -> None:
    ours = commit(tmp_path / "a" / "cam.mp4")
    records = RecordedFiles()
    records.add_listing([*tmp_path.rglob("*")])
    (ours.parent / ".raypose" / "cam.mp4.json").unlink()
    assert ours in records


def test_all_below_a_folder(tmp_path: Path) -> None:
    for name in ("cam.csv", "day1/cam.csv", "labeled_videos/cam_labeled.mp4"):
        commit(tmp_path / name)
    (tmp_path / "other.csv").touch()
    assert recorded_below(tmp_path) == {
        "cam.csv",
        "day1/cam.csv",
        "labeled_videos/cam_labeled.mp4",
    }
    assert recorded_below(tmp_path / "nowhere") == set()
    listed = [str(path) for path in tmp_path.rglob("*")]
    assert recorded_below(tmp_path, listed) == recorded_below(tmp_path)
