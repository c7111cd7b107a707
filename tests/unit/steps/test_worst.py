"""Clips of the worst moments: which, how long, and what a later run makes of them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from raypose.config import RunConfig
from raypose.inputs.models import open_model
from raypose.inputs.probe import probe
from raypose.metrics.compute import TEMPORAL_NORM
from raypose.planning.status import planned
from raypose.specs import Owner, VideoSpec
from raypose.steps import Worst
from raypose.steps.base import TableSource
from raypose.steps.execute import execute
from raypose.steps.worst import clip_range
from raypose.storage import records
from raypose.storage.layout import output_paths
from raypose.storage.listing import Listing
from raypose.tables.keypoints import COORDS, KeypointTable
from tests.frames import make_frames
from tests.projects import fake_model
from tests.steps import make_context, task_of
from tests.videos import make_video

N_FRAMES = 40


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> VideoSpec:
    return probe(make_video(tmp_path_factory.mktemp("v") / "cam.mp4", n_frames=N_FRAMES), "cam")


@pytest.fixture
def source(video: VideoSpec, tmp_path: Path) -> TableSource:
    owner = Owner("m", str(tmp_path / "o"), open_model(fake_model(tmp_path / "m"), name="m"))
    config = RunConfig(videos="v", models="m", worst=2, worst_s=0.2)
    paths = output_paths(str(tmp_path / "o"), "cam", "app")
    return TableSource(video, owner, paths, {"kind": "predictions"}, config, (TEMPORAL_NORM,))


def make_table(source: TableSource, unlikely: dict[int, float], **more: object) -> KeypointTable:
    """Keypoints that do not move; in some frames with low likelihoods."""
    model = source.owner.model
    assert model is not None
    values = np.ones((N_FRAMES, len(model.keypoint_names), 3), np.float32)
    values[..., :2] = np.arange(len(model.keypoint_names))[:, None] * 10 + 20
    for frame, likelihood in unlikely.items():
        values[frame, :, 2] = likelihood
    return KeypointTable(model.scorer, model.keypoint_names, COORDS, values, **more)  # type: ignore[arg-type]


def planned_step(source: TableSource) -> Worst:
    step = Worst.planned(source)
    assert step is not None
    return step


def make_clips(source: TableSource, table: KeypointTable) -> Path:
    """Run the step; returns the folder of the clips."""
    step = planned_step(source)
    summary, _ = execute(task_of(step), [table], make_context())
    assert not summary.failures, summary.failures
    assert all(Path(path).exists() for path in summary.made)
    return Path(step.outputs["moments"]).parent


def n_frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_the_worst_moments_of_a_video(source: TableSource) -> None:
    folder = make_clips(source, make_table(source, {9: 0.5, 10: 0.4, 20: 0.3, 30: 0.8}))
    assert folder == Path(source.owner.root) / "video_preds" / "worst"
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
        "cam_frame00000010.mp4",
        "cam_frame00000020.mp4",
        "cam_worst.csv",
    ]
    assert n_frames_of(folder / "cam_frame00000020.mp4") == 5  # 0.2 s at 25 frames/s
    with (folder / "cam_worst.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == ["20", "10"]
    assert rows[0]["clip"] == "cam_frame00000020.mp4" and rows[0]["time_s"] == "0.800"
    likelihood = (0.9 - 0.3) / 0.9
    assert float(rows[0]["low_likelihood"]) == pytest.approx(likelihood, abs=1e-4)
    assert float(rows[0][TEMPORAL_NORM]) == 0
    assert float(rows[0]["score"]) == pytest.approx(likelihood / 2, abs=1e-4)


def test_a_finished_table_is_not_redone_unless_a_clip_is_gone(source: TableSource) -> None:
    assert not planned(planned_step(source), overwrite=False, listing=Listing()).done
    folder = make_clips(source, make_table(source, {10: 0.4, 20: 0.3}))
    assert planned(planned_step(source), overwrite=False, listing=Listing()).done
    more = replace(source, config=source.config.model_copy(update={"worst": 3}))
    assert not planned(planned_step(more), overwrite=False, listing=Listing()).done
    (folder / "cam_frame00000010.mp4").unlink()
    assert planned(planned_step(source), overwrite=False, listing=Listing()).reason == "missing"


def test_old_clips_go_and_other_files_stay(source: TableSource) -> None:
    folder = make_clips(source, make_table(source, {10: 0.4, 20: 0.3}))
    mine, other = folder / "cam_frame00000033.mp4", folder / "cam_frame00000010_frame00000001.mp4"
    mine.write_text("mine")
    other.write_text("of another video")
    make_clips(source, make_table(source, {20: 0.3, 30: 0.2}))
    names = {path.name for path in folder.glob("*.mp4")}
    assert names == {"cam_frame00000020.mp4", "cam_frame00000030.mp4", mine.name, other.name}
    assert records.read_record(folder / "cam_frame00000010.mp4") is None


def test_no_moment_and_no_clip_has_a_frame_without_a_picture(source: TableSource) -> None:
    frames = make_frames(N_FRAMES, suspect=[20], missing=[22], corrupt=[7])
    table = make_table(source, {20: 0, 22: 0, 21: 0.3, 7: 0, 9: 0.5}, frames=frames)
    folder = make_clips(source, table)
    assert n_frames_of(folder / "cam_frame00000021.mp4") == 3  # 19 to 21
    assert n_frames_of(folder / "cam_frame00000009.mp4") == 4  # 8 to 11


def test_a_video_without_a_bad_moment_has_an_empty_table(source: TableSource) -> None:
    folder = make_clips(source, make_table(source, {}))
    assert [path.name for path in folder.iterdir() if path.is_file()] == ["cam_worst.csv"]
    assert planned(planned_step(source), overwrite=False, listing=Listing()).done


def test_clips_at_the_ends_are_shorter(source: TableSource) -> None:
    table = make_table(source, {})
    times = np.arange(N_FRAMES) / 25
    assert clip_range(table, times, 0, 0.2) == (0, 3)
    assert clip_range(table, times, N_FRAMES - 1, 0.2) == (N_FRAMES - 3, N_FRAMES)
    assert clip_range(table, times, 20, 0.001) == (20, 21)


def test_with_an_ensemble_only_its_table_has_clips(source: TableSource) -> None:
    assert Worst.planned(replace(source, is_member=True)) is None
    assert Worst.planned(replace(source, smoothed=True)) is not None
    assert Worst.planned(replace(source, config=RunConfig(videos="v", models="m"))) is None
