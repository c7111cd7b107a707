"""The values that travel between plan, executors and steps.

All are small, frozen and picklable, and hold facts, not behaviour. Arrays travel beside them
as results of tasks, never inside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from raypose.config import EksOptions
from raypose.errors import Failure
from raypose.specs import ModelSpec, Owner, VideoSpec


@dataclass(frozen=True, slots=True)
class PredictArgs:
    """Predict a range of frames of a video with some models, decoding once.

    Attributes:
        videos: the video; for models that take several views at once, those views.
        models: the members; one output for each of them and each video, a member's together.
        start: first frame.
        stop: frame after the last.
        recipes: what the outputs are made from, in their order.
        range_dirs: where the finished range is kept, likewise; empty for a whole video.
        boxes: file of each video that says where in the frame to look; empty for everywhere.
        precision: resolved on the worker from its device where `auto`.
        decoder: `cpu` or `nvdec`.
        batch_size: frames a batch; chosen by the worker where None.
        strict: whether a frame that is not ok fails the video.
    """

    videos: tuple[VideoSpec, ...]
    models: tuple[ModelSpec, ...]
    start: int
    stop: int
    recipes: tuple[Mapping[str, Any], ...]
    range_dirs: tuple[str, ...] = ()
    boxes: tuple[str, ...] = ()
    precision: str = "auto"
    decoder: str = "cpu"
    batch_size: int | None = None
    strict: bool = False

    @property
    def video(self) -> VideoSpec:
        """The first of the views, which stands for the recording in messages."""
        return self.videos[0]


@dataclass(frozen=True, slots=True)
class TableArgs:
    """Stitch the ranges of one model and video, and commit the table.

    Attributes:
        ranges: `(start, stop, path)` in order; those without a path come as inputs, in order,
            the others from an earlier run's files.
        strict: whether a frame that is not ok fails the video.
    """

    video: VideoSpec
    owner: Owner
    output: str
    recipe: Mapping[str, Any]
    ranges: tuple[tuple[int, int, str], ...]
    strict: bool = False


@dataclass(frozen=True, slots=True)
class LoadArgs:
    """Read a table that is there: a committed one, or one of the user's.

    Attributes:
        path: the table, of any tool.
        optional: whether those who need it can do without; then they say that it failed.
        digest: of its bytes when the plan was made; empty where any will do.
        recorded: whether it is an output of raypose, whose record says what it was made from.
    """

    video: VideoSpec
    path: str
    optional: bool = False
    digest: str = ""
    recorded: bool = False


@dataclass(frozen=True, slots=True)
class MetricsArgs:
    """Compute and commit the metrics of a table.

    Attributes:
        outputs: metric name → path.
        recipe: what they are made from.
        data_dir: the user's place of the training data, if it is not the config's.
    """

    video: VideoSpec
    owner: Owner
    outputs: Mapping[str, str]
    recipe: Mapping[str, Any]
    data_dir: str = ""


@dataclass(frozen=True, slots=True)
class LabelArgs:
    """Draw the labelled video of the whole table.

    Attributes:
        encoder: `x264` or `nvenc`.
    """

    video: VideoSpec
    owner: Owner
    output: str
    recipe: Mapping[str, Any]
    encoder: str = "x264"


@dataclass(frozen=True, slots=True)
class TimestampsArgs:
    """Write when each frame is shown, in seconds after the first, and its status.

    Attributes:
        table: path of the table, beside which the file has its place.
        table_recipe: what the table is made from.
    """

    video: VideoSpec
    owner: Owner
    table: str
    table_recipe: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SnippetArgs:
    """Cut the snippet with the highest motion energy, with its table, metrics and labels.

    Attributes:
        clip: path of the clip.
        table: path of its predictions.
        labeled: path of its labelled clip; empty where none is asked for.
        metrics: metric name → path.
        duration_s: length of the snippet in seconds.
        encoder: of the labelled clip, `x264` or `nvenc`.
    """

    video: VideoSpec
    owner: Owner
    clip: str
    table: str
    labeled: str
    metrics: Mapping[str, str]
    recipe: Mapping[str, Any]
    duration_s: float
    data_dir: str = ""
    encoder: str = "x264"


@dataclass(frozen=True, slots=True)
class SmoothArgs:
    """Smooth the members' tables of one recording with EKS, and commit the results.

    Attributes:
        videos: the video, or the views of the recording.
        root: directory of the ensemble's outputs.
        members: names of the models. Inputs are their tables: all of the first video, in this
            order, then all of the second.
        outputs: path of the smoothed table of each video.
        params_output: path of the smoothing parameters.
        points_output: path of the points in space; empty where there is no calibration.
        recipes: what the table of each video is made from.
        options: of the smoother.
        mirrored: keypoints of each mirrored view.
        calibration: path of the cameras' calibration.
        final: whether a member that is left out now will be so ever again: the result then counts
            as done.
    """

    videos: tuple[VideoSpec, ...]
    root: str
    members: tuple[str, ...]
    outputs: tuple[str, ...]
    params_output: str
    recipes: tuple[Mapping[str, Any], ...]
    options: EksOptions
    points_output: str = ""
    mirrored: tuple[tuple[str, ...], ...] = ()
    calibration: str = ""
    final: bool = False

    @property
    def video(self) -> VideoSpec:
        """The first of the views, which stands for the recording in messages."""
        return self.videos[0]


TaskArgs = (
    PredictArgs
    | TableArgs
    | LoadArgs
    | MetricsArgs
    | LabelArgs
    | TimestampsArgs
    | SnippetArgs
    | SmoothArgs
)


@dataclass(frozen=True, slots=True)
class Task:
    """One node of the graph of a run.

    Attributes:
        id: deterministic and unique in a run (`predict/cam1/0-994/model_a+model_b`).
        kind: which stage does it: `predict`, `table`, `load`, `metrics`, `timestamps`, `label`,
            `snippet` or `smooth`.
        session: key of the session it belongs to.
        subject: what it is about, for people: `model_a · cam1`.
        args: what the stage needs to know.
        inputs: ids of the outputs (see `outputs`) that are its arguments, in order.
        outputs: ids of its results; the task's own id where there is one.
        n_frames: frames to go through, for progress.
        gpu: True where it wants a GPU worker.
    """

    id: str
    kind: str
    session: str
    subject: str
    args: TaskArgs
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    n_frames: int = 0
    gpu: bool = False

    @property
    def videos(self) -> tuple[VideoSpec, ...]:
        """The videos that it is about."""
        args = self.args
        return args.videos if isinstance(args, PredictArgs | SmoothArgs) else (args.video,)


def as_load(task: Task) -> Task | None:
    """The task that reads what `task` has committed, in the place of doing it again."""
    if not isinstance(task.args, TableArgs):
        return None
    args = LoadArgs(task.args.video, task.args.output)
    return replace(task, kind="load", args=args, inputs=())


@dataclass(frozen=True, slots=True)
class Summary:
    """What a finished task tells the driver; its results travel on their own.

    Attributes:
        task: id of the task.
        kind: its kind.
        made: paths of the files committed.
        facts: what is worth telling: rows, frames of each status, seconds of the parts.
        failures: one for each output that came to nothing; a skipped task has one as well.
        warnings: what went well enough, but should be known.
        seconds: wall time.
        worker: where it ran (`host:pid gpu 0`).
    """

    task: str
    kind: str
    made: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    worker: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """A running task's word of how far it is.

    Attributes:
        task: id of the task.
        n_done: frames done so far.
        n_total: frames to do.
        worker: where it runs.
    """

    task: str
    n_done: int
    n_total: int
    worker: str = ""
