"""What is wrong with a command line or a config file: one line that says it, and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.projects import Project
from tests.unit.cli.commands import invoke

RUN = ("run", "videos", "-m", "models/a")
FAR = ("run", "/v", "-m", "/m", "-o", "/o")
MISTAKES = [
    # names
    (("rnu",), "there is no command rnu. Did you mean run? See raypose --help"),
    (("--hlep",), "there is no option --hlep. Did you mean --help? See raypose --help"),
    ((*RUN, "--modle", "x"), "there is no option --modle. Did you mean --model? See raypose run"),
    (("plan", "--no-metric"), "no option --no-metric. Did you mean --no-metrics? See rayp"),
    (("smooth", "t", "--outptu-dir=o"), "no option --outptu-dir. Did you mean --output-dir?"),
    (("report", "--quiet"), "there is no option --quiet. See raypose report --help"),
    (("submit", "--address", "http://none", "--", "run", "--labl"), "Did you mean --label?"),
    ((*RUN, "--config", "bad.yaml"), "there is no setting 'modle'. Did you mean model? raypose"),
    ((*RUN, "--override", "model.bakcbone=x"), "Did you mean model.backbone? Write +model.bak"),
    # values
    ((*RUN, "--label", "ful"), "--label is 'ful', and must be full or snippet. Did you mean full"),
    ((*RUN, "--gpus", "two"), "--gpus is 'two', and must be a whole number of at least 1"),
    ((*RUN, "--eks-mode", "singel"), "--eks-mode is 'singel', and must be auto, singlecam"),
    (("smooth", "t", "-o", "o", "--eks-mode", "x"), "--eks-mode is 'x', and must be auto"),
    (("suggest", "o", "-o", "p", "-n", "0"), "--frames is '0', and must be a whole number of at"),
    (("export", "o", "--format", "nwb,sl"), "--format is 'sl', and must be parquet, h5, nwb"),
    (("suggest", "o", "-o", "p", "--format", "lpp"), "must be lp or dlc. Did you mean lp?"),
    (("evaluate", "l", "o", "--worst", "-1"), "--worst is '-1', and must be a whole number"),
    (("watch", "videos", "-m", "m", "--settle", "x"), "--settle is 'x', and must be a number of"),
    (("submit", "--address", "http://none", "--code", "her"), "here or image. Did you mean here?"),
    (("doctor", "--device", "cpuu"), "--device is 'cpuu', and must be auto, cpu or cuda"),
    (("demo", "--device", "cpuu"), "--device is 'cpuu', and must be auto, cpu or cuda"),
    (("process-videos", "m", "v", "yes", "true", "true"), "COMPUTE_METRICS is 'yes', and must be"),
    # missing or too many
    (("run",), "--model: at least one is needed. See raypose run --help"),
    (("smooth",), "tables: at least one is needed"),
    (("process-videos", "m", "v"), "COMPUTE_METRICS is missing. Write raypose process-videos "),
    (("suggest", "o"), "--output-dir is missing. See raypose suggest --help"),
    (("jobs",), "--address is missing. See raypose jobs --help"),
    (("report", "a", "b"), "unexpected extra argument"),
    ((*RUN, "--label"), "option '--label' requires an argument"),
    # files and directories that are not there, or are something else
    (("run", "no.mp4", "-m", "models/a"), "no.mp4: no such file or directory. Check the path."),
    (("watch", "no", "-m", "models/a"), "no: no such file or directory. Check the path."),
    (("smooth", "no", "-o", "o"), "no: no such file or directory. Check the path."),
    (("evaluate", "no.csv", "o"), "no.csv: no such file or directory. Check the path."),
    (("doctor", "no"), "no: no such file or directory. Check the path."),
    (("doctor", "models/a", "no.mp4"), "no.mp4: no such file or directory. Check the path."),
    (("plan", "empty", "-m", "models/a"), "empty: no video there."),
    (("process-videos", "models/a", "empty", "true", "true", "true"), "empty: no video there."),
    (("smooth", "empty", "-o", "o"), "empty: no table of predictions there."),
    (("plan", "videos", "-m", "no"), "no: there is no such model directory."),
    (("plan", "videos", "-m", "empty"), "empty: there is no config.yaml in this model directory."),
    (("watch", "empty", "-m", "empty"), "empty: there is no config.yaml in this model directory."),
    (("process-videos", "no", "videos", "true", "true", "true"), "no such model directory."),
    ((*RUN, "--data-dir", "no"), "no: there is no such directory of training data."),
    ((*RUN, "--bbox-dir", "no"), "no: there is no such directory of bounding boxes."),
    ((*RUN, "--config", "no.yaml"), "no.yaml: the file can't be read (No such file or directory)"),
    ((*RUN, "--config", "no.json"), "no.json: can't be read (No such file or directory)"),
    (("run", "--sessions", "no.csv", "-m", "models/a"), "no.csv: can't be read (No such file"),
    (("report", "empty"), "empty: holds no run of raypose."),
    (("status", "empty"), "empty: holds no run of raypose."),
    (("status", "no"), "no: holds no run of raypose."),
    (("plan", "ftp://lab/v.mp4", "-m", "models/a"), "raypose does not know ftp:// URLs."),
    (("submit", "--address", "http://none", "--env-file", "no.env", "--", *FAR), "no.env: can't"),
]  # fmt: skip


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project(tmp_path_factory.mktemp("project"))
    project.video()
    (project.root / "empty").mkdir()
    (project.root / "bad.yaml").write_text("modle: x\n")
    return project.root


@pytest.mark.parametrize(("arguments", "words"), MISTAKES)
def test_one_line_and_exit_code_2(
    here: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(here / "cache"))
    before = sorted(here.iterdir())
    code, text = invoke(*arguments)
    assert code == 2
    (line,) = text.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert sorted(here.iterdir()) in (before, sorted([*before, here / "cache"]))


@pytest.mark.parametrize("command", ["run", "plan"])
def test_what_failed_is_exit_code_1(project: Project, command: str) -> None:
    """The command line is right, and a file that it names is broken."""
    (project.videos / "broken.mp4").write_text("no video\n" * 50)
    code, text = invoke(command, project.videos, "-m", project.models[0], "--inline")
    assert code == 1
    assert "broken.mp4" in text
