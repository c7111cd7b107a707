"""The whole job: every file, a second run, after damage, and around failures."""

from __future__ import annotations

import glob
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from raypose import pipeline
from raypose.inputs.ensembles import with_members
from raypose.pipeline import RunResult, plan, run
from raypose.report.plain import PlainDisplay
from raypose.report.status import read_status
from raypose.report.status_view import print_status
from raypose.report.tables import print_plan, print_result
from raypose.tables.keypoints import read_csv
from tests.integration.conftest import N_FRAMES, Project
from tests.models import export_onnx

OWNERS = ("2026-01-01_10-00-00", "2026-01-01_10-00-01", "eks")


def tables(root: Path) -> dict[str, np.ndarray]:
    return {
        str(path.relative_to(root)): read_csv(path).values
        for owner in OWNERS
        for stem in N_FRAMES
        for path in [root / owner / "video_preds" / f"{stem}.csv"]
    }


def count_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def temporaries(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if ".tmp-" in path.name]


@pytest.fixture
def done(finished_run: RunResult, tmp_path: Path) -> Path:
    """A copy of a finished run's outputs."""
    root = tmp_path / "out"
    source = finished_run.plan.config.output_dir
    assert source is not None
    shutil.copytree(source, root)
    return root


def test_every_file_is_made(
    project: Project, tmp_path: Path, executor: dict[str, Any], finished_run: RunResult
) -> None:
    reference = finished_run.plan.config.output_dir
    assert isinstance(reference, Path)
    root = reference
    if not executor["inline"]:
        root = tmp_path / "out"
        result = run(project.config(root, timestamps=True))
        assert result.ok and not result.skipped
    for owner in OWNERS:
        folder = root / owner / "video_preds"
        for stem, n_frames in N_FRAMES.items():
            frame = pd.read_csv(folder / f"{stem}.csv", header=[0, 1, 2], index_col=0)
            assert len(frame) == n_frames
            assert (folder / f"{stem}_temporal_norm.csv").is_file()
            assert count_frames(folder / "labeled_videos" / f"{stem}_labeled.mp4") == n_frames
            if owner != "eks":
                frames = pd.read_csv(folder / "frames" / f"{stem}_frames.csv")
                np.testing.assert_allclose(frames["time_s"], np.arange(n_frames) / 25)
                assert list(frames["frame"]) == list(range(n_frames))
                assert set(frames["status"]) == {"ok"}
            snippets = folder / "snippets"
            assert count_frames(snippets / f"{stem}.short.mp4") == min(25, n_frames)
            assert count_frames(snippets / f"{stem}.short.labeled.mp4") == min(25, n_frames)
            short = read_csv(snippets / f"{stem}.short.csv")
            record = json.loads((snippets / ".raypose" / f"{stem}.short.csv.json").read_text())
            start, stop = record["facts"]["start"], record["facts"]["stop"]
            whole = read_csv(folder / f"{stem}.csv")
            np.testing.assert_array_equal(short.values, whole.values[start:stop])
    params = json.loads((root / "eks" / "smooth_params" / "a.json").read_text())
    assert set(params["smooth_params"]) == {"nose", "paw", "tail"}
    for name, values in tables(reference).items():
        np.testing.assert_allclose(tables(root)[name], values, atol=1e-3)
    assert temporaries(root) == []
    # No table but predictions and metrics lies where the apps take every table for a video's.
    files = [p for p in (root / "eks" / "video_preds").iterdir() if p.is_file()]
    assert {p.suffix for p in files} == {".csv", ".json"}
    assert all(p.name.endswith("_quality.json") for p in files if p.suffix == ".json")


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_exported_models(project: Project, tmp_path: Path, finished_run: RunResult) -> None:
    """Networks that Lightning Pose exported give the tables that torch gives."""
    directories = [
        Path(shutil.copytree(m, tmp_path / m.parent.name / m.name)) for m in project.models
    ]
    for directory in directories:
        export_onnx(directory)
    models = tuple(map(str, directories))
    options = {"models": models, "eks": False, "label": (), "runtime": "onnx"}
    result = run(project.config(tmp_path / "out", **options))
    assert result.ok, [str(failed) for failed in result.failures]
    reference = finished_run.plan.config.output_dir
    assert isinstance(reference, Path)
    for owner in OWNERS[:2]:
        for stem in N_FRAMES:
            table = Path(owner, "video_preds", f"{stem}.csv")
            got, expected = (read_csv(r / table).values for r in (tmp_path / "out", reference))
            confident = expected[..., 2] > 0.9
            apart = np.abs(got - expected)[..., :2][confident]
            # Two neighbouring pixels that are equal but for rounding, as random weights make
            # them, are what is not within 0.001.
            assert apart.max() < 0.05 and (apart < 1e-3).mean() > 0.98


def test_a_second_run_does_nothing(project: Project, done: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in done.rglob("*.csv")}
    result = run(project.config(done))  # with Ray, which must not even be started for this
    assert result.nothing_to_do and result.ok and result.made == {}
    assert result.seconds < 15
    assert {p: p.stat().st_mtime_ns for p in done.rglob("*.csv")} == before


def test_a_missing_labelled_video_is_drawn_from_committed_predictions(
    project: Project, done: Path
) -> None:
    lost = done / "eks" / "video_preds" / "labeled_videos" / "a_labeled.mp4"
    lost.unlink()
    result = run(project.config(done, inline=True))
    assert {kind: paths for kind, paths in result.made.items() if paths} == {"label": [str(lost)]}
    assert count_frames(lost) == N_FRAMES["a"]


