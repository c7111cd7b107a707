"""Runs that are stopped or killed from outside, as a user or a batch system does it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raypose.execution.ray.guard import ray_processes
from raypose.pipeline import run
from raypose.storage.run_log import read_events
from raypose.tables.keypoints import read_csv
from tests.integration.conftest import Project
from tests.integration.test_run import temporaries
from tests.nodes import session_pids
from tests.videos import make_video

N_FRAMES = 1500

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "long.mp4"
    return Path(make_video(path, n_frames=N_FRAMES, gop=25))


def start(project: Project, video: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """The command in a process group of its own, as a shell starts it."""
    models = [flag for model in project.models for flag in ("-m", str(model))]
    arguments = ["run", str(video), *models, "-o", str(out), "--eks", "--label", "full"]
    settings = ["--device", "cpu", "--chunk-frames", "100", "--batch-size", "4"]
    return subprocess.Popen(
        [sys.executable, "-m", "raypose", *arguments, *settings, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell starts what runs in its background deaf to Ctrl-C, and so would be this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_ranges(out: Path, n: int, process: subprocess.Popen[str]) -> None:
    """Until `n` ranges are committed, or the process has ended."""
    deadline = time.monotonic() + 120
    while len(list(out.rglob("*.parquet"))) < n and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)


on_both = pytest.mark.parametrize(
    "options", [("--inline",), pytest.param((), marks=pytest.mark.ray)]
)


def check_stopped(process: subprocess.Popen[str], out: Path) -> None:
    """It says so, logs it, and leaves nothing half-made."""
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "stopped" in output and "Traceback" not in output
    assert "stopped" in [event["event"] for event in read_events(out / "raypose")]
    assert temporaries(out) == []
    assert session_pids(process.pid) == [] and list(ray_processes(process.pid)) == []


@on_both
def test_ctrl_c_stops_cleanly_and_the_next_run_goes_on(
    project: Project, long_video: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    process = start(project, long_video, out, *options)
    wait_for_ranges(out, 4, process)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    check_stopped(process, out)
    assert not list(out.rglob("*.csv")) and not list(out.rglob("*.mp4"))
    kept = len(list(out.rglob("*.parquet.json")))
    assert kept >= 3
    result = run(project.config(out, videos=(str(long_video),), label=(), inline=True))
    assert result.ok
    # The ranges that were finished for both members were not predicted again.
    assert result.n_frames <= 2 * N_FRAMES - 100 * (kept - kept % 2)
    assert read_csv(out / "eks" / "video_preds" / "long.csv").n_frames == N_FRAMES


@on_both
def test_sigterm_stops_as_ctrl_c_does(
    project: Project, long_video: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """A batch system sends it to the process alone."""
    out = tmp_path / "out"
    process = start(project, long_video, out, *options)
    wait_for_ranges(out, 1, process)
    process.terminate()
    check_stopped(process, out)


@pytest.mark.ray
def test_sigterm_while_ray_starts(project: Project, long_video: Path, tmp_path: Path) -> None:
    """Ray's own handler would end the process with another code, and say nothing."""
    out = tmp_path / "out"
    process = start(project, long_video, out)
    deadline = time.monotonic() + 60
    while not list(ray_processes(process.pid)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.terminate()
    check_stopped(process, out)
