"""A complete run on a small example project.

`run_demo` draws four videos of a mouse, whose keypoints are therefore known, and labelled frames
of other recordings; trains two ensemble members; calls the same function as `raypose run`; and
measures the pixel error of each member and of the smoothed ensemble. `figure` draws, `project`
writes the files, `training` makes the models, `contact_sheet` shows the outcome in one picture.
Existing files are verified and kept. Nothing is opened.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypose.config import RunConfig

if TYPE_CHECKING:
    from raypose.demo.project import Project
    from raypose.pipeline import Display, RunResult

Report = Callable[[str, float], None]
"""Takes what is being prepared, and the finished share of all preparation."""

_DRAWING_SHARE = 0.1


@dataclass(frozen=True)
class DemoResult:
    """The outcome of the demo."""

    # Mean distance to the truth, by member and for `eks`; without those that lack a table.
    errors_px: dict[str, float]
    files_to_open: list[Path]  # what to look at first
    result: RunResult
    seconds: float  # wall time

    def lines(self) -> list[str]:
        """What to tell the user, line by line."""
        from raypose.demo.figure import SIZE

        width = max((len(name) for name in self.errors_px), default=0)
        return [
            f"Mean error against the truth, in frames {SIZE} pixels wide:",
            *(
                f"  {name:<{width}}  {px:5.2f} px  {100 * px / SIZE:5.2f} % of the width"
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
    report: Report,
    **run_options: Any,
) -> DemoResult:
    """Make missing parts of the project and the models, run, and measure.

    Args:
        directory: for the project; new, empty, or of an earlier demo.
        display: shows the run.
        report: shows the preparation.
        run_options: further fields of `RunConfig` (device, gpus, inline, address, …).

    Raises:
        UsageError: the directory holds something else, or an option makes no sense.
        KeyboardInterrupt: the demo was stopped; finished files are kept.
    """
    from raypose.demo.project import Project, claim
    from raypose.demo.training import SEEDS
    from raypose.pipeline import run

    began = time.perf_counter()
    project = Project(directory.expanduser().absolute())
    options: dict[str, Any] = {
        "videos": (str(project.video_dir),),
        "models": tuple(str(project.model(seed)) for seed in SEEDS),
        "label": ("full", "snippet"),
        "snippet_s": 3.0,
        "eks": True,
        "output_dir": project.outputs,
    }
    config = RunConfig(**(options | run_options))
    claim(project.directory)
    _prepare(project, report)
    result = run(config, display=display)
    errors = _errors(project, result)
    files = _files_to_open(project, result)
    return DemoResult(errors, files, result, time.perf_counter() - began)


def _prepare(project: Project, report: Report) -> None:
    from raypose.demo.project import make_labels, make_videos
    from raypose.demo.training import starting_members

    def part(text: str, start: float, end: float) -> Callable[[float], None]:
        return lambda done: report(text, start + (end - start) * done)

    drawing = part("Drawing four videos of a mouse and labelled frames", 0.0, _DRAWING_SHARE)
    with starting_members(project) as training:
        make_videos(project, drawing)
        make_labels(project)
        training.finish(part("Training two models", _DRAWING_SHARE, 1.0))
    report("The example project is ready", 1.0)


def _errors(project: Project, result: RunResult) -> dict[str, float]:
    """Mean distance between predicted and true keypoints, in pixels, by owner."""
    import numpy as np

    from raypose.tables.keypoints import read_csv

    distances: dict[str, list[Any]] = {}
    for output in result.plan.outputs:
        of_owner = distances.setdefault(output.owner.name, [])
        if Path(output.path).is_file():
            true = read_csv(project.truth(Path(output.video.path).stem))
            made = read_csv(output.path).select(true.keypoint_names)
            of_owner.append(np.linalg.norm(made.xy - true.xy, axis=-1))
    n_videos = len(project.videos)
    whole = {name: parts for name, parts in distances.items() if len(parts) == n_videos}
    return {name: float(np.concatenate(parts).mean()) for name, parts in whole.items()}


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
