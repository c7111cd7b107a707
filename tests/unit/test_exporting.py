"""`raypose export`: which files are written when, and what they say of the video."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from raypose import cli
from raypose.errors import UsageError
from raypose.exporting import export
from raypose.tables.keypoints import COORDS, EKS_COORDS, KeypointTable
from raypose.video.frames import Frames, FrameStatus
from raypose.video.index import index_video
from tests.output_tables import commit_table
from tests.projects import fake_model
from tests.videos import make_video

NAMES = ("nose", "paw")
N_FRAMES = 12
PTS = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 18, 19]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    yield


def make_table(coords: tuple[str, ...] = COORDS, seed: int = 0) -> KeypointTable:
    random = np.random.default_rng(seed)
    values = random.uniform(0, 1, (N_FRAMES, len(NAMES), len(coords))).astype(np.float32)
    return KeypointTable("m_tracker", NAMES, coords, values)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A video of a varying frame rate."""
    (tmp_path / "videos").mkdir()
    return make_video(tmp_path / "videos" / "cam.mp4", n_frames=N_FRAMES, pts=PTS)


@pytest.fixture
def out(tmp_path: Path, video: Path) -> Path:
    """A model's predictions, and the smoothed ensemble."""
    out = tmp_path / "out"
    commit_table(out, "model_a", "cam", make_table(), video)
    commit_table(out, "eks", "cam", make_table(EKS_COORDS), video, kind="smoothed")
    return out


