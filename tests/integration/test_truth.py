"""No record lies: inputs are swapped at every stage of a run, and each record is held to its word.

A record claims which video, network, settings and tables an output was made from. Clean runs of
every combination of the inputs say what an output of just that looks like, byte for byte. A run in
whose middle an input is exchanged may fail by name, but whatever it commits must be what its
record says; and the next run must come to what a clean run of the new inputs comes to.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from raypose.config import RunConfig, SmoothConfig
from raypose.pipeline import Display, RunResult, run, smooth
from raypose.planning import Plan
from raypose.specs import Progress
from raypose.steps import Task
from tests.models import make_model
from tests.unit.eks.ensembles import write_calibration
from tests.videos import make_video, numbered_picture

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

Claims = tuple[Any, ...]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))


@dataclass
class Swapper(Display):
    """A display that exchanges files when something happens for the n-th time."""

    at: int = -1
    swap: Callable[[], None] = lambda: None
    events: list[str] = field(default_factory=list)

    def _happens(self, what: str) -> None:
        if len(self.events) == self.at:
            self.swap()
        self.events.append(what)

    def planned(self, plan: Plan) -> None:
        self._happens("planned")

    def started(self, description: str, tasks: Sequence[Task]) -> None:
        self._happens("started")

    def progress(self, task: Task, progress: Progress) -> None:
        self._happens(f"{task.step.name} at {progress.n_done}")


def by_replacing(path: Path, other: Path) -> None:
    """As `mv` and `rsync` do it; size and time may be those of the old file."""
    copy = shutil.copy2(other, path.with_name(f".{path.name}"))
    os.replace(copy, path)


def by_overwriting(path: Path, other: Path) -> None:
    """As `cp -p` does it, and a training that saves again."""
    times = other.stat()
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def claims(out: Path) -> dict[str, tuple[Claims, bytes]]:
    """What is said of each committed output, and its bytes."""
    found = {}
    for path in out.rglob(".raypose/*.json"):
        record = json.loads(path.read_text())
        if "recipe" not in record:
            continue
        output = path.parents[1] / record["file"]
        read = tuple((video["fingerprint"], video["content"]) for video in record["videos"])
        found[str(output.relative_to(out))] = ((record["recipe"], read), output.read_bytes())
    return found


def hold_to_their_word(out: Path, clean: Sequence[dict[str, tuple[Claims, bytes]]]) -> int:
    """Every output is what a clean run made of what its record claims; returns their number."""
    said = claims(out)
    for name, (claim, content) in said.items():
        expected = [of[name][1] for of in clean if of[name][0] == claim]
        assert expected, f"{name}: no clean run was made from this"
        assert any(alike(content, other) for other in expected), f"{name} is something else"
    return len(said)


def alike(content: bytes, other: bytes) -> bool:
    """Equal; of videos, which an encoder's threads make a little different, that they look so."""
    if content == other:
        return True
    if content[4:8] != b"ftyp" or other[4:8] != b"ftyp":
        return False
    mine, others = pixels(content), pixels(other)
    return mine.shape == others.shape and float(np.abs(mine - others).mean()) < 2


def pixels(content: bytes) -> np.ndarray:
    with av.open(io.BytesIO(content)) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    return np.stack(frames).astype(np.int16)


def all_alike(
    made: dict[str, tuple[Claims, bytes]], clean: dict[str, tuple[Claims, bytes]]
) -> bool:
    return made.keys() == clean.keys() and all(
        alike(content, clean[name][1]) for name, (_, content) in made.items()
    )


def failures(result: RunResult) -> list[str]:
    return [str(failed) for failed in result.failures]


def check_named(result: RunResult, *words: str) -> None:
    for failure in failures(result):
        assert any(word in failure for word in words), failure
        assert "defect" not in failure


def negative(i: int, width: int, height: int) -> np.ndarray:
    return 255 - numbered_picture(i, width, height)


def pad(path: Path, size: int) -> None:
    """Bring an MP4 to a size, with a box that every player skips."""
    n_bytes = size - path.stat().st_size
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", n_bytes, b"free") + bytes(n_bytes - 8))


