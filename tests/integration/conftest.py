"""A small real project, its finished run, and one Ray cluster for the whole session."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from raypose.config import RunConfig
from raypose.pipeline import RunResult, run
from tests.models import make_model
from tests.videos import make_video

N_FRAMES = {"a": 40, "b c'ü": 33, "long": 70}


@dataclass(frozen=True)
class Project:
    """Two models and three videos, one of them with an awkward name."""

    videos: Path
    models: tuple[Path, Path]

    def config(self, output_dir: Path | str | None, **options: Any) -> RunConfig:
        values = {
            "videos": (str(self.videos),),
            "models": tuple(str(model) for model in self.models),
            "output_dir": output_dir,
            "eks": True,
            "label": ("full", "snippet"),
            "snippet_s": 1.0,
            "device": "cpu",
        }
        return RunConfig(**{**values, **options})


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("project")
    names = ("2026-01-01/10-00-00", "2026-01-01/10-00-01")
    models = tuple(make_model(root / "models" / n, seed=i) for i, n in enumerate(names))
    (root / "videos").mkdir()
    for stem, n_frames in N_FRAMES.items():
        make_video(root / "videos" / f"{stem}.mp4", n_frames=n_frames)
    return Project(root / "videos", (models[0], models[1]))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """Four CPUs and two logical GPUs, on this machine."""
    import ray

    from raypose.execution.ray.environment import RayEnvironment

    environment = RayEnvironment()
    environment.own_cluster()
    ray.init(
        address="local",
        num_cpus=4,
        num_gpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        namespace="raypose",
    )
    yield ray
    ray.shutdown()
    environment.restore()


@pytest.fixture(params=["inline", pytest.param("ray", marks=pytest.mark.ray)])
def executor(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options that choose an executor, for the few tests where the two could differ."""
    if request.param == "inline":
        return {"inline": True}
    request.getfixturevalue("ray_cluster")
    return {"inline": False, "gpus": 1}  # each worker takes seconds to start


@pytest.fixture(scope="session")
def finished_run(project: Project, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """The whole job, run once in one process; other runs are compared with it."""
    out = tmp_path_factory.mktemp("reference")
    result = run(project.config(out, timestamps=True, inline=True))
    assert result.ok, [str(failed) for failed in result.failures]
    return result