def invoke(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, ["export", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def names(paths: list[Path], root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in paths]


def times_of(path: Path) -> np.ndarray:
    import pynwb

    with pynwb.NWBHDF5IO(path, "r") as io:
        series = io.read().processing["behavior"]["PoseEstimation"]["nose"]
        return np.asarray(series.timestamps[:])


def test_files_lie_beside_their_tables_and_are_written_once(out: Path) -> None:
    made = export(out, ["parquet", "coco"])
    expected = [
        f"{owner}/video_preds/cam{suffix}"
        for owner in ("model_a", "eks")
        for suffix in (".parquet", ".coco.json")
    ]
    assert names(made.written, out) == expected
    assert not made.failures and not made.notes
    again = export(out, ["parquet", "coco"])
    assert not again.written and names(again.up_to_date, out) == expected


def test_files_below_another_directory_keep_their_folders(out: Path, tmp_path: Path) -> None:
    made = export(out, ["parquet"], tmp_path / "elsewhere")
    expected = ["model_a/video_preds/cam.parquet", "eks/video_preds/cam.parquet"]
    assert names(made.written, tmp_path / "elsewhere") == expected
    assert not list(out.rglob("*.parquet"))


def test_one_table_is_exported_as_with_its_run(out: Path) -> None:
    export(out, ["slp"])
    table = out / "eks" / "video_preds" / "cam.csv"
    assert names(export(table, ["slp"]).up_to_date, out) == ["eks/video_preds/cam.slp"]
    with pytest.raises(UsageError, match=r"cam\.slp: is no table of predictions of a run"):
        export(table.with_suffix(".slp"), ["slp"])


def test_a_changed_table_is_exported_again(out: Path, video: Path) -> None:
    export(out, ["parquet"])
    commit_table(out, "model_a", "cam", make_table(seed=1), video)  # as it was made before
    made = export(out, ["parquet"])
    assert names(made.written, out) == ["model_a/video_preds/cam.parquet"]
    found = pd.read_parquet(made.written[0])
    assert np.array_equal(found, make_table(seed=1).values.reshape(N_FRAMES, -1))


def test_a_table_that_was_edited_is_exported_with_a_note(out: Path) -> None:
    table = out / "model_a" / "video_preds" / "cam.csv"
    rows = table.read_text().splitlines()
    rows[3] = "0,1.5,2.5,0.5,3.5,4.5,0.25"
    table.write_text("\n".join(rows) + "\n")
    made = export(table, ["parquet"])
    assert pd.read_parquet(made.written[0]).iloc[0].tolist() == [1.5, 2.5, 0.5, 3.5, 4.5, 0.25]
    (note,) = made.notes
    assert note == f"{table} was edited after raypose wrote it; the export holds the edited values"


def test_a_table_that_is_cut_short_is_not_exported(out: Path) -> None:
    table = out / "model_a" / "video_preds" / "cam.csv"
    table.write_bytes(table.read_bytes()[:-4])
    code, text = invoke(out, "--format", "parquet")
    assert code == 1 and "its last row is cut short" in text
    assert "Files: 1 written, 0 up to date, 1 failed." in text


def test_a_file_of_others_is_kept(out: Path) -> None:
    path = out / "eks" / "video_preds" / "cam.parquet"
    path.write_text("mine")
    made = export(path.with_suffix(".csv"), ["parquet"])
    assert made.written == [path] and pd.read_parquet(path).shape == (N_FRAMES, 18)
    (kept,) = (path.parent / ".raypose" / "replaced").iterdir()
    assert kept.read_text() == "mine"
    assert "was not written by raypose" in made.notes[0]


def test_nwb_has_the_times_of_a_varying_frame_rate(out: Path, video: Path) -> None:
    made = export(out, ["nwb"])
    expected = index_video(video).times_s
    assert len(set(np.diff(expected).round(6))) > 1
    assert len(made.written) == 2 and not made.notes
    for path in made.written:
        assert np.array_equal(times_of(path), expected)


def test_without_the_video_nwb_takes_the_times_of_the_file_of_frames(
    out: Path, video: Path
) -> None:
    times_s = index_video(video).times_s
    statuses = np.zeros(N_FRAMES, np.int8)
    statuses[3] = FrameStatus.CORRUPT
    damaged = make_table()
    damaged.values[3] = np.nan
    table = KeypointTable(
        damaged.scorer, NAMES, COORDS, damaged.values, frames=Frames(times_s, statuses)
    )
    path = commit_table(out, "model_a", "cam", table, video)
    video.unlink()
    made = export(path, ["nwb"])
    assert np.array_equal(times_of(made.written[0]), times_s)
    (note,) = made.notes
    assert note.endswith(f"lacks the size of the video's frames: {video} no longer exists")


@pytest.mark.parametrize("how", ["gone", "another"])
def test_without_its_video_a_table_has_no_nwb_and_the_rest_is_written(
    how: str, out: Path, video: Path
) -> None:
    video.unlink()
    if how == "another":
        make_video(video, n_frames=N_FRAMES, pts=[2 * i for i in range(N_FRAMES)])
    made = export(out, ["nwb", "coco", "parquet"])
    suffixes = [path.suffix for path in made.written]
    assert suffixes == [".json", ".parquet"] * 2
    why = "no longer exists" if how == "gone" else "is not the video that was predicted"
    assert [failure.message for failure in made.failures] == [
        f"NWB needs the time of every frame, and {video} {why}"
    ] * 2
    content = json.loads(made.written[0].read_text())
    assert "width" not in content["images"][0] and why in made.notes[0]


def test_once_the_video_is_back_its_size_is_added(out: Path, video: Path, tmp_path: Path) -> None:
    video.rename(tmp_path / "away.mp4")
    for _ in range(2):
        made = export(out, ["coco"])
        assert len(made.written) == 2 and len(made.notes) == 2
    (tmp_path / "away.mp4").rename(video)
    made = export(out, ["coco"])
    assert len(made.written) == 2 and not made.notes
    assert json.loads(made.written[0].read_text())["images"][0]["width"] == 96
    assert len(export(out, ["coco"]).up_to_date) == 2


def test_tables_smoothed_from_tables_have_no_video(tmp_path: Path) -> None:
    path = commit_table(tmp_path, "eks", "cam", make_table(EKS_COORDS), Path("cam"))
    record = path.parent / ".raypose" / "cam.csv.json"
    content = json.loads(record.read_text())
    del content["made_from"]["video"]
    record.write_text(json.dumps(content))
    made = export(tmp_path, ["slp", "nwb"])
    assert [path.suffix for path in made.written] == [".slp"]
    assert "the video is unknown" in made.notes[0]
    assert "the video is unknown" in made.failures[0].message


def test_tables_smoothed_from_tables_of_a_run_have_its_video(
    out: Path, video: Path, tmp_path: Path
) -> None:
    member = out / "model_a" / "video_preds" / "cam.csv"
    path = commit_table(tmp_path, "eks", "cam", make_table(EKS_COORDS), member)
    record = path.parent / ".raypose" / "cam.csv.json"
    content = json.loads(record.read_text())
    del content["made_from"]["video"]
    record.write_text(json.dumps(content))
    made = export(path, ["nwb"])
    assert not made.failures and not made.notes
    assert np.array_equal(times_of(made.written[0]), index_video(video).times_s)


def test_the_skeleton_is_the_runs_or_the_one_that_is_given(out: Path, tmp_path: Path) -> None:
    def bones(path: Path) -> list[list[int]]:
        return json.loads(path.read_text())["categories"][0]["skeleton"]

    models = [{"name": "model_a", "skeleton": [["nose", "paw"], ["paw", "wing"]]}]
    run = out / "raypose" / "run.json"
    run.parent.mkdir()
    (run.parent / "events.jsonl").touch()
    run.write_text(json.dumps({"models": models, "config": {"skeleton": None}}))
    assert [bones(path) for path in export(out, ["coco"]).written] == [[[1, 2]], [[1, 2]]]
    assert len(export(out / "eks", ["coco"]).up_to_date) == 1
    given = tmp_path / "skeleton.yaml"
    given.write_text("skeleton: [[paw, nose]]")
    made = export(out, ["coco"], skeleton=given)
    assert [bones(path) for path in made.written] == [[[2, 1]], [[2, 1]]]
    # What a run has drawn comes before what the model's config says.
    run.write_text(json.dumps({"models": models, "config": {"skeleton": str(given)}}))
    assert len(export(out, ["coco"]).up_to_date) == 2
    given.unlink()
    assert "can't be used" in export(out, ["coco"]).notes[0]


def test_the_command(out: Path, tmp_path: Path) -> None:
    code, text = invoke(out, "--format", "parquet", "--format", "slp")
    assert code == 0 and "Files: 4 written, 0 up to date." in text
    code, text = invoke(out, "--format", "parquet", "--format", "slp")
    assert code == 0 and "Files: 0 written, 4 up to date." in text
    for arguments, message in (
        ((out, "--format", "xls"), "--format is 'xls', and must be parquet, h5, nwb, slp or coco"),
        ((tmp_path / "videos", "--format", "slp"), "holds no table of predictions of a run"),
        ((tmp_path / "none", "--format", "slp"), "is no directory on this machine"),
        (("s3://bucket/out", "--format", "slp"), "copy it here first if it is in a store"),
        ((out, "--format", "slp", "-o", "s3://bucket/x"), "can't be exported to a store"),
        ((out, "--format", "slp", "--skeleton", out / "no.yaml"), "no.yaml"),
    ):
        code, text = invoke(*arguments)
        assert code == 2 and message in text, text


def test_without_a_run_beside_it_the_skeleton_is_that_of_the_models_config(
    tmp_path: Path, video: Path
) -> None:
    model = fake_model(tmp_path / "model_a", data={"skeleton": [["nose", "paw"]]})
    commit_table(tmp_path, "model_a", "cam", make_table(), video)
    (path,) = export(model, ["coco"]).written
    assert json.loads(path.read_text())["categories"][0]["skeleton"] == [[1, 2]]


def test_a_model_that_the_last_run_did_not_have_gets_no_skeleton_of_another(out: Path) -> None:
    run = out / "raypose" / "run.json"
    run.parent.mkdir()
    (run.parent / "events.jsonl").touch()
    models = [{"name": "model_b", "skeleton": [["nose", "paw"]]}]
    run.write_text(json.dumps({"models": models, "config": {}}))
    found = {
        path.parent.parent.name: json.loads(path.read_text())["categories"][0]["skeleton"]
        for path in export(out, ["coco"]).written
    }
    assert found == {"model_a": [], "eks": [[1, 2]]}
