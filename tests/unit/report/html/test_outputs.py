"""Which tables the report finds, and what it says of those that were made otherwise."""

from __future__ import annotations

import shutil
from pathlib import Path

from raypose.report.html.outputs import VideoFacts, find_videos
from raypose.report.html.run_facts import read_run
from raypose.storage import commits
from tests.reports import commit_table, describe_run, make_review, make_table


def find(out: Path) -> dict[str, VideoFacts]:
    return {video.key: video for video in find_videos(read_run(out / "raypose"), out)}


def test_tables_of_the_run_with_their_numbers_and_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    table = commit_table(out, "m", "day1/cam", make_review(make_table(unlikely=0.5)))
    labeled = table.parent / "labeled_videos" / "cam_labeled.mp4"
    labeled.parent.mkdir()
    labeled.touch()
    describe_run(out, ["day1/cam", "gone"], ["m"])
    found = find(out)
    facts = found["day1/cam"].tables["m"]
    assert facts.files == {"predictions": table, "labelled video": labeled}
    assert facts.review is not None and not facts.note
    assert 0.4 < (facts.numbers.unlikely or 0) < 0.6
    assert found["gone"].tables == {} and found["gone"].n_frames == 400


def test_a_directory_that_moved(tmp_path: Path) -> None:
    commit_table(tmp_path / "out", "m", "cam", None)
    describe_run(tmp_path / "out", ["cam"], ["m"])
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    assert set(find(tmp_path / "elsewhere")["cam"].tables) == {"m"}


def test_tables_of_earlier_runs_are_found_by_their_records(tmp_path: Path) -> None:
    commit_table(tmp_path, "m", "old", None)
    commit_table(tmp_path, "m", "new", None)
    describe_run(tmp_path, ["new"], ["m"])
    found = find(tmp_path)
    assert set(found) == {"old", "new"} and found["old"].path == "/videos/old.mp4"
    shutil.rmtree(tmp_path / "raypose")
    assert set(find(tmp_path)) == {"old", "new"}


def test_files_beside_a_table_are_no_tables(tmp_path: Path) -> None:
    table = commit_table(tmp_path, "m", "cam", None)
    others = ("cam_temporal_norm.csv", "snippets/cam.short.csv", "worst/cam_worst.csv")
    for name in others:
        with commits.committing(table.parent / name, {"kind": "other"}) as file:
            file.touch()
    assert set(find(tmp_path)) == {"cam"}


def test_an_output_of_before_the_report_has_its_quality(tmp_path: Path) -> None:
    table = commit_table(tmp_path, "m", "cam", None)
    (table.parent / "cam_quality.json").write_text('{"below_threshold": {"share": 0.75}}')
    facts = find(tmp_path)["cam"].tables["m"]
    assert facts.numbers.unlikely == 0.75
    assert facts.review is None and "run the same command again" in facts.note


def test_report_data_of_an_older_table_are_not_shown(tmp_path: Path) -> None:
    review = make_review(make_table())
    table = commit_table(tmp_path, "m", "cam", review)
    with commits.committing(table, {"kind": "predictions", "model": "newer"}) as file:
        file.touch()
    facts = find(tmp_path)["cam"].tables["m"]
    assert facts.review is None and "is newer" in facts.note


def test_report_data_that_are_broken_are_named(tmp_path: Path) -> None:
    commit_table(tmp_path, "m", "cam", make_review(make_table()))
    (tmp_path / "m" / "video_preds" / "report" / "cam_review.arrow").write_bytes(b"ARROW1")
    facts = find(tmp_path)["cam"].tables["m"]
    assert facts.review is None and "can't be read" in facts.note


def test_failures_belong_to_their_videos(tmp_path: Path) -> None:
    describe_run(tmp_path, ["a", "b"], ["m"], failures={"b": "is broken"})
    found = find(tmp_path)
    assert not found["a"].failures
    assert [failed.message for failed in found["b"].failures] == ["is broken"]


def test_the_smoothed_ensemble_comes_last(tmp_path: Path) -> None:
    for owner in ("eks", "a", "z"):
        commit_table(tmp_path, owner, "cam", None)
    assert list(find(tmp_path)["cam"].tables) == ["a", "z", "eks"]
