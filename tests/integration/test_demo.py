"""The demo itself: real training, the whole job, and what it says of the error."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from raypose.demo import DemoResult, run_demo
from raypose.demo import project as files
from raypose.demo.figure import SIZE
from raypose.demo.training import SEEDS, starting_members
from raypose.errors import RayposeError
from raypose.inference.artifact import is_cached
from raypose.inputs.models import open_model
from raypose.tables.keypoints import read_csv

pytestmark = pytest.mark.slow

N_STEPS = 4


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> files.Project:
    project = files.claim(tmp_path_factory.mktemp("demo") / "labelled")
    files.make_labels(project)
    return project


def _train(project: files.Project, told: list[float] | None = None) -> int:
    with starting_members(project, n_steps=N_STEPS) as training:
        training.finish(told.append if told is not None else (lambda fraction: None))
    return len(training.runs)


def _children() -> set[str]:
    me = os.getpid()
    return set(Path(f"/proc/{me}/task/{me}/children").read_text().split())


class TestTraining:
    def test_members_are_model_directories(self, labelled: files.Project) -> None:
        told: list[float] = []
        assert _train(labelled, told) == 2
        assert told[0] == 0 and told[-1] == 1 and told == sorted(told)
        specs = [open_model(labelled.model(seed)) for seed in SEEDS]
        assert [spec.model_type for spec in specs] == ["heatmap", "heatmap"]
        assert {Path(spec.checkpoint).name for spec in specs} == {"epoch=0-step=4-best.ckpt"}
        assert specs[0].fingerprint != specs[1].fingerprint
        assert all(is_cached(spec) for spec in specs)  # the run has nothing to build
        told.clear()
        assert _train(labelled, told) == 0
        assert not told

    def test_members_start_from_weights_of_their_own(self, labelled: files.Project) -> None:
        _train(labelled)
        first, second = (
            torch.load(open_model(labelled.model(seed)).checkpoint)["state_dict"] for seed in SEEDS
        )
        weights = [name for name, weight in first.items() if weight.ndim == 4]
        assert len(weights) > 20
        assert all((first[name] - second[name]).abs().mean() > 0.01 for name in weights)

    def test_a_damaged_checkpoint_is_trained_again(self, labelled: files.Project) -> None:
        _train(labelled)
        path = Path(open_model(labelled.model(1)).checkpoint)
        before = torch.load(path)["state_dict"]
        path.write_bytes(path.read_bytes()[:1000])
        assert _train(labelled) == 1
        after = torch.load(path)["state_dict"]
        assert all(torch.allclose(after[name], before[name], atol=1e-3) for name in before)

    def test_stopped_training_leaves_no_checkpoint(self, tmp_path: Path) -> None:
        project = files.claim(tmp_path / "stopped")
        files.make_labels(project)

        def stop(fraction: float) -> None:
            if fraction > 0.1:
                raise KeyboardInterrupt

        before = _children()
        with (
            pytest.raises(KeyboardInterrupt),
            starting_members(project, n_steps=50) as training,
        ):
            training.finish(stop)
        assert not list(project.directory.rglob("*.ckpt"))
        assert _children() <= before

    def test_labels_that_cannot_be_read_are_an_error_in_one_line(self, tmp_path: Path) -> None:
        project = files.claim(tmp_path / "broken")
        files.make_labels(project)
        next(project.directory.rglob("*.png")).write_bytes(b"")
        with pytest.raises(RayposeError, match=r"seed-\d: this model could not be trained"):
            _train(project)


@pytest.mark.filterwarnings("ignore")
def test_a_demo_with_few_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but how well the members learn."""
    quickly = functools.partial(starting_members, n_steps=N_STEPS)
    monkeypatch.setattr("raypose.demo.training.starting_members", quickly)
    told: list[tuple[str, float]] = []

    def demo() -> DemoResult:
        told.clear()
        return run_demo(
            tmp_path / "demo", report=lambda *part: told.append(part), inline=True, device="cpu"
        )

    result = demo()
    assert result.result.ok, result.result.failures
    assert list(result.errors_px) == ["seed-0", "seed-1", "eks"]
    assert "Training two models" in {text for text, _ in told}
    shares = [done for _, done in told]
    assert shares == sorted(shares) and shares[-1] == 1
    assert [path.suffix for path in result.files_to_open] == [".png", ".mp4", ".mp4"]
    assert all(path.is_file() for path in result.files_to_open)

    again = demo()
    assert again.result.nothing_to_do
    assert again.errors_px == result.errors_px
    assert not any(text.startswith("Training") for text, _ in told)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("ignore")
def test_the_members_learn(tmp_path: Path) -> None:
    result = run_demo(tmp_path / "demo", report=lambda *part: None, inline=True, device="cpu")
    errors = result.errors_px
    assert errors["eks"] < 0.03 * SIZE
    assert errors["eks"] < (errors["seed-0"] + errors["seed-1"]) / 2

    # Lightning Pose itself takes the model directories, and says the same.
    from lightning_pose.api import Model

    project = files.Project(tmp_path / "demo")
    theirs = Model.from_dir(project.model(0)).predict_on_video_file(
        project.videos[0], output_dir=tmp_path / "theirs", compute_metrics=False, reader="opencv"
    )
    mine = read_csv(project.outputs / "seed-0" / "video_preds" / "mouse_1.csv")
    values = theirs.predictions.to_numpy().reshape(mine.values.shape)
    sure = mine.likelihood > 0.9
    assert sure.mean() > 0.2
    assert np.abs(values[..., :2] - mine.xy)[sure].max() < 0.05
    assert np.abs(values[..., 2] - mine.likelihood)[sure].max() < 0.01
