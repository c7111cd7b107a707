"""The step that makes what the report shows of a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raypose.config import RunConfig
from raypose.inputs.models import open_model
from raypose.inputs.probe import probe
from raypose.metrics.compute import TEMPORAL_NORM
from raypose.metrics.review import Review as Content
from raypose.specs import Owner
from raypose.steps import Review
from raypose.steps.base import TableSource
from raypose.steps.execute import execute
from raypose.storage import records
from raypose.storage.layout import output_paths
from raypose.tables.keypoints import COORDS, KeypointTable
from tests.projects import fake_model
from tests.steps import make_context, task_of
from tests.videos import make_video

N_FRAMES = 40


def planned(folder: Path, **changes: object) -> Review | None:
    model = open_model(fake_model(folder / "m"), name="m")
    video = probe(make_video(folder / "cam.mp4", n_frames=N_FRAMES), "cam")
    settings: dict[str, object] = {"report": changes.pop("report", True)}
    source = TableSource(
        video=video,
        owner=Owner("m", str(folder / "o"), model),
        paths=output_paths(str(folder / "o"), "cam", "app"),
        provenance={"kind": "predictions"},
        config=RunConfig(videos="v", models="m", **settings),
        metrics=(TEMPORAL_NORM,),
        **changes,  # type: ignore[arg-type]
    )
    return Review.planned(source)


def run(step: Review) -> Content:
    names = step.model.keypoint_names
    values = np.full((N_FRAMES, len(names), 3), 0.95, np.float32)
    values[..., :2] = np.arange(N_FRAMES)[:, None, None]
    values[17, :, 2] = 0.1
    table = KeypointTable(step.model.scorer, names, COORDS, values)
    summary, _ = execute(task_of(step), [table], make_context())
    assert not summary.failures
    (path,) = summary.made
    assert records.check(Path(path), step.provenance).done
    return Content.read(Path(path).read_bytes())


def test_it_is_committed_with_pictures_of_the_worst_moments(tmp_path: Path) -> None:
    step = planned(tmp_path, stills=True)
    assert step is not None
    review = run(step)
    assert step.outputs == {"review": str(tmp_path / "o/video_preds/report/cam_review.arrow")}
    assert review.facts["moments"][0]["frame"] == 17
    assert set(review.stills) == {moment["frame"] for moment in review.facts["moments"]}
    assert review.thumbnail[8:12] == b"WEBP"
    assert review.facts["quality"]["below_threshold"]["share"] == pytest.approx(1 / N_FRAMES)
    assert review.times_s[1] == pytest.approx(0.04)


def test_without_stills_the_rest_is_the_same(tmp_path: Path) -> None:
    step = planned(tmp_path)
    assert step is not None
    review = run(step)
    assert not review.stills and not review.thumbnail and review.facts["moments"]


def test_it_is_not_planned_with_no_report(tmp_path: Path) -> None:
    assert planned(tmp_path, report=False) is None
