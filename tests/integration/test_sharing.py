"""Several runs at once on one output folder: they share the recordings."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raypose.pipeline import run
from raypose.results import Display
from raypose.sharing import claims_folder
from raypose.storage.claims import Claims, Holder
from raypose.storage.run_log import read_events
from tests.integration.conftest import Project
from tests.integration.test_run import temporaries
from tests.models import make_model
from tests.stores import Store
from tests.videos import make_video

N_VIDEOS = 8

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("clips")
    models = tuple(make_model(root / "models" / name, seed=i) for i, name in enumerate("ab"))
    (root / "videos").mkdir()
    for i in range(N_VIDEOS):
        make_video(root / "videos" / f"clip{i}.mp4", n_frames=20 + i)
    return Project(root / "videos", (models[0], models[1]))


@pytest.fixture(scope="module")
def alone(clips: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tables of a single run."""
    out = tmp_path_factory.mktemp("alone") / "out"
    config = clips.config(out, run_dir=out.parent / "log", label=(), inline=True)
    assert run(config, quiet=True).ok
    return tables(out)


def tables(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.csv")}


def start(
    project: Project, out: Path | str, run_dir: Path, *options: str
) -> subprocess.Popen[str]:
    models = [flag for model in project.models for flag in ("-m", str(model))]
    command = ["run", str(project.videos), *models, "-o", str(out), "--eks", "--device", "cpu"]
    return subprocess.Popen(
        [sys.executable, "-m", "raypose", *command, "--run-dir", str(run_dir), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def predicted(*run_dirs: Path) -> Counter[str]:
    """How often each recording was predicted, by the logs of all runs."""
    return Counter(
        event["recording"]
        for run_dir in run_dirs
        for event in read_events(run_dir)
        if event["event"] == "task finished" and event["kind"] == "predict"
    )


def left_over(out: Path) -> list[Path]:
    return [*temporaries(out), *out.rglob("claims")]


@pytest.mark.parametrize("n", [2, pytest.param(4, marks=pytest.mark.long)])
def test_runs_at_once_do_everything_once(
    clips: Project, alone: dict[str, bytes], tmp_path: Path, n: int
) -> None:
    out = tmp_path / "out"
    logs = [tmp_path / f"log{i}" for i in range(n)]
    runs = [start(clips, out, log, "--inline") for log in logs]
    told = [process.communicate(timeout=280)[0] for process in runs]
    assert [process.returncode for process in runs] == [0] * n, told
    assert predicted(*logs) == {f"clip{i}": 1 for i in range(N_VIDEOS)}
    assert tables(out) == alone
    assert left_over(out) == []
    for log, text in zip(logs, told, strict=True):
        others = N_VIDEOS - len(predicted(log))
        assert f"{N_VIDEOS - others} of {N_VIDEOS} videos: " in text
        told_of = re.search(rf"{others} videos finished by (another run|other runs)", text)
        assert bool(told_of) == (others > 1)


def test_runs_share_outputs_in_a_store(
    clips: Project, alone: dict[str, bytes], store: Store, tmp_path: Path
) -> None:
    logs = [tmp_path / "log0", tmp_path / "log1"]
    runs = [start(clips, "s3://lab/out", log, "--inline") for log in logs]
    told = [process.communicate(timeout=280)[0] for process in runs]
    assert [process.returncode for process in runs] == [0, 0], told
    assert predicted(*logs) == {f"clip{i}": 1 for i in range(N_VIDEOS)}
    keys = [key for key in store.keys("out/") if key.endswith(".csv")]
    assert {key.removeprefix("out/"): store.get(key) for key in keys} == alone
    assert not [key for key in store.keys() if "claims" in key]


def test_what_a_killed_run_leaves_is_done_by_the_other(
    clips: Project, alone: dict[str, bytes], tmp_path: Path
) -> None:
    out, logs = tmp_path / "out", [tmp_path / "log0", tmp_path / "log1"]
    killed, other = (start(clips, out, log, "--inline") for log in logs)
    deadline = time.monotonic() + 120
    while not (logs[0] / "events.jsonl").exists() or not predicted(logs[0]):
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    told, _ = other.communicate(timeout=280)
    assert other.returncode == 0, told
    assert tables(out) == alone
    assert left_over(out) == []
    # At most what was in the killed one's hands is predicted twice.
    counts = predicted(*logs)
    assert counts.keys() == {f"clip{i}" for i in range(N_VIDEOS)}
    assert sum(counts.values()) <= N_VIDEOS + 2


def test_runs_with_other_settings_do_only_what_is_missing(clips: Project, tmp_path: Path) -> None:
    out, logs = tmp_path / "out", [tmp_path / "log0", tmp_path / "log1"]
    runs = [start(clips, out, logs[0], "--inline")]
    runs.append(start(clips, out, logs[1], "--inline", "--label", "full"))
    told = [process.communicate(timeout=280)[0] for process in runs]
    assert [process.returncode for process in runs] == [0, 0], told
    assert predicted(*logs) == {f"clip{i}": 1 for i in range(N_VIDEOS)}
    assert len(list(out.rglob("*_labeled.mp4"))) == 3 * N_VIDEOS
    again = clips.config(out, label=("full",), inline=True)
    assert run(again, quiet=True).nothing_to_do


def test_two_overwriting_runs_redo_everything_once(clips: Project, tmp_path: Path) -> None:
    out, logs = tmp_path / "out", [tmp_path / "log0", tmp_path / "log1"]
    assert run(clips.config(out, label=(), eks=False, inline=True), quiet=True).ok
    runs = [start(clips, out, log, "--inline", "--overwrite") for log in logs]
    told = [process.communicate(timeout=280)[0] for process in runs]
    assert [process.returncode for process in runs] == [0, 0], told
    assert predicted(*logs) == {f"clip{i}": 1 for i in range(N_VIDEOS)}
    assert left_over(out) == []


def test_the_logs_of_two_runs_do_not_mix(clips: Project, tmp_path: Path) -> None:
    out = tmp_path / "out"
    runs = [start(clips, out, out / "raypose", "--inline") for _ in range(2)]
    told = [process.communicate(timeout=280)[0] for process in runs]
    assert [process.returncode for process in runs] == [0, 0], told
    logs = [path.parent for path in out.rglob("events.jsonl")]
    assert len(logs) == 2 and out / "raypose" in logs
    for log in logs:
        names = [event["event"] for event in read_events(log)]
        assert (names[0], names[-1], names.count("planned")) == ("planned", "ended", 1)


class GivesUp(Display):
    """Lets the other run give up what this one waits for."""

    def __init__(self, claims: Claims) -> None:
        self.claims = claims
        self.said: list[str] = []

    def waiting(self, what: str) -> None:
        if "another run" in what:
            self.said.append(what)
            self.claims.end("recording clip1")


def test_a_recording_that_another_run_gives_up_is_done(
    clips: Project, executor: dict[str, Any], tmp_path: Path
) -> None:
    videos = tuple(str(clips.videos / f"clip{i}.mp4") for i in range(3))
    config = clips.config(tmp_path / "out", videos=videos, label=(), eks=False, **executor)
    other = replace(Holder.this_process(), host="node2", machine="node2")
    with Claims(claims_folder(config), other) as claims:
        claims.take("recording clip1")
        display = GivesUp(claims)
        result = run(config, display=display)
    by = f"node2, process {os.getpid()}"
    assert display.said == [f"1 recording is being done by another run ({by})"]
    assert result.ok and result.elsewhere == {}
    assert len(result.made["table"]) == 3 * len(clips.models)
    assert list(predicted(result.run_dir))[-1] == "clip1"
