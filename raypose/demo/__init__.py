"""A complete run on a small example project.

`run_demo` draws four videos of a mouse, whose keypoints are therefore known, and labelled frames
of other recordings; trains two ensemble members; calls the same function as `raypose run`; and
measures the pixel error of each member and of the smoothed ensemble. `figure` draws, `project`
writes the files, `training` makes the models, `contact_sheet` shows the outcome in one picture.
Existing files are verified and kept. Nothing is opened.
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

_SAY_EVERY_S = 5.0
_SNIPPET_S = 3.0


@dataclass(frozen=True)
class DemoResult:
    """The outcome of the demo.

    Attributes:
        errors_px: mean distance to the truth in pixels, by member and for `eks`; without those
            that lack a table.
        frame_width: of the videos, in pixels.
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
        width = max((len(name) for name in self.errors_px), default=0)
        return [
            f"Mean error against the truth, in frames {self.frame_width} pixels wide:",
            *(
                f"  {name:<{width}}  {px:5.2f} px  {percent[name]:5.2f} % of the width"
                for name, px in self.errors_px.items()
            ),
            "Open this:" if len(self.files_to_open) == 1 else "Open one of these:",
            *(f"  {path}" for path in self.files_to_open),
            f"The demo took {self.seconds:.0f} s.",
        ]


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
    from raypose.demo.training import SEEDS
    from raypose.pipeline import run

    began = time.perf_counter()
    project = Project(directory.expanduser().absolute())
    options: dict[str, Any] = {
        "videos": (str(project.video_dir),),
        "models": tuple(str(project.model(seed)) for seed in SEEDS),
        "label": ("full", "snippet"),
        "snippet_s": _SNIPPET_S,
        "eks": True,
        "output_dir": project.outputs,
        "overwrite": overwrite,
    }
    config = RunConfig(**{**options, **run_options})
    claim(directory)
    _prepare(project, say, overwrite)
    say("Running: predict, compute metrics, smooth with EKS, draw")
    result = run(config, display=display)
    errors = _errors(project, result)
    files = _files_to_open(project, result)
    return DemoResult(errors, SIZE, files, result, time.perf_counter() - began)


def _prepare(project: Project, say: Callable[[str], None], overwrite: bool) -> None:
    from raypose.demo.project import N_VIDEOS, make_labels, make_videos
    from raypose.demo.training import SEEDS, train_member

    progress = _Progress(say, "Drawing four videos of a mouse and labelled frames")
    fractions = (i / (N_VIDEOS + 1) for i in range(1, N_VIDEOS + 1))
    make_videos(project, overwrite=overwrite, on_video=lambda: progress(next(fractions)))
    if make_labels(project, overwrite=overwrite):
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


def _errors(project: Project, result: RunResult) -> dict[str, float]:
    """Mean distance between predicted and true keypoints, in pixels, by owner."""
    import numpy as np

    from raypose.tables.keypoints import read_csv

    distances: dict[str, list[Any]] = {}
    for output in result.plan.outputs:
        distances.setdefault(output.owner.name, [])
    for output in result.plan.outputs:
        if not Path(output.path).is_file():
            distances.pop(output.owner.name, None)
        elif output.owner.name in distances:
            true = read_csv(project.truth(Path(output.video.path).stem))
            made = read_csv(output.path).select(true.keypoint_names)
            distances[output.owner.name].append(np.linalg.norm(made.xy - true.xy, axis=-1))
    return {name: float(np.concatenate(parts).mean()) for name, parts in distances.items()}


def _files_to_open(project: Project, result: RunResult) -> list[Path]:
    """A contact sheet of the smoothed ensemble's videos, and of the first of these the labelled
    video and the snippet; those that exist."""
    from raypose.demo.contact_sheet import write_contact_sheet
    from raypose.demo.figure import SIZE

    smoothed = [recording.outputs[-1] for recording in result.plan.recordings]
    labelled = [
        [Path(step.outputs["labeled"]) for step in output.steps if "labeled" in step.outputs]
        for output in smoothed
    ]
    whole = [paths[0] for paths in labelled if paths and paths[0].is_file()]
    sheet = project.outputs / "contact_sheet.png"
    if whole:
        write_contact_sheet(whole, sheet, side=SIZE)
    return [path for path in (sheet, *labelled[0]) if path.is_file()]
