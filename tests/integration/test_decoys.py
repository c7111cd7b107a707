"""Whatever lies in the current directory, a run imports what is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from raypose.pipeline import RunResult
from raypose.tables.keypoints import read_csv
from tests.integration.conftest import N_FRAMES, Project

pytestmark = pytest.mark.slow

PACKAGES = ("lightning_pose", "numpy", "av", "torch", "cv2", "pandas", "pydantic", "eks", "ray")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A current directory full of modules that say so, beside them, when they are imported."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in PACKAGES:
        code = f"open({str(folder / 'imported')!r}, 'a').write({name!r})\nraise SystemExit(3)\n"
        if name in ("av", "numpy"):
            (folder / f"{name}.py").write_text(code)
        else:
            (folder / name).mkdir()
            (folder / name / "__init__.py").write_text(code)
    return folder


def check(done: subprocess.CompletedProcess[str], out: Path, here: Path, like: RunResult) -> None:
    assert not (here / "imported").exists(), (here / "imported").read_text()
    assert done.returncode == 0, done.stdout + done.stderr
    reference = like.plan.config.output_dir
    assert reference is not None
    for stem in N_FRAMES:
        table = f"2026-01-01_10-00-00/video_preds/{stem}.csv"
        ours, theirs = read_csv(out / table).values, read_csv(Path(reference) / table).values
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def run_here(here: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=here, env={**os.environ, **env}, capture_output=True, text=True
    )


@pytest.mark.ray
def test_the_command(
    here: Path, project: Project, finished_run: RunResult, tmp_path: Path
) -> None:
    """The driver, the process that builds the network, and Ray's workers."""
    out = tmp_path / "out"
    arguments = (str(project.videos), "-m", str(project.models[0]), "-o", str(out))
    raypose = (sys.executable, "-m", "raypose", "run", *arguments, "--device", "cpu")
    # An empty entry is the current directory; the network is built anew.
    cache = str(tmp_path / "cache")
    done = run_here(here, *raypose, PYTHONPATH=os.pathsep, RAYPOSE_CACHE_DIR=cache)
    check(done, out, here, finished_run)


@pytest.mark.ray
def test_workers_of_a_ray_that_a_script_has_started(
    here: Path, project: Project, finished_run: RunResult, tmp_path: Path
) -> None:
    """Ray hands the script's directory and the current one on to all workers."""
    for name in set(PACKAGES) - {"lightning_pose"}:  # which the script itself would import
        path = here / name
        path.rename(tmp_path / name) if path.exists() else (here / f"{name}.py").unlink()
    code = """
import sys
import ray, raypose
from raypose.execution.ray.environment import RayEnvironment
RayEnvironment().own_cluster()
ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
videos, model, out = sys.argv[1:]
config = raypose.RunConfig(videos=[videos], models=[model], output_dir=out, device="cpu")
assert raypose.run(config).ok
path = ray.get(ray.remote(lambda: sys.path).remote())
import os
assert os.getcwd() in path, path  # Ray does what the run has to undo
"""
    (here / "script.py").write_text(code)
    out = tmp_path / "out"
    arguments = (str(project.videos), str(project.models[0]), str(out))
    cache = str(tmp_path / "cache")
    done = run_here(here, sys.executable, "script.py", *arguments, RAYPOSE_CACHE_DIR=cache)
    check(done, out, here, finished_run)
