"""`raypose suggest` and `raypose evaluate` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from raypose import cli
from raypose.tables.keypoints import COORDS, KeypointTable
from tests.disk import largest_file
from tests.output_tables import commit_table
from tests.videos import make_video

NAMES = ("nose", "paw")
N_FRAMES = 40


def invoke(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and all output; a traceback fails the test."""
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Outputs of one model for `cam.mp4`, in which frame 20 is bad."""
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    video = make_video(tmp_path / "cam.mp4", n_frames=N_FRAMES)
    values = np.ones((N_FRAMES, len(NAMES), 3), np.float32)
    values[..., 0] = np.arange(N_FRAMES)[:, None]
    values[:, 1, 1] = 30
    values[20, :, 1] += 25
    values[20, :, 2] = 0.2
    table = KeypointTable("m_tracker", NAMES, COORDS, values)
    commit_table(tmp_path / "out", "model_a", "cam", table, video)
    return tmp_path / "out"


def test_suggest_then_evaluate(out: Path) -> None:
    code, text = invoke("suggest", out, "-n", "1", "-o", "project")
    assert code == 0, text
    assert "1 frame is in project" in text and "CollectedData_suggested.csv" in text
    assert (out.parent / "project/labeled-data/cam/img00000020.png").exists()
    labels = "project/CollectedData_suggested.csv"
    code, text = invoke("evaluate", labels, out)
    assert code == 0, text
    assert "model_a" in text and "1 of 1 labelled frames were compared." in text
    code, text = invoke("evaluate", labels, out, "--json", "--csv", "errors.csv")
    errors = json.loads(text)["errors"]["model_a"]
    assert code == 0
    assert errors["n"] == 2 and errors["max"] < 0.001
    assert len((out.parent / "errors.csv").read_text().splitlines()) == 2


def test_the_errors_never_replace_the_labels(out: Path) -> None:
    invoke("suggest", out, "-n", "1", "-o", "project")
    labels = out.parent / "project/CollectedData_suggested.csv"
    before = labels.read_bytes()
    code, text = invoke("evaluate", labels, out, "--csv", "project/../project/" + labels.name)
    assert (code, "--csv names the file of labels" in text) == (2, True)
    assert labels.read_bytes() == before
    errors = out.parent / "errors.csv"
    errors.write_text("before")
    with largest_file(20):
        code, text = invoke("evaluate", labels, out, "--csv", errors)
    assert code == 1 and f"{errors}: the file is too large" in " ".join(text.split())
    assert errors.read_text() == "before"


def test_mistakes_are_one_line(out: Path) -> None:
    for arguments, code, words in (
        (("suggest", "none", "-o", "p"), 2, "is no directory on this machine"),
        (("suggest", out), 2, "--output-dir"),
        (("suggest", out, "-o", out.parent / "cam.mp4"), 2, "must be a directory"),
        (("evaluate", "none.csv", out), 2, "none.csv: no such file"),
        (("evaluate", out.parent / "cam.mp4", out), 1, "cam.mp4: "),
    ):
        found, text = invoke(*arguments)
        assert found == code, text
        assert words in text
        assert "Traceback" not in text
