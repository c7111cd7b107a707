"""A video is described once: by the plan. Workers use its index, or make one where it is gone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from raypose import pipeline
from raypose.config import RunConfig
from raypose.pipeline import RunResult, plan, run
from raypose.planning import Plan
from raypose.tables.keypoints import read_csv
from raypose.video import index as index_module
from tests.integration.conftest import N_FRAMES, Project


def refuse(*_: object) -> NoReturn:
    raise AssertionError("the packets of the whole video are read")


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def check_tables(root: Path, reference: RunResult) -> None:
    expected = reference.plan.config.output_dir
    assert isinstance(expected, Path)
    for stem in N_FRAMES:
        table = Path("eks", "video_preds", f"{stem}.csv")
        values = read_csv(root / table).values
        np.testing.assert_allclose(values, read_csv(expected / table).values, atol=1e-3)


def test_tasks_read_no_packets_to_describe_a_video(
    project: Project,
    tmp_path: Path,
    caches: Path,
    executor: dict[str, Any],
    finished_run: RunResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tables = {"chunk_frames": 30, "metrics": False, "report": False, **executor}
    config = project.config(tmp_path / "out", timestamps=True, **tables)
    plan(config)
    if executor["inline"]:
        monkeypatch.setattr(index_module, "scan_packets", refuse)
    else:
        from raypose.execution.ray import RayExecutor
        from raypose.execution.ray.worker import Worker

        class Refusing(Worker):
            """A worker that can't make an index."""

            def __init__(self, *args: Any) -> None:
                from raypose.video import index

                index.scan_packets = None  # type: ignore[assignment]
                super().__init__(*args)

        def make(config: RunConfig, _: Path) -> RayExecutor:
            return RayExecutor(config, worker_class=Refusing)

        monkeypatch.setattr(pipeline, "make_executor", make)
    result = run(config)
    assert result.ok, [str(failed) for failed in result.failures]
    check_tables(tmp_path / "out", finished_run)


def test_without_the_cache_workers_make_the_indexes(
    project: Project,
    tmp_path: Path,
    caches: Path,
    executor: dict[str, Any],
    finished_run: RunResult,
) -> None:
    class Forgetful:
        """Removes the cache once the plan is made."""

        def planned(self, plan: Plan) -> None:
            shutil.rmtree(caches)

        def __getattr__(self, _: str) -> Any:
            return lambda *args: None

    tables = {"chunk_frames": 30, "metrics": False, "report": False, **executor}
    config = project.config(tmp_path / "out", label=(), **tables)
    result = run(config, display=Forgetful())
    assert result.ok, [str(failed) for failed in result.failures]
    check_tables(tmp_path / "out", finished_run)
    shutil.rmtree(caches)
    assert plan(config).done
    again = run(project.config(tmp_path / "out", label=("full",), **tables))
    assert again.ok and set(again.made) == {"label"} | {k for k, v in again.made.items() if not v}
