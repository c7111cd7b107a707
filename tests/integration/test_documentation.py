"""The documentation against real runs: the files and columns it names, and the code it shows.

Blocks of `bash` and `python` are run, page by page, in a directory with `videos/` and `models/`;
what can't be run here is written as `sh` or without a language, and only parsed (`tests/docs`).
"""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raypose.cli import app
from raypose.exporting import export
from raypose.pipeline import run
from tests.docs.test_commands import options
from tests.integration.conftest import Project
from tests.markdown import PAGES, ROOT, blocks, commands
from tests.models import KEYPOINTS

OUTPUTS = (ROOT / "docs" / "outputs.md").read_text()
RUNNABLE = ("bash", "python")
WITH_CODE = [page for page in PAGES if any(b.language in RUNNABLE for b in blocks(page))]


@pytest.fixture(scope="module")
def workspace(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as the pages assume it: `videos/` and `models/`, and a finished run in `out/`,
    which writes every kind of file but those of several cameras."""
    root = tmp_path_factory.mktemp("workspace")
    (root / "videos").mkdir()
    (root / "models").mkdir()
    for name in ("mouse1", "mouse2"):
        (root / "videos" / f"{name}.mp4").symlink_to(project.videos / "a.mp4")
    for name, model in zip("ab", project.models, strict=True):
        shutil.copytree(model, root / "models" / name)  # the Pose-app's commands write into it
    models = tuple(str(root / "models" / name) for name in "ab")
    result = run(
        project.config(
            root / "out",
            videos=(root / "videos" / "mouse1.mp4",),
            models=models,
            worst=1,
            timestamps=True,
            inline=True,
        ),
        quiet=True,
    )
    assert result.ok, result.failures
    return root


def documented(word: str) -> bool:
    """Whether the page names it, in code."""
    return bool(re.search(rf"`(?:[^`\n]*/)?{re.escape(word)}`", OUTPUTS))


def keys_of(content: Any, stop: frozenset[str]) -> set[str]:
    """Keys at all depths of a JSON object, but not those below `stop`."""
    if not isinstance(content, dict):
        return set()
    inner = [keys_of(value, stop) for key, value in content.items() if key not in stop]
    return set(content).union(*inner)


def test_every_file_of_a_run_is_on_the_page(workspace: Path) -> None:
    files = [path for path in (workspace / "out").rglob("*") if path.is_file()]
    names = {path.name for path in files if ".raypose" not in path.parts}
    names = {re.sub(r"^mouse1(?=[._])", "<video>", name) for name in names}
    names = {re.sub(r"frame\d+", "frame<number>", name) for name in names}
    assert {"<video>_worst.csv", "<video>_frames.csv", "summary.csv"} <= names
    # One that is named after the recording has the same name here as one of a video.
    unknown = {name for name in names - {"<video>.json"} if not documented(name)}
    assert not unknown
    assert documented("<recording>.json")


def test_every_column_and_key_is_on_the_page(workspace: Path) -> None:
    out = workspace / "out"
    preds, run_dir = out / "eks" / "video_preds", out / "raypose"
    columns: set[str] = set()
    for table in (run_dir / "summary.csv", *out.glob("*/video_preds/*/mouse1_*.csv")):
        with table.open(newline="") as file:
            columns |= set(next(csv.reader(file)))
    with (preds / "mouse1.csv").open(newline="") as file:
        columns |= set(list(csv.reader(file))[2][1:])
    quality = json.loads((preds / "mouse1_quality.json").read_text())
    columns |= keys_of(quality, frozenset({"keypoints"}))
    for content in (out / "eks" / "smooth_params" / "mouse1.json", run_dir / "run.json"):
        columns |= set(json.loads(content.read_text()))
    assert {"x_posterior_var", "points_pca", "ensemble_variance", "score", "status"} <= columns
    columns -= {"", *KEYPOINTS}
    assert not {column for column in columns if not documented(column)}


@pytest.mark.ray
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_runs(
    page: Path, workspace: Path, ray_cluster: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    place = shutil.copytree(workspace, tmp_path / "here", symlinks=True)
    found = [block for block in blocks(page) if block.language in RUNNABLE]
    if "bash" in {block.language for block in found}:
        shutil.rmtree(place / "out")  # the page makes its own
    monkeypatch.chdir(place)
    if page.name == "formats.md":
        export("out/a/video_preds/mouse1.csv", ["parquet"], place)
        export("out/eks/video_preds/mouse1.csv", ["h5", "nwb", "slp", "coco"], place)
        shutil.copytree("video_preds", place, dirs_exist_ok=True)
    for block in found:
        if block.language == "python":
            exec(compile(block.code, str(block), "exec"), {"__name__": "documentation"})
        else:
            for line in block.lines():
                type_line(line, f"{block}: {line}")


def type_line(line: str, where: str) -> None:
    """Execute a line of shell; raypose in this process, where everything is imported already."""
    found = list(commands(line))
    if not found:
        done = subprocess.run(["bash", "-ec", line], capture_output=True, text=True)
        assert done.returncode == 0, f"{where}\n{done.stderr}"
        return
    assert shlex.split(line, comments=True)[1:] == found[0], f"{where}: not a command alone"
    name, *args = found[0]
    if "--inline" in options(name):
        args = ["--inline", *args]
    result = CliRunner().invoke(app, [name, *args])
    assert result.exit_code == 0, f"{where}\n{result.output}"
