"""Steps on one table share its metrics, and no step gets those of another table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raypose.config import RunConfig
from raypose.inputs.models import open_model
from raypose.metrics.compute import TEMPORAL_NORM, compute_metrics
from raypose.specs import ModelSpec, Owner
from raypose.steps import Metrics, Quality, measured
from raypose.steps.base import TableSource
from raypose.steps.measured import MeasuredStep
from raypose.storage.layout import output_paths
from raypose.storage.origins import Origin
from raypose.tables.keypoints import COORDS, KeypointTable
from tests.projects import fake_model
from tests.steps import make_context
from tests.tasks import make_task


@pytest.fixture
def model(tmp_path: Path) -> ModelSpec:
    return open_model(fake_model(tmp_path / "m"), name="m")


@pytest.fixture
def steps(tmp_path: Path, model: ModelSpec) -> list[MeasuredStep]:
    source = TableSource(
        make_task("v").step.video,
        Owner("m", str(tmp_path / "o"), model),
        output_paths(str(tmp_path / "o"), "cam", "app"),
        {"kind": "predictions"},
        RunConfig(videos="v", models="m"),
        (TEMPORAL_NORM,),
    )
    planned = [kind.planned(source) for kind in (Metrics, Quality)]
    return [step for step in planned if step is not None]


@pytest.fixture
def n_computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Frames of each table that metrics are computed of, once it is asked for."""
    found: list[int] = []

    def noted(table: KeypointTable, *rest: Any) -> Any:
        found.append(table.n_frames)
        return compute_metrics(table, *rest)

    monkeypatch.setattr(measured, "compute_metrics", noted)
    return found


def make_table(model: ModelSpec, step_px: float, origin: Origin | None) -> KeypointTable:
    """Keypoints that move by `step_px` a frame, and one more than the model has."""
    names = ("other", *model.keypoint_names)
    values = np.ones((5, len(names), 3), np.float32)
    values[..., 0] = step_px * np.arange(5)[:, None]
    return KeypointTable(model.scorer, names, COORDS, values, origin=origin)


def test_metrics_are_computed_once_for_the_steps_on_a_table(
    model: ModelSpec, steps: list[MeasuredStep], n_computed: list[int]
) -> None:
    context = make_context()
    for step_px, origin in ((3, Origin("first")), (7, Origin("second")), (3, Origin("first"))):
        n_computed.clear()
        for step in steps:
            found = step.measured(make_table(model, step_px, origin), context)
            assert found.table.keypoint_names == model.keypoint_names
            np.testing.assert_array_equal(found.metrics[TEMPORAL_NORM][1:], step_px)
        assert n_computed == [5]


def test_tables_of_unknown_origin_share_nothing(
    model: ModelSpec, steps: list[MeasuredStep], n_computed: list[int]
) -> None:
    context = make_context()
    for step_px in (3, 7):
        found = steps[0].measured(make_table(model, step_px, None), context)
        np.testing.assert_array_equal(found.metrics[TEMPORAL_NORM][1:], step_px)
    assert n_computed == [5, 5]
