"""Tables that a run writes in other formats too: what is planned, written, and finished."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from raypose.config.settings import FormatName
from raypose.errors import UsageError
from raypose.exporting import export
from raypose.planning.model import OutputPlan, Planned
from raypose.steps import Export
from raypose.steps.execute import execute
from raypose.steps.frame_files import commit_table
from raypose.steps.table import Table
from raypose.storage import digests, records
from raypose.storage.origins import Origin
from raypose.tables.formats import FORMATS
from raypose.tables.keypoints import COORDS, KeypointTable
from raypose.video.index import index_video
from tests.projects import Project, read_of
from tests.steps import make_context, task_of
from tests.stores import BUCKET, Store

N_FRAMES = 5
PTS = [0, 1, 2, 6, 7]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Two models, and a video of a varying frame rate."""
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    project = Project(tmp_path)
    project.video(n_frames=N_FRAMES, pts=PTS)
    return project


def outputs_of(project: Project, **config: Any) -> list[OutputPlan]:
    (recording,) = project.plan(metrics=False, **config).recordings
    return list(recording.outputs)


def exports(output: OutputPlan) -> list[Planned]:
    return [planned for planned in output.more if isinstance(planned.step, Export)]


def commit(output: OutputPlan) -> KeypointTable:
    """The table of a model, as a run commits it."""
    step = output.table.step
    assert isinstance(step, Table)
    names = step.model.keypoint_names
    values = np.random.default_rng(0).uniform(0, 99, (N_FRAMES, len(names), 3))
    origin = Origin(digests.digest_of_json(step.provenance), (read_of(output.video),))
    table = KeypointTable(step.model.scorer, names, COORDS, values, origin=origin)
    commit_table(table, None, output.path, step.provenance, output.video, {}, 1)
    return table


def test_names_of_formats_are_those_of_the_registry() -> None:
    assert get_args(FormatName) == tuple(FORMATS)


def test_every_table_is_written_in_every_format(project: Project) -> None:
    assert not any(map(exports, outputs_of(project)))
    outputs = outputs_of(project, formats=["nwb", "coco", "nwb"], eks=True)
    assert [output.owner.name for output in outputs] == ["a", "b", "eks"]
    for output in outputs:
        (planned,) = exports(output)
        table = Path(output.path)
        assert planned.step.outputs == {
            "nwb": str(table.with_suffix(".nwb")),
            "coco": str(table.with_suffix(".coco.json")),
        }


def test_a_run_and_the_command_write_the_same_files(project: Project) -> None:
    def planned() -> Planned:
        (planned,) = exports(outputs_of(project, formats=("nwb", "parquet"))[0])
        return planned

    table, step = commit(outputs_of(project)[0]), planned().step
    assert isinstance(step, Export) and not planned().done
    task = task_of(step, n_frames=N_FRAMES)
    summary, _ = execute(task, [table], make_context())
    assert not summary.failures and summary.made == tuple(step.outputs.values())
    assert planned().done
    files = [Path(path) for path in summary.made]
    assert export(step.table, ["nwb", "parquet"]).up_to_date == files
    (read,) = {str(records.read_record(path)["videos"]) for path in files}  # type: ignore[index]
    # The other way round: what the command has written is finished for a run.
    for path in files:
        path.unlink()
    assert not planned().done
    assert export(step.table, ["nwb", "parquet"]).written == files
    assert planned().done
    assert {str(records.read_record(path)["videos"]) for path in files} == {read}  # type: ignore[index]


def test_files_hold_the_table_and_the_times_of_the_video(project: Project) -> None:
    import pynwb

    output = outputs_of(project, formats=("nwb", "parquet"))[0]
    table, (planned,) = commit(output), exports(output)
    execute(task_of(planned.step), [table], make_context())
    path = Path(output.path)
    found = pd.read_parquet(path.with_suffix(".parquet"))
    assert np.array_equal(found, table.values.reshape(N_FRAMES, -1))
    with pynwb.NWBHDF5IO(path.with_suffix(".nwb"), "r") as io:
        pose = io.read().processing["behavior"]["PoseEstimation"]
        times_s = pose[table.keypoint_names[0]].timestamps[:]
        assert np.array_equal(times_s, index_video(output.video.path).times_s)
        (place,) = pose.source_video.external_file
        assert (path.parent / place).resolve() == Path(output.video.path).resolve()


def test_files_go_to_a_store(project: Project, store: Store) -> None:
    config: dict[str, Any] = {"formats": tuple(FORMATS), "output_dir": f"s3://{BUCKET}/out"}
    output = outputs_of(project, **config)[0]
    table, (planned,) = commit(output), exports(output)
    summary, _ = execute(task_of(planned.step), [table], make_context())
    assert not summary.failures, summary.failures
    assert exports(outputs_of(project, **config)[0])[0].done
    found = pd.read_parquet(io.BytesIO(store.get("out/a/video_preds/cam.parquet")))
    assert np.array_equal(found, table.values.reshape(N_FRAMES, -1))


def test_the_skeleton_is_that_of_the_model_or_the_one_that_is_given(
    project: Project, tmp_path: Path
) -> None:
    def skeleton(**config: Any) -> Any:
        (planned,) = exports(outputs_of(project, formats="slp", **config)[0])
        assert isinstance(planned.step, Export)
        return planned.step.skeleton

    assert skeleton() == ()
    file = tmp_path / "skeleton.yaml"
    file.write_text("skeleton: [[a, b]]")
    assert skeleton(skeleton=file) == (("a", "b"),)


def test_a_missing_package_ends_the_plan(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raypose.tables.formats.base.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="--format h5 needs the package tables"):
        project.plan(formats="h5")


def test_an_error_of_one_file_is_that_of_the_task(project: Project) -> None:
    output = outputs_of(project, formats=("nwb", "parquet"))[0]
    table, (planned,) = commit(output), exports(output)
    renamed = replace(table, keypoint_names=("a/b", *table.keypoint_names[1:]))
    summary, _ = execute(task_of(planned.step), [renamed], make_context())
    assert "neither / nor :" in summary.failures[0].message
    assert not Path(planned.outputs["nwb"]).exists()
    assert Path(planned.outputs["parquet"]).exists()
