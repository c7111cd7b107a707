"""A long video, its undisturbed result, and runs as a user starts them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raypose.pipeline import run
from raypose.storage.run_log import read_events
from raypose.tables.keypoints import read_csv
from tests.integration.conftest import Project, project  # noqa: F401
from tests.nodes import Nodes, inside, ray_nodes
from tests.videos import make_video

N_FRAMES = 1200
CHUNK = 100


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with ray_nodes(tmp_path / "nodes") as started:
        yield started


@dataclass
class Run:
    """A `raypose run` over the long video, in a process of its own."""

    process: subprocess.Popen[str]
    out: Path

    def events(self, name: str) -> list[dict[str, Any]]:
        if not (self.out / "raypose" / "events.jsonl").exists():
            return []
        return [e for e in read_events(self.out / "raypose") if e["event"] == name]

    def wait_until(self, what: Callable[[], object], timeout_s: float = 120) -> None:
        deadline = time.monotonic() + timeout_s
        while not what():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def ranges(self) -> int:
        """Ranges of frames that are finished and kept."""
        return len(list(self.out.rglob("*.parquet")))

    def finish(self, timeout_s: float = 200) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=timeout_s)
        assert "Traceback" not in output, output
        return self.process.returncode, output


@dataclass
class Job:
    """The long video, two models, and what comes of them when nothing happens."""

    project: Project
    video: Path
    undisturbed: dict[str, np.ndarray]

    def start(self, nodes: Nodes, out: Path, *options: str, within: str = "", **env: str) -> Run:
        models = [flag for model in self.project.models for flag in ("-m", str(model))]
        what = ["--eks", "--no-metrics", "--device", "cpu", "--batch-size", "4"]
        how = ["--chunk-frames", str(CHUNK), "--address", nodes.address, *options]
        command = [*inside(within), sys.executable, "-m", "raypose", "run", str(self.video)]
        command += models
        process = subprocess.Popen(
            [*command, "-o", str(out), *what, *how],
            env={**nodes.environment(), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        return Run(process, out)

    def check(self, out: Path) -> None:
        """The tables are those of an undisturbed run, and nothing half-made is left."""
        found = tables(out)
        assert found.keys() == self.undisturbed.keys()
        for name, values in self.undisturbed.items():
            np.testing.assert_allclose(found[name], values, atol=1e-3, err_msg=name)
        assert not list(out.rglob("*.tmp-*"))


def tables(out: Path) -> dict[str, np.ndarray]:
    paths = sorted(out.glob("*/video_preds/*.csv")) + sorted(out.glob("*/*/video_preds/*.csv"))
    return {str(path.relative_to(out)): read_csv(path).values for path in paths}


@pytest.fixture(scope="session")
def job(
    project: Project,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Job:
    video = Path(
        make_video(tmp_path_factory.mktemp("long") / "long.mp4", n_frames=N_FRAMES, gop=25)
    )
    out = tmp_path_factory.mktemp("undisturbed")
    config = project.config(
        out,
        videos=(str(video),),
        inline=True,
        label=(),
        metrics=False,
        report=False,
        chunk_frames=CHUNK,
    )
    result = run(config)
    assert result.ok, json.dumps([str(failed) for failed in result.failures])
    found = tables(out)
    assert len(found) == 3
    return Job(project, video, found)
