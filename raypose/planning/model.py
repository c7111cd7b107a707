"""What a plan consists of: values that say what there is to make, and how it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from raypose.config import RunConfig, SmoothConfig
from raypose.inputs.probe import known_keyframes
from raypose.inputs.videos import Unusable
from raypose.planning.partition import PredictDemand
from raypose.specs import ModelSpec, Owner, VideoSpec
from raypose.steps import Load, Step
from raypose.steps.base import OutputStep
from raypose.storage import AnyPath, as_path
from raypose.storage.layout import frames_beside

EKS = "eks"
"""Name of the smoothed ensemble among the owners of outputs."""

METHOD = 2
"""Version of the numerics; raised when equal inputs give other tables than before."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An error or an oddity that was found before the run.

    Attributes:
        subject: the file or model it is about.
        message: the problem, in a sentence without its subject.
        hint: what to do, or what raypose will do.
        fatal: True where something that was asked for will not be made.
        lasting: True where it is said again at the end of a run.
    """

    subject: str
    message: str
    hint: str = ""
    fatal: bool = False
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class Planned:
    """A step of the plan, and whether it is needed.

    Attributes:
        step: the step.
        done: True where all its outputs exist, verified.
        reason: why they must be made; empty where done.
        clash: path of an output that holds the results of another video, and that video.
        digests: path of each finished table → digest of its bytes.
        damage: path of each finished table → frames of each status, where any is not ok.
        notes: what was recorded of its finished outputs, as sentences for people.
    """

    step: Step
    done: bool
    reason: str = ""
    clash: tuple[str, str] | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    damage: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def outputs(self) -> Mapping[str, str]:
        """Name → path of the files that it makes."""
        return self.step.outputs if isinstance(self.step, OutputStep) else {}


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """A table of one owner for one video, and what is made from it.

    Attributes:
        owner: whose outputs these are.
        video: the video.
        path: of the table.
        table: the step that makes the table. That of the smoothed ensemble makes the tables of
            all views.
        more: the steps that take the table.
        ranges: `(start, stop, path)` of the ranges of frames that an earlier run has finished.
    """

    owner: Owner
    video: VideoSpec
    path: str
    table: Planned
    more: tuple[Planned, ...] = ()
    ranges: tuple[tuple[int, int, str], ...] = ()

    @property
    def steps(self) -> tuple[Planned, ...]:
        return (self.table, *self.more)

    @property
    def missing(self) -> tuple[Planned, ...]:
        return tuple(planned for planned in self.steps if not planned.done)

    @property
    def damage(self) -> Mapping[str, int]:
        """Frames of each status of the finished table; empty where all are ok."""
        return self.table.damage.get(self.path, {})

    @property
    def load(self) -> Load:
        """The step that reads the existing table."""
        if isinstance(self.table.step, Load):
            return self.table.step
        digest = self.table.digests.get(self.path, "")
        return Load(videos=(self.video,), path=self.path, digest=digest, recorded=True)


@dataclass(frozen=True, slots=True)
class VideoPlan:
    """What one video takes.

    Attributes:
        video: the video.
        members: the outputs of each model; for a smoothing of existing tables, these tables.
        smoothed: the outputs of the smoothed ensemble.
        bbox: file with the bounding boxes; empty where networks see the whole frame.
    """

    video: VideoSpec
    members: tuple[OutputPlan, ...]
    smoothed: OutputPlan | None = None
    bbox: str = ""

    @property
    def outputs(self) -> tuple[OutputPlan, ...]:
        return self.members if self.smoothed is None else (*self.members, self.smoothed)


@dataclass(frozen=True, slots=True)
class PredictGroup:
    """What goes through a GPU together.

    Attributes:
        videos: indices of the recording's videos: one, or the views that a model takes at once.
        models: indices of the models that must predict them.
    """

    videos: tuple[int, ...]
    models: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RecordingPlan:
    """What one recording takes.

    Attributes:
        key: its name; a video of no recording may have the same.
        videos: its video, or a video for each view.
    """

    key: str
    videos: tuple[VideoPlan, ...]

    @property
    def outputs(self) -> tuple[OutputPlan, ...]:
        return tuple(output for video in self.videos for output in video.outputs)

    @property
    def done(self) -> bool:
        return not any(output.missing for output in self.outputs)

    @property
    def smooth(self) -> Planned | None:
        """The step that smooths the ensemble; None where nothing is smoothed."""
        smoothed = self.videos[0].smoothed
        return None if smoothed is None else smoothed.table

    @property
    def groups(self) -> tuple[PredictGroup, ...]:
        """What the GPUs must predict, models that take all views at once last."""
        models = [output.owner.model for output in self.videos[0].members]
        alone = [i for i, model in enumerate(models) if model and not model.takes_views]
        candidates: list[tuple[tuple[int, ...], list[int]]]
        candidates = [((v,), alone) for v in range(len(self.videos))]
        names = [plan.video.view for plan in self.videos]
        together: dict[tuple[int, ...], list[int]] = {}
        for i, model in enumerate(models):
            if model and model.takes_views:
                order = tuple(names.index(view) for view in model.view_names)
                together.setdefault(order, []).append(i)
        candidates += together.items()
        groups = [
            PredictGroup(videos, tuple(i for i in indices if not self._predicted(videos, i)))
            for videos, indices in candidates
        ]
        return tuple(group for group in groups if group.models)

    def _predicted(self, videos: tuple[int, ...], model: int) -> bool:
        return all(self.videos[v].members[model].table.done for v in videos)

    def demand(self, group: PredictGroup) -> PredictDemand:
        """What a group asks of the GPUs. Ranges are finished where all its videos have them."""
        first = self.videos[group.videos[0]]
        done = tuple(
            tuple(
                (start, stop)
                for start, stop, _ in first.members[model].ranges
                if all(
                    any(kept[:2] == (start, stop) for kept in self.videos[v].members[model].ranges)
                    for v in group.videos
                )
            )
            for model in group.models
        )
        keyframes = cache(partial(known_keyframes, first.video))
        return PredictDemand(first.video.n_frames, group.models, done, keyframes)


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What `run` or `smooth` would do. At a prompt and in a notebook it shows itself as a table.

    Attributes:
        config: what was asked for.
        models: the models that predict; none where existing tables are smoothed.
        videos: every video that was found, usable or not.
        recordings: the usable ones.
        problems: errors and notes, in the order in which they were found.
        run_dir: where the run's log goes.
    """

    config: RunConfig | SmoothConfig
    models: tuple[ModelSpec, ...]
    videos: tuple[VideoSpec | Unusable, ...]
    recordings: tuple[RecordingPlan, ...]
    problems: tuple[Problem, ...]
    run_dir: Path

    def __str__(self) -> str:
        from raypose.report.render import as_text
        from raypose.report.tables import print_plan

        return as_text(lambda console: print_plan(console, self))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from raypose.report.render import as_html
        from raypose.report.tables import print_plan

        return as_html(lambda console: print_plan(console, self))

    @property
    def pending(self) -> tuple[RecordingPlan, ...]:
        return tuple(recording for recording in self.recordings if not recording.done)

    @property
    def done(self) -> bool:
        return not self.pending

    @property
    def n_videos(self) -> int:
        return sum(len(recording.videos) for recording in self.recordings)

    @property
    def n_pending_videos(self) -> int:
        return sum(len(recording.videos) for recording in self.pending)

    @property
    def outputs(self) -> Iterator[OutputPlan]:
        return (output for recording in self.recordings for output in recording.outputs)

    @property
    def steps(self) -> Iterator[tuple[str, Planned]]:
        """The steps that make files, each once, with the name of their owner."""
        seen: set[int] = set()  # the step that smooths a recording belongs to each of its videos
        for output in self.outputs:
            for planned in output.steps:
                if planned.outputs and id(planned.step) not in seen:
                    seen.add(id(planned.step))
                    yield output.owner.name, planned

    @property
    def missing(self) -> tuple[OutputStep, ...]:
        """The steps whose outputs must be made, each once."""
        return tuple(
            planned.step
            for _, planned in self.steps
            if not planned.done and isinstance(planned.step, OutputStep)
        )

    @property
    def output_folders(self) -> set[AnyPath]:
        """The folders that something is written to."""
        paths = [as_path(path) for _, step in self.steps for path in step.outputs.values()]
        tables = [as_path(output.path) for output in self.outputs if output.table.outputs]
        return {path.parent for path in (*paths, *map(frames_beside, tables))}

    @property
    def damaged(self) -> Mapping[str, Mapping[str, int]]:
        """Videos with frames that are not ok in a finished table: path → number of each status."""
        found: dict[str, Mapping[str, int]] = {}
        for output in self.outputs:
            if output.damage:
                path = output.video.path
                known = found.get(path, output.damage)
                found[path] = min(known, output.damage, key=lambda counts: counts.get("ok", 0))
        return found

    @property
    def notes(self) -> list[tuple[str, str]]:
        """What was recorded of finished outputs: the subject and a sentence."""
        return [
            (f"{owner} · {planned.step.video.key}", note)
            for owner, planned in self.steps
            for note in planned.notes
        ]

    @property
    def precisions(self) -> set[str]:
        """The precisions in which networks computed the finished tables."""
        done = (output.table.step for output in self.outputs if output.table.done)
        found = (step.provenance for step in done if isinstance(step, OutputStep))
        return {str(made_from["precision"]) for made_from in found if "precision" in made_from}

    @property
    def frames_to_predict(self) -> int:
        """Frames that go through networks, counted once per model."""
        return sum(
            recording.videos[v].video.n_frames * len(group.models)
            for recording in self.pending
            for group in recording.groups
            for v in group.videos
        )

    @property
    def task_bytes(self) -> int:
        """Memory that the largest task of a CPU worker needs."""
        return max((step.memory_bytes for step in self.missing), default=0)

    @property
    def labeled_bytes(self) -> int:
        """Estimate of the disk that the labelled videos still to be drawn will take."""
        return int(sum(step.disk_bytes for step in self.missing))
