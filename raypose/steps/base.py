"""What a step is: one kind of output, with everything that the other rooms ask about it.

A step is a small frozen value that travels to a worker: what it works on, where its outputs go,
what decides whether they are still valid, and the settings it uses. A task is a step with an id,
and with edges to the tasks whose results it takes. Arrays are results of tasks and travel beside
them, never inside.

To add a kind of output, write one module with a `TableStep` and name the class in
`raypose.steps.TABLE_STEPS`.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from raypose.config import RunConfig
from raypose.errors import Failure
from raypose.rendering.style import PLAIN, Style
from raypose.specs import ModelSpec, Owner, Skeleton, VideoSpec
from raypose.storage import digests
from raypose.storage.layout import OutputPaths
from raypose.storage.provenance import Provenance
from raypose.worker.storage_check import IoPaths

if TYPE_CHECKING:
    from typing_extensions import Self

    from raypose.worker.context import Context


NOTES = "notes"
"""Name of the sentences for people among what is recorded of an output."""


@dataclass
class Outcome:
    """What a step returns.

    Attributes:
        results: one value (or `Failure`) for each output of the task.
        made: paths of the files committed.
        stats: numbers for the log and the end table.
        warnings: sentences for people; the step succeeded all the same.
    """

    results: list[Any]
    made: list[str] = field(default_factory=list)
    stats: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(ABC):
    """One thing to do with the videos of a recording.

    Attributes:
        name: what ids, logs and failures call this kind of step.
        title: what people call its outputs.
        gpu: whether it runs on a worker with a GPU.
        reads_frames: whether it reads frames of its videos, and so needs their indexes.
        frame_cost: time per frame, relative to predicting one; weighs tasks in progress bars.
        videos: the video, or the videos of the recording's views.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    gpu: ClassVar[bool] = False
    reads_frames: ClassVar[bool] = False
    frame_cost: ClassVar[float] = 0.02

    videos: tuple[VideoSpec, ...]

    @property
    def video(self) -> VideoSpec:
        """The first of the views, which stands for the recording in messages."""
        return self.videos[0]

    @property
    def models(self) -> tuple[ModelSpec, ...]:
        return ()

    @property
    def root(self) -> str:
        """Directory of its outputs; empty where it has none."""
        return ""

    @property
    def needs_all_inputs(self) -> bool:
        """Whether it is skipped when one of its inputs failed."""
        return True

    @property
    def may_fail(self) -> bool:
        """Whether a failure is not one of the run: the steps that miss its result report it."""
        return False

    @property
    def memory_bytes(self) -> int:
        """Memory that its data take at the peak; 0 where the worker's budget limits them."""
        return 0

    def from_disk(self) -> Step | None:
        """A step that reads the committed result instead of computing it again."""
        return None

    @abstractmethod
    def run(self, inputs: Sequence[Any], context: Context) -> Outcome:
        """Do it, and commit its outputs; `inputs` are results of the tasks it depends on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputStep(Step):
    """A step that commits files of one owner.

    Attributes:
        outputs: name → path.
        provenance: what decides whether the files are still valid.
    """

    owner: Owner
    outputs: Mapping[str, str]
    provenance: Provenance

    @property
    def root(self) -> str:
        return self.owner.root

    @property
    def model(self) -> ModelSpec:
        """The model whose table this is, or whose settings the ensemble has."""
        assert self.owner.model is not None, f"{self.owner.name} is no model"
        return self.owner.model

    @property
    def tables(self) -> tuple[str, ...]:
        """Paths of the tables of keypoints among its outputs, one for each video."""
        return ()

    @property
    def disk_bytes(self) -> float:
        """Estimated size of its videos."""
        return 0.0

    def expected(self) -> Iterator[tuple[str, Provenance, VideoSpec]]:
        """Each output's path, what it is made from, and the video it belongs to."""
        for path in self.outputs.values():
            yield path, self.provenance, self.video


@dataclass(frozen=True)
class TableSource:
    """A table of keypoints as planned, for the steps that make something from it.

    Attributes:
        paths: where the outputs of this owner and video go.
        metrics: names of the metrics that can be computed.
        labels: digest of the training labels that the PCA metrics are fitted on.
        smoothed: whether it is the smoothed ensemble's.
        is_member: whether it is a table that the ensemble is smoothed from.
        style: how its labelled videos look.
        skeleton: pairs of keypoints that a line joins in exported tables.
        stills: whether the report shows pictures of it: of each video's tables, one does.
    """

    video: VideoSpec
    owner: Owner
    paths: OutputPaths[str]
    provenance: Provenance
    config: RunConfig
    metrics: tuple[str, ...] = ()
    labels: str = ""
    smoothed: bool = False
    is_member: bool = False
    style: Style = PLAIN
    skeleton: Skeleton = ()
    stills: bool = False

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """The part of a provenance that all steps on this table share."""
        return {"table": digests.digest_of_json(self.provenance), "video": self.video.fingerprint}

    @property
    def keypoints(self) -> tuple[str, ...]:
        """Names of its keypoints."""
        assert self.owner.model is not None, f"{self.owner.name} is no model"
        chosen = self.config.eks_options.keypoints if self.smoothed else ()
        return chosen or self.owner.model.keypoint_names

    @property
    def data_dir(self) -> str:
        """The user's directory of training data; empty for the one in the model's config."""
        return "" if self.config.data_dir is None else str(self.config.data_dir)


class TableStep(OutputStep):
    """A step that makes outputs from one table of keypoints, its only input."""

    __slots__ = ()

    @classmethod
    @abstractmethod
    def planned(cls, source: TableSource) -> Self | None:
        """The step for a table; None where its outputs are not asked for."""


@dataclass(frozen=True, slots=True)
class Task:
    """A step with its place among the tasks of a run.

    Attributes:
        id: deterministic and unique in a run (`predict/cam1/model_a+model_b/0-994`).
        subject: what it is about, for people: `model_a · cam1`.
        inputs: names of the results it takes, in order.
        n_frames: frames to process, for progress and memory.
    """

    id: str
    step: Step
    recording: str
    subject: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    n_frames: int = 0

    @property
    def gpu(self) -> bool:
        return self.step.gpu

    @property
    def work(self) -> int:
        """Its frames, counted once per result where networks run."""
        return self.n_frames * (len(self.outputs) if self.gpu else 1)


def io_paths(tasks: Iterable[Task]) -> IoPaths:
    """What these tasks read and write."""
    steps = [task.step for task in tasks]
    videos = dict.fromkeys(video.path for step in steps for video in step.videos)
    roots = dict.fromkeys(step.root for step in steps if step.root)
    return IoPaths(tuple(videos), tuple(roots), f"seen-{secrets.token_hex(8)}")


@dataclass(frozen=True, slots=True)
class Summary:
    """What the driver is told about a finished task; its results travel separately.

    Attributes:
        stats: rows, frames of each status, seconds of its parts.
        failures: one for each output that failed; a skipped task has one as well.
        warnings: sentences for people; the task succeeded all the same.
        worker: where it ran (`host:pid gpu 0`).
    """

    task: str
    made: tuple[str, ...] = ()
    stats: Mapping[str, Any] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    worker: str = ""

    def n_made(self, task: Task) -> int:
        """How many of the task's results could be made."""
        return len(task.outputs) - len(self.failures)