def pad_text(path: Path, size: int) -> None:
    """Bring a TOML file to a size, with a comment."""
    text = path.read_text() + "\n#"
    path.write_text(text.ljust(size))


class Inputs:
    """A video, two models, and for the video and one checkpoint another version.

    Size and time of both versions of the video are equal: the most that a swap can hide.
    """

    def __init__(self, root: Path) -> None:
        self.video = root / "videos" / "cam.mp4"
        self.models = [make_model(root / "models" / name, seed=i) for i, name in enumerate("ab")]
        self.checkpoint = next(self.models[0].rglob("*.ckpt"))
        trained_again = next(make_model(root / "again", seed=7).rglob("*.ckpt"))
        others = root / "others"
        self.videos = [others / "0.mp4", others / "1.mp4"]
        others.mkdir()
        make_video(self.videos[0], n_frames=48, gop=12)
        make_video(self.videos[1], n_frames=48, gop=12, fps=30, picture=negative)
        size = 8 + max(path.stat().st_size for path in self.videos)
        for path in self.videos:
            pad(path, size + 8)
            os.utime(path, ns=(10**18, 10**18))
        self.checkpoints = [others / "0.ckpt", others / "1.ckpt"]
        for path, source in zip(self.checkpoints, (self.checkpoint, trained_again), strict=True):
            shutil.copy(source, path)
        self.video.parent.mkdir()
        self.put()

    def put(self, video: int = 0, checkpoint: int = 0) -> None:
        """Put these versions in their places."""
        by_replacing(self.video, self.videos[video])
        by_replacing(self.checkpoint, self.checkpoints[checkpoint])

    def config(self, out: Path, **values: Any) -> RunConfig:
        given: dict[str, Any] = {
            "videos": (str(self.video),),
            "models": tuple(map(str, self.models)),
            "output_dir": out,
            "inline": True,
            "device": "cpu",
            "batch_size": 16,
            **values,
        }
        return RunConfig(**given)


