"""The quality of a table: what is counted, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from raypose.config import RunConfig
from raypose.inputs.models import open_model
from raypose.metrics.compute import TEMPORAL_NORM
from raypose.metrics.worst import LOW_LIKELIHOOD, score_frames
from raypose.specs import Owner
from raypose.steps import Quality
from raypose.steps.base import TableSource
from raypose.steps.execute import execute
from raypose.steps.quality import summarize
from raypose.storage import records
from raypose.storage.layout import output_paths
from raypose.tables.keypoints import COORDS, EKS_COORDS, KeypointTable
from tests.frames import make_frames
from tests.projects import fake_model
from tests.steps import make_context, task_of
from tests.tasks import make_task

NAMES = ("nose", "paw")


def make_table(likelihood: np.ndarray, **values: object) -> KeypointTable:
    points = np.zeros((*likelihood.shape, 3), np.float32)
    points[..., 2] = likelihood
    return KeypointTable("m_tracker", NAMES, COORDS, points, **values)  # type: ignore[arg-type]


def test_share_of_keypoints_below_the_threshold() -> None:
    likelihood = np.array([[0.95, 0.2], [0.95, 0.95], [0.5, 0.95], [0.95, 0.95]])
    quality = summarize(make_table(likelihood), {}, 0.9)
    assert quality["n_frames"] == 4 and quality["frames"] == {"ok": 4}
    assert quality["below_threshold"] == {
        "threshold": 0.9,
        "share": 0.25,
        "keypoints": {"nose": 0.25, "paw": 0.25},
    }


def test_a_keypoint_without_a_likelihood_is_not_confident() -> None:
    likelihood = np.array([[0.95, np.nan], [0.95, 0.95]])
    table = make_table(likelihood)
    for threshold, unlikely in ((0.9, 0.5), (0.0, 0.5)):
        share = summarize(table, {}, threshold)["below_threshold"]["share"]
        assert share == 0.25
        part = score_frames(table, {}, threshold).parts[LOW_LIKELIHOOD]
        assert part.tolist() == [unlikely, 0]


def test_frames_without_a_picture_do_not_count() -> None:
    likelihood = np.full((4, 2), 0.95)
    likelihood[2] = 0  # missing
    frames = make_frames(4, missing=[2], suspect=[3])
    quality = summarize(make_table(likelihood, frames=frames), {}, 0.9)
    assert quality["frames"] == frames.counts
    assert quality["below_threshold"]["share"] == 0


def test_metrics_are_summarized_over_the_values_that_are_numbers() -> None:
    norms = np.array([[np.nan, np.nan], [1, 10], [3, 30], [2, 20]], np.float32)
    quality = summarize(make_table(np.ones((4, 2))), {TEMPORAL_NORM: norms}, 0.9)
    summary = quality[TEMPORAL_NORM]
    assert summary["median"] == 6.5
    assert summary["p99"] == pytest.approx(np.percentile([1, 2, 3, 10, 20, 30], 99))
    assert summary["keypoints"]["paw"]["median"] == 20


def test_the_variance_of_an_ensemble() -> None:
    values = np.zeros((4, 2, len(EKS_COORDS)), np.float32)
    values[..., EKS_COORDS.index("x_ens_var")] = 2
    values[..., EKS_COORDS.index("y_ens_var")] = 3
    table = KeypointTable("ensemble-kalman_tracker", NAMES, EKS_COORDS, values)
    quality = summarize(table, {}, 0.9)
    assert quality["ensemble_variance"]["median"] == 5
    assert "ensemble_variance" not in summarize(make_table(np.ones((4, 2))), {}, 0.9)


def test_what_can_not_be_computed_is_null() -> None:
    frames = make_frames(2, missing=[0, 1])
    empty = {TEMPORAL_NORM: np.full((2, 2), np.nan)}
    quality = summarize(make_table(np.zeros((2, 2)), frames=frames), empty, 0.9)
    assert quality["below_threshold"]["share"] is None
    assert quality[TEMPORAL_NORM]["median"] is None
    json.dumps(quality, allow_nan=False)


def test_it_is_committed_beside_the_metrics(tmp_path: Path) -> None:
    model = open_model(fake_model(tmp_path / "m"), name="m")
    video = make_task("v").step.video
    config = RunConfig(videos="v", models="m")
    source = TableSource(
        video,
        Owner("m", str(tmp_path / "o"), model),
        output_paths(str(tmp_path / "o"), "cam", "app"),
        {"kind": "predictions"},
        config,
        (TEMPORAL_NORM,),
    )
    step = Quality.planned(source)
    assert step is not None
    values = np.ones((5, len(model.keypoint_names), 3), np.float32)
    table = KeypointTable(model.scorer, model.keypoint_names, COORDS, values)
    summary, _ = execute(task_of(step), [table], make_context())
    path = tmp_path / "o" / "video_preds" / "cam_quality.json"
    assert summary.made == (str(path),) and not summary.failures
    quality = json.loads(path.read_text())
    assert quality["frames"] == {"ok": 5}
    assert set(quality[TEMPORAL_NORM]["keypoints"]) == set(model.keypoint_names)
    assert records.check(path, step.provenance).done


def test_without_metrics_there_is_none(tmp_path: Path) -> None:
    model = open_model(fake_model(tmp_path / "m"), name="m")
    config = RunConfig(videos="v", models="m", metrics=False)
    paths = output_paths(str(tmp_path / "o"), "cam", "app")
    video = make_task("v").step.video
    source = TableSource(video, Owner("m", str(tmp_path), model), paths, {}, config)
    assert Quality.planned(source) is None