def test_a_table_cut_in_half_is_made_again(project: Project, done: Path) -> None:
    table = done / OWNERS[0] / "video_preds" / "a.csv"
    whole = table.read_bytes()
    table.write_bytes(whole[: len(whole) // 2])
    planned = pipeline.plan(project.config(done))
    (session,) = planned.pending
    assert session.key == "a" and [unit.models for unit in session.demands] == [(0,)]
    assert run(project.config(done, inline=True)).ok
    assert table.read_bytes() == whole


def test_one_bad_video_leaves_the_others_untouched(project: Project, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    shutil.copytree(project.videos, videos)
    (videos / "long.mp4").unlink()
    (videos / "broken.mp4").write_bytes(b"not a video at all" * 100)
    (videos / "empty.avi").write_bytes(b"")
    config = project.config(
        tmp_path / "out", videos=(str(videos),), label=(), eks=False, inline=True
    )
    result = run(config)
    assert result.exit_code == 1
    assert sorted(failed.subject for failed in result.failures) == ["broken.mp4", "empty.avi"]
    assert all(failed.hint for failed in result.failures)
    assert len(result.made["table"]) == 4
    assert run(config).exit_code == 1  # still broken, and still said


def test_a_model_that_can_not_be_loaded_stops_the_run_with_its_name(
    project: Project, tmp_path: Path, executor: dict[str, Any]
) -> None:
    from raypose.errors import ModelError

    model = tmp_path / "model"
    shutil.copytree(project.models[0], model)
    (checkpoint,) = model.rglob("*.ckpt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    config = project.config(
        tmp_path / "out", models=(str(model),), eks=False, label=(), **executor
    )
    if executor["inline"]:
        result = run(config)
        assert {failed.error for failed in result.failures} == {"ModelError"}
        assert not result.made.get("table")
    else:
        with pytest.raises(ModelError, match=r"\.ckpt"):
            run(config)


def test_pose_app_layout(project: Project, tmp_path: Path) -> None:
    """The seed's files, below each model and the directory of the smoothed outputs."""
    model = tmp_path / "model"
    shutil.copytree(project.models[0], model)
    config = project.config(
        None,
        models=(str(model),),
        videos=(str(project.videos / "a.mp4"),),
        run_dir=tmp_path / "run",
        eks=False,
        layout="pose-app",
        inline=True,
    )
    assert run(config).ok
    made = {p.name for p in (model / "video_preds_infer").iterdir() if p.is_file()}
    assert made == {
        "a.csv",
        "a_temporal_norm.csv",
        "a_quality.json",
        "a.labeled.mp4",
        "a.short.mp4",
        "a.short.csv",
        "a.short.labeled.mp4",
        "a.short_temporal_norm.csv",
    }


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_names_of_any_bytes(project: Project, tmp_path: Path) -> None:
    stem = os.fsdecode(b"v\xff\x1b[31m\nb")
    videos = tmp_path / os.fsdecode(b"in\xfe\x1b[32m")
    videos.mkdir()
    shutil.copy(project.videos / "a.mp4", videos / f"{stem}.mp4")
    broken = videos / os.fsdecode(b"broken\xfd\x1b[35m.mp4")
    broken.write_bytes(b"junk")
    models = [tmp_path / os.fsdecode(b"m\xfc\x1b[33m%d" % i) for i in range(2)]
    for source, model in zip(project.models, models, strict=True):
        shutil.copytree(source, model)
    root = tmp_path / os.fsdecode(b"out\xfb\x1b[36m")
    values = {"videos": (str(videos),), "models": tuple(str(model) for model in models)}
    config = project.config(root, **values, timestamps=True, chunk_frames=15)
    console = Console(file=io.StringIO(), width=400)

    print_plan(console, plan(config))
    result = run(config, display=PlainDisplay(console))
    print_result(console, result)
    status = read_status(root / "raypose")
    assert status.n_unreadable == 0
    print_status(console, status)
    assert [failed.path for failed in result.failures] == [str(broken)]

    for model in models:
        folder = root / model.name / "video_preds"
        assert len(read_csv(folder / f"{stem}.csv").values) == N_FRAMES["a"]
        assert count_frames(folder / "labeled_videos" / f"{stem}_labeled.mp4") == N_FRAMES["a"]
        assert len(list((folder / "snippets").glob(f"{glob.escape(stem)}.short*"))) == 4
        (times,) = [path for path in folder.rglob("*.csv") if path.parent.name == "frames"]
        assert len(times.read_text().splitlines()) == N_FRAMES["a"] + 1
    assert (root / "eks" / "video_preds" / f"{stem}.csv").is_file()
    assert (root / "eks" / "smooth_params" / f"{stem}.json").is_file()
    assert run(config).nothing_to_do
    # The ensemble that was described beside the tables is found again.
    members = with_members(config.model_copy(update={"models": (str(root / "eks"),)})).models
    assert members == config.models

    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert r"v\xff\x1b[31m\nb" in said
    written = [said, *((root / "raypose" / n).read_bytes() for n in ("run.json", "events.jsonl"))]
    for text in written:
        text = text.decode() if isinstance(text, bytes) else text
        assert not any(c in text for c in "\x1b\x07\x9b\ud800") and text.encode()
