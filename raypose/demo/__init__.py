"""A complete run on a small example project.

`run_demo` draws four videos of a mouse, whose keypoints are therefore known, and labelled frames
of other recordings; trains two ensemble members; calls the same function as `raypose run`; and
measures the pixel error of each member and of the smoothed ensemble. `figure` draws, `project`
writes the files, `training` makes the models. Existing files are verified and kept.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypose.config import RunConfig

if TYPE_CHECKING:
    from raypose.demo.project import Project
    from raypose.pipeline import Display, RunResult
    from raypose.planning import OutputPlan

_SAY_EVERY_S = 5.0
_SNIPPET_S = 3.0


@dataclass(frozen=True)
class DemoResult:
    """The outcome of the demo.

    Attributes:
        errors_px: mean distance to the truth in pixels, by member and for `eks`; without those
            that lack a table.
        frame_width: width of the videos, in pixels.
        files_to_open: what to look at first.
        result: of the run.
        seconds: wall time.
    """

    errors_px: dict[str, float]
    frame_width: int
    files_to_open: list[Path]
    result: RunResult
    seconds: float

    @property
    def errors_percent(self) -> dict[str, float]:
        """The errors in percent of the frame's width."""
        return {name: 100 * px / self.frame_width for name, px in self.errors_px.items()}

    def lines(self) -> list[str]:
        """What to tell the user, line by line."""
        percent = self.errors_percent
        lines = [f"Mean error against the truth, in frames {self.frame_width} pixels wide:"]
        width = max((len(name) for name in self.errors_px), default=0)
        lines += [
            f"  {name:<{width}}  {px:5.2f} px  {percent[name]:5.2f} % of the width"
            for name, px in self.errors_px.items()
        ]
        lines += ["Open this:" if len(self.files_to_open) == 1 else "Open one of these:"]
        lines += [f"  {path}" for path in self.files_to_open]
        lines.append(f"The demo took {self.seconds:.0f} s.")
        return lines


def run_demo(
    directory: Path,
    *,
    display: Display | None = None,
    say: Callable[[str], None],
    overwrite: bool = False,
    **run_options: Any,
) -> DemoResult:
    """Make missing parts of the project and the models, run, and measure.

    Args:
        directory: for the project; new, empty, or of an earlier demo.
        display: shows the run.
        say: shows lines about the preparation.
        overwrite: redo everything.
        run_options: further fields of `RunConfig` (device, gpus, inline, address, …).

    Raises:
        UsageError: the directory holds something else, or an option makes no sense.
        OutputError: a file can't be written.
        KeyboardInterrupt: the demo was stopped; finished files are kept.
    """
    from raypose.demo.figure import SIZE
    from raypose.demo.project import Project, claim
    from raypose.pipeline import run

    began = time.perf_counter()
    config = _run_config(Project(directory.expanduser().absolute()), overwrite, run_options)
    project = claim(directory)
    _prepare(project, say, overwrite)
    say("Running: predict, compute metrics, smooth with EKS, draw")
    result = run(config, display=display)
    return DemoResult(
        _errors(project, result),
        SIZE,
        _files_to_open(result),
        result,
        time.perf_counter() - began,
    )


def _run_config(project: Project, overwrite: bool, run_options: dict[str, Any]) -> RunConfig:
    from raypose.demo.training import SEEDS

    options: dict[str, Any] = {
        "videos": (str(project.video_dir),),
        "models": tuple(str(project.model(seed)) for seed in SEEDS),
        "label": ("full", "snippet"),
        "snippet_s": _SNIPPET_S,
        "eks": True,
        "output_dir": project.outputs,
        "overwrite": overwrite,
    }
    return RunConfig(**{**options, **run_options})


def _prepare(project: Project, say: Callable[[str], None], overwrite: bool) -> None:
    from raypose.demo import project as files
    from raypose.demo.training import SEEDS, train_member

    progress = _Progress(say, "Drawing four videos of a mouse and labelled frames")
    videos = iter(range(1, files.N_VIDEOS + 1))
    files.make_videos(
        project,
        overwrite=overwrite,
        on_video=lambda: progress(next(videos) / (files.N_VIDEOS + 1)),
    )
    if files.make_labels(project, overwrite=overwrite):
        progress(1.0)
    for i, seed in enumerate(SEEDS, start=1):
        progress = _Progress(say, f"Training member {i} of {len(SEEDS)}")
        if not train_member(project, seed, overwrite=overwrite, on_progress=progress):
            say(f"Member {i} of {len(SEEDS)} is already trained")


class _Progress:
    """Reports the progress of a part every few seconds and at its end."""

    def __init__(self, say: Callable[[str], None], text: str) -> None:
        self._say, self._text = say, text
        self._last = time.monotonic()

    def __call__(self, fraction: float) -> None:
        now = time.monotonic()
        if fraction == 0 and "lightning_pose" not in sys.modules:
            self._say("Loading Lightning Pose, which takes about 20 s")
        if fraction >= 1 or now - self._last >= _SAY_EVERY_S:
            self._last = now
            self._say(f"{self._text}: {fraction:.0%}")


def _outputs(result: RunResult) -> dict[str, list[OutputPlan]]:
    """The outputs of each owner, one for each video."""
    outputs: dict[str, list[OutputPlan]] = {}
    for output in result.plan.outputs:
        outputs.setdefault(output.owner.name, []).append(output)
    return outputs


def _errors(project: Project, result: RunResult) -> dict[str, float]:
    """Mean distance between predicted and true keypoints, in pixels, by owner."""
    import numpy as np

    from raypose.tables.keypoints import read_csv

    errors: dict[str, float] = {}
    for owner, outputs in _outputs(result).items():
        tables = [
            (Path(output.path), project.truth(Path(output.video.path).stem)) for output in outputs
        ]
        if not all(table.is_file() for table, _ in tables):
            continue
        distances = []
        for table, truth in tables:
            true = read_csv(truth)
            made = read_csv(table).select(true.keypoint_names)
            distances.append(np.linalg.norm(made.xy - true.xy, axis=-1))
        errors[owner] = float(np.concatenate(distances).mean())
    return errors


def _files_to_open(result: RunResult) -> list[Path]:
    """The labelled video and snippet of the smoothed ensemble, if they exist."""
    output = result.plan.recordings[0].outputs[-1]
    candidates = [
        Path(path)
        for planned in output.steps
        for name, path in planned.outputs.items()
        if name == "labeled"
    ]
    return [path for path in candidates if path.is_file()]
