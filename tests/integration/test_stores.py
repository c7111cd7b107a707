"""The whole job with videos, models and outputs in an object store."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raypose import pipeline
from raypose.config import RunConfig
from raypose.errors import ClusterError, StorageError
from raypose.pipeline import RunResult, run
from raypose.tables.keypoints import read_csv
from tests.integration.conftest import N_FRAMES, Project
from tests.stores import BUCKET, Fault, Store

pytestmark = pytest.mark.slow

NAMES = ("2026-01-01_10-00-00", "2026-01-01_10-00-01", "eks")


@pytest.fixture
def remote(store: Store, project: Project, tmp_path: Path) -> dict[str, Any]:
    """The project in the store, as options of a run."""
    store.put_folder("videos", project.videos)
    root = project.models[0].parents[1]
    for model in project.models:
        store.put_folder(f"models/{model.relative_to(root)}", model)
    return {
        "videos": (f"s3://{BUCKET}/videos",),
        "models": tuple(f"s3://{BUCKET}/models/{m.relative_to(root)}" for m in project.models),
        "output_dir": f"s3://{BUCKET}/out",
        "run_dir": tmp_path / "run",
        "scratch_dir": tmp_path / "scratch",
        "eks": True,
        "label": ("snippet",),
        "snippet_s": 1.0,
        "device": "cpu",
    }


def left(folder: Path) -> list[Path]:
    """Copies and outputs that a run left in scratch."""
    return [p for p in folder.rglob("*") if p.is_file() and p.name != "room.lock"]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_videos_models_and_outputs_in_a_store(
    remote: dict[str, Any], store: Store, tmp_path: Path, finished_run: RunResult
) -> None:
    config = RunConfig(**remote, chunk_frames=40)
    result = run(config)
    assert result.ok, [str(failed) for failed in result.failures]
    reference = finished_run.plan.config.output_dir
    assert isinstance(reference, Path)
    for name in NAMES:
        for stem in N_FRAMES:
            content = store.get(f"out/{name}/video_preds/{stem}.csv")
            made = pd.read_csv(io.BytesIO(content), header=[0, 1, 2], index_col=0)
            expected = read_csv(reference / name / "video_preds" / f"{stem}.csv").values
            got = made.to_numpy().reshape(len(made), expected.shape[1], -1)[..., :2]
            np.testing.assert_allclose(got, expected[..., :2], atol=1e-3)
            assert f"out/{name}/video_preds/snippets/{stem}.short.mp4" in store.keys("out/")
    assert not [key for key in store.keys() if "tmp" in key or "ranges" in key or "seen" in key]
    assert left(tmp_path / "scratch") == []
    for path in (tmp_path / "run").iterdir():
        assert "a-secret-of-the-tests" not in path.read_text()

    again = run(config)
    assert again.nothing_to_do and again.ok

    # A table that something else has cut in half is noticed and redone.
    key = f"out/{NAMES[0]}/video_preds/a.csv"
    whole = store.get(key)
    store.put(key, whole[: len(whole) // 2])
    (pending,) = pipeline.plan(config).pending
    assert pending.key == "a" and [unit.models for unit in pending.demands] == [(0,)]
    assert run(RunConfig(**remote, inline=True)).ok
    assert store.get(key) == whole


class Planned:
    """A display that does something between plan and run."""

    def __init__(self, action: Any) -> None:
        self._action = action

    def planned(self, plan: Any) -> None:
        self._action()

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def test_faults_on_the_way_stay_with_their_video(
    store: Store, project: Project, tmp_path: Path
) -> None:
    """What passes by itself is not noticed; what does not is one line with the URL."""
    store.put_folder("videos", project.videos)
    store.put("videos/denied.mp4", project.videos / "a.mp4")
    store.put("videos/gone.mp4", project.videos / "long.mp4")
    store.faults += [
        Fault("slow", "GET /lab/videos/a.mp4"),
        Fault("slow down", "GET /lab/videos/long.mp4"),
        Fault("reset", "GET /lab/videos/b"),
        Fault("denied", "/lab/videos/denied.mp4", times=99),
    ]

    def meanwhile() -> None:
        store.delete("videos/gone.mp4")
        store.faults += [
            Fault("slow down", "GET /lab/videos/a.mp4"),
            Fault("reset", "GET /lab/videos/long.mp4"),
            Fault("slow", "GET /lab/videos/b"),
            Fault("slow down", "PUT .*/a.csv"),
            Fault("reset", "PUT .*/long.csv"),
        ]

    largest = max(path.stat().st_size for path in project.videos.iterdir())
    config = project.config(
        f"s3://{BUCKET}/out",
        videos=(f"s3://{BUCKET}/videos",),
        models=(str(project.models[0]),),
        scratch_gb=1.1 * largest / 1e9,  # videos take turns there
        run_dir=tmp_path / "run",
        scratch_dir=tmp_path / "scratch",
        eks=False,
        label=(),
        metrics=False,
        report=False,
        inline=True,
    )
    result = run(config, display=Planned(meanwhile))
    unused = [fault for fault in store.faults if not fault.n_done]
    assert len(unused) <= 1, "of the video that was still in scratch"
    failures = {failed.path: failed for failed in result.failures}
    assert set(failures) == {
        f"s3://{BUCKET}/videos/denied.mp4",
        f"s3://{BUCKET}/videos/gone.mp4",
    }
    assert "denied" in failures[f"s3://{BUCKET}/videos/denied.mp4"].message
    assert "no such object" in failures[f"s3://{BUCKET}/videos/gone.mp4"].message
    assert all(failure.hint and not failure.details for failure in failures.values())
    tables = [key for key in store.keys("out/") if key.endswith(".csv")]
    assert sorted(Path(key).stem for key in tables) == sorted(N_FRAMES)
    assert left(tmp_path / "scratch") == []


def test_outputs_that_may_not_be_written_stop_the_run_before_it_predicts(
    store: Store, project: Project, tmp_path: Path
) -> None:
    store.faults.append(Fault("denied", "PUT /lab/out", times=99))
    config = project.config(f"s3://{BUCKET}/out", run_dir=tmp_path / "run", inline=True)
    with pytest.raises(StorageError, match=r"s3://lab/out.*access is denied"):
        run(config)
    assert store.keys() == []


@pytest.mark.ray
def test_a_worker_that_does_not_see_the_drivers_disk_stops_the_run(
    project: Project, tmp_path: Path, ray_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raypose.execution.ray import RayExecutor
    from raypose.execution.ray.worker import Worker
    from raypose.worker.storage_check import IoPaths

    class Elsewhere(Worker):
        """A worker on a machine where the driver's directories are not."""

        def check_storage(self, places: IoPaths) -> Any:
            elsewhere = tuple(f"/elsewhere{path}" for path in places.videos)
            return super().check_storage(IoPaths(elsewhere, places.roots, places.marker))

    def make(config: RunConfig, _: Path) -> RayExecutor:
        return RayExecutor(config, worker_class=Elsewhere)

    monkeypatch.setattr(pipeline, "make_executor", make)
    config = project.config(tmp_path / "out", address="auto", label=(), eks=False)
    began = time.monotonic()
    with pytest.raises(ClusterError, match=r"does not see it") as raised:
        run(config)
    assert time.monotonic() - began < 150
    assert "elsewhere" in raised.value.path and raised.value.hint
    assert not list((tmp_path / "out").rglob("seen-*"))
    assert not list((tmp_path / "out").rglob("*.csv"))