EVERYTHING: dict[str, Any] = {
    "eks": True,
    "eks_options": {"smooth_param": 10.0},
    "label": ("full", "snippet"),
    "snippet_s": 0.5,
    "timestamps": True,
    "report": False,
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs(tmp_path_factory.mktemp("inputs"))


def clean_run(config: RunConfig) -> dict[str, tuple[Claims, bytes]]:
    result = run(config)
    assert result.ok, failures(result)
    assert isinstance(config.output_dir, Path)
    return claims(config.output_dir)


def stages_of(display: Swapper) -> list[int]:
    """What happened in a run, each kind of event once."""
    return [i for i, event in enumerate(display.events) if event not in display.events[:i]]


@pytest.mark.parametrize(
    ("change", "options"),
    [
        pytest.param(by_replacing, EVERYTHING, marks=pytest.mark.long),
        (by_overwriting, {"chunk_frames": 24, "label": ("full",), "timestamps": True}),
    ],
)
def test_a_video_swapped_at_every_stage(
    inputs: Inputs,
    tmp_path: Path,
    change: Callable[[Path, Path], None],
    options: dict[str, Any],
) -> None:
    if not options.get("eks"):
        options = {**options, "models": (str(inputs.models[0]),)}
    clean = []
    for version in range(2):
        inputs.put(video=version)
        clean.append(clean_run(inputs.config(tmp_path / f"clean{version}", **options)))
    same = [name for name in clean[0] if alike(clean[0][name][1], clean[1][name][1])]
    assert all(name.endswith(".json") for name in same), "settings of the smoother"
    inputs.put()
    dry = Swapper()
    run(inputs.config(tmp_path / "dry", **options), display=dry)
    assert hold_to_their_word(tmp_path / "dry", clean) == len(clean[0])
    n_failed = 0
    for at in stages_of(dry):
        inputs.put()
        out = tmp_path / f"out{at}"
        swapper = Swapper(at, partial(change, inputs.video, inputs.videos[1]))
        result = run(inputs.config(out, **options), display=swapper)
        check_named(result, "the video changed")
        n_failed += not result.ok
        hold_to_their_word(out, clean)
        again = run(inputs.config(out, **options))
        assert again.ok, failures(again)
        assert all_alike(claims(out), clean[1]), dry.events[at]
        shutil.rmtree(out)
    assert n_failed >= len(stages_of(dry)) // 2, "the swaps did not come too late"


def test_a_checkpoint_swapped_at_every_stage(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of this model is in the cache when a run starts: what is built is what counts."""

    def config(out: str) -> RunConfig:
        return inputs.config(tmp_path / out, metrics=False, report=False)

    def use_cache(name: object) -> None:
        monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / f"cache-{name}"))

    use_cache("of-b")
    inputs.put()
    run(
        inputs.config(tmp_path / "b", metrics=False, report=False, models=(str(inputs.models[1]),))
    )
    use_cache("clean")
    clean = []
    for version in range(2):
        inputs.put(checkpoint=version)
        clean.append(clean_run(config(f"clean{version}")))
    inputs.put()
    dry = Swapper()
    run(config("dry"), display=dry)
    n_failed = 0
    for at in stages_of(dry):
        change = (by_replacing, by_overwriting)[at % 2]
        shutil.copytree(tmp_path / "cache-of-b", tmp_path / f"cache-{at}")
        use_cache(at)
        inputs.put()
        swapper = Swapper(at, partial(change, inputs.checkpoint, inputs.checkpoints[1]))
        result = run(config(f"out{at}"), display=swapper)
        check_named(result, "the checkpoint changed after the run was planned")
        n_failed += not result.ok
        hold_to_their_word(tmp_path / f"out{at}", clean)
        other = tmp_path / f"out{at}" / "b" / "video_preds" / "cam.csv"
        assert other.exists(), "the other model goes on"
        if not result.ok:
            # The right model again: nothing of the wrong one may have stayed in the cache.
            inputs.put()
            assert clean_run(config(f"after{at}")) == clean[0]
    assert n_failed >= 2, "when the plan was made, and when the run was started"


@pytest.mark.long
def test_a_calibration_swapped_at_every_stage(inputs: Inputs, tmp_path: Path) -> None:
    views = ("left", "right")
    videos = tmp_path / "videos"
    videos.mkdir()
    for v, view in enumerate(views):
        make_video(videos / f"rec_{view}.mp4", n_frames=12, width=96 + 16 * v)
    calibration = tmp_path / "calibration.toml"
    versions = [tmp_path / "0.toml", tmp_path / "1.toml"]
    for path, names in zip(versions, (views, views[::-1]), strict=True):
        write_calibration(path, names)
        pad_text(path, 4000)
        os.utime(path, ns=(10**18, 10**18))
    inputs.put()
    predicted = run(
        inputs.config(
            tmp_path / "p", videos=(str(videos),), views=views, metrics=False, report=False
        )
    )
    assert predicted.ok, failures(predicted)

    def config(out: Path) -> SmoothConfig:
        return SmoothConfig(
            tables=tuple(str(tmp_path / "p" / name) for name in "ab"),
            eks_dir=out,
            views=views,
            calibration=calibration,
            eks_options={"smooth_param": 10.0},
            inline=True,
        )

    clean = []
    for version in range(2):
        by_replacing(calibration, versions[version])
        assert smooth(config(tmp_path / f"clean{version}")).ok
        clean.append(claims(tmp_path / f"clean{version}"))
    by_replacing(calibration, versions[0])
    dry = Swapper()
    smooth(config(tmp_path / "dry"), display=dry)
    n_failed = 0
    for at in stages_of(dry):
        by_replacing(calibration, versions[0])
        out = tmp_path / f"out{at}"
        change = (by_replacing, by_overwriting)[at % 2]
        swapper = Swapper(at, partial(change, calibration, versions[1]))
        result = smooth(config(out), display=swapper)
        check_named(result, "the calibration changed after the run was planned")
        n_failed += not result.ok
        hold_to_their_word(out, clean)
        assert smooth(config(out)).ok
        assert claims(out) == clean[1]
    assert n_failed >= 3, "when the plan was made, the run started, and tables were read"
