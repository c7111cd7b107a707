"""The demo itself: real training, the whole job, and what it says of the error."""

from __future__ import annotations

import functools
import time
from pathlib import Path

import numpy as np
import pytest

from raypose.demo import project as files
from raypose.demo import run_demo
from raypose.demo.figure import SIZE
from raypose.demo.training import train_member
from raypose.inputs.models import open_model
from raypose.tables.keypoints import read_csv

pytestmark = pytest.mark.slow

N_STEPS = 4


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> files.Project:
    project = files.claim(tmp_path_factory.mktemp("demo") / "labelled")
    files.make_labels(project)
    return project


def _train(project: files.Project, seed: int, told: list[float] | None = None) -> bool:
    report = told.append if told is not None else (lambda fraction: None)
    return train_member(project, seed, on_progress=report, n_steps=N_STEPS)


class TestTraining:
    def test_a_member_is_a_model_directory(self, labelled: files.Project) -> None:
        told: list[float] = []
        assert _train(labelled, 0, told)
        assert told == pytest.approx([step / N_STEPS for step in range(N_STEPS + 1)])
        spec = open_model(labelled.model(0))
        assert spec.model_type == "heatmap"
        assert Path(spec.checkpoint).name == "epoch=0-step=4-best.ckpt"
        told.clear()
        assert not _train(labelled, 0, told)
        assert not told

    def test_a_damaged_checkpoint_is_trained_again(self, labelled: files.Project) -> None:
        _train(labelled, 1)
        path = Path(open_model(labelled.model(1)).checkpoint)
        size = path.stat().st_size
        path.write_bytes(path.read_bytes()[:1000])
        assert _train(labelled, 1)
        assert path.stat().st_size == size

    def test_members_differ(self, labelled: files.Project) -> None:
        prints = []
        for seed in (0, 1):
            _train(labelled, seed)
            prints.append(open_model(labelled.model(seed)).fingerprint)
        assert prints[0] != prints[1]

    def test_stopped_training_leaves_no_checkpoint(self, labelled: files.Project) -> None:
        def stop(fraction: float) -> None:
            if fraction > 0.3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_member(labelled, 2, on_progress=stop, n_steps=N_STEPS)
        assert not list(labelled.model(2).rglob("*.ckpt"))
        assert _train(labelled, 2)


@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("ignore")
def test_the_whole_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With half the training: a little worse, and a minute sooner."""
    half = functools.partial(train_member, n_steps=60)
    monkeypatch.setattr("raypose.demo.training.train_member", half)
    told: list[tuple[str, float]] = []
    result = run_demo(
        tmp_path / "demo", report=lambda *part: told.append(part), inline=True, device="cpu"
    )
    assert result.result.ok, result.result.failures
    assert list(result.errors_px) == ["seed-0", "seed-1", "eks"]
    errors = result.errors_px
    assert errors["eks"] < 0.04 * SIZE
    assert errors["eks"] < (errors["seed-0"] + errors["seed-1"]) / 2
    assert {"Training member 1 of 2", "Training member 2 of 2"} <= {text for text, _ in told}
    shares = [done for _, done in told]
    assert shares == sorted(shares) and shares[-1] == 1
    assert [path.suffix for path in result.files_to_open] == [".png", ".mp4", ".mp4"]
    assert all(path.is_file() for path in result.files_to_open)

    told.clear()
    began = time.perf_counter()
    again = run_demo(
        tmp_path / "demo", report=lambda *part: told.append(part), inline=True, device="cpu"
    )
    assert time.perf_counter() - began < 15
    assert again.result.nothing_to_do
    assert again.errors_px == result.errors_px
    assert not any(text.startswith("Training") for text, _ in told)

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
