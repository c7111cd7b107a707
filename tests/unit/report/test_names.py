"""Short paths, models and workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from raypose.errors import Failure
from raypose.report.names import ShortNames, shared_prefix, worker_labels


@pytest.mark.parametrize(
    ("names", "shared"),
    [
        (["2026-11-01_10-00-00", "2026-11-01_10-00-01"], "2026-11-01_"),
        (["day/a", "day/b"], "day/"),
        (["model-1", "model-2"], "model-"),
        (["model1", "model2"], ""),
        (["model_", "model_b"], ""),
        (["alone_1"], ""),
        ([], ""),
    ],
)
def test_what_names_share_ends_with_a_word(names: list[str], shared: str) -> None:
    assert shared_prefix(names) == shared


def test_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    names = ShortNames("/data/out")
    assert names.path("/data/out/a/video_preds/x.csv") == "a/video_preds/x.csv"
    assert names.path(f"{tmp_path}/videos/x.mp4") == "videos/x.mp4"
    assert names.path("/data/out2/x.csv") == "/data/out2/x.csv"
    assert names.path("/data/out/") == "/data/out/"
    assert names.from_here("/data/out/raypose") == "/data/out/raypose"
    assert names.from_here(f"{tmp_path}/out/raypose") == "out/raypose"
    assert ShortNames("s3://lab/out").path("s3://lab/out/a/x.csv") == "a/x.csv"


def test_subjects_and_failures() -> None:
    models = ["run_a", "run_b", "run_c", "run_d"]
    names = ShortNames("/out", models)
    assert names.subject("run_a · cam") == "a · cam"
    assert names.subject("run_a + run_b · cam [0–9)") == "a + b · cam [0–9)"
    assert names.subject(" + ".join(models) + " · cam") == "4 models · cam"
    assert names.subject("eks · cam") == "eks · cam"
    assert names.subject("cam.mp4") == "cam.mp4"
    failure = Failure("label", "is broken", "/out/run_a/x.mp4", "Copy it again.")
    said = "run_a/x.mp4: is broken. Copy it again."
    assert names.sentence(failure, subject="run_b · x") == f"label b · x: {said}"
    planned = Failure("plan", "is broken", "/out/run_a/x.mp4", "Copy it again.", subject="x.mp4")
    assert names.sentence(planned) == said


def test_workers_on_one_machine() -> None:
    names = ["lab:10 gpu 0", "lab:11 gpu 1", "lab:12", "lab:13", "lab:14 gpu 1"]
    labels = worker_labels(names)
    assert list(labels.values()) == ["GPU 0", "GPU 1", "worker 1", "worker 2", "GPU 1 (2)"]


def test_workers_on_several_machines() -> None:
    names = ["n1.lab.org:10 gpu 0", "n2.lab.org:10 gpu 0", "n1.lab.org:11", "odd"]
    labels = list(worker_labels(names).values())
    assert labels == ["n1 GPU 0", "n2 GPU 0", "n1 worker 1", "worker 1"]
