"""What a plan consists of: values that say what there is to make, and how it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path

from raypose.config import RunConfig, SmoothConfig
from raypose.inputs.probe import Unusable, known_keyframes
from raypose.planning.partition import PredictDemand
from raypose.specs import ModelSpec, Owner, VideoSpec
from raypose.steps import Load, Step
from raypose.steps.base import OutputStep
from raypose.storage import AnyPath, as_path
from raypose.storage.layout import frames_beside

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


@dataclass(frozen=True)  # without slots, for what is worked out once
class RecordingPlan:
    """What one recording takes.

    Attributes:
        key: its name; a video of no recording may have the same.
        videos: its video, or a video for each view.
        contents: path of a video → digest of all its bytes, where comparing outputs has told it.
        look_again: compares it with what is finished now, also where finished outputs were to be
            redone. Returns its plan, None where it can't be made, and the problems found.
    """

    key: str
    videos: tuple[VideoPlan, ...]
    contents: Mapping[str, str] = field(default_factory=dict)
    look_again: Callable[[], tuple[RecordingPlan | None, list[Problem]]] | None = field(
        default=None, compare=False, repr=False
    )

    @cached_property
    def outputs(self) -> tuple[OutputPlan, ...]:
        return tuple(output for video in self.videos for output in video.outputs)

    @cached_property
    def done(self) -> bool:
        return not any(output.missing for output in self.outputs)

    @property
    def smooth(self) -> Planned | None:
        """The step that smooths the ensemble; None where nothing is smoothed."""
        smoothed = self.videos[0].smoothed
        return None if smoothed is None else smoothed.table

    @property
    def demands(self) -> tuple[PredictDemand, ...]:
        """What the GPUs must predict, models that take all views at once last."""
        names = [plan.video.view for plan in self.videos]
        missing: dict[tuple[int, ...], list[int]] = {(v,): [] for v in range(len(names))}
        for i, output in enumerate(self.videos[0].members):
            model = output.owner.model
            if model is None:
                continue
            together = [tuple(map(names.index, model.view_names))] if model.takes_views else []
            for videos in together or [(v,) for v in range(len(names))]:
                if not all(self.videos[v].members[i].table.done for v in videos):
                    missing.setdefault(videos, []).append(i)
        return tuple(self._demand(v, tuple(models)) for v, models in missing.items() if models)

    def _demand(self, videos: tuple[int, ...], models: tuple[int, ...]) -> PredictDemand:
        done = []
        for model in models:
            ranges = [self.videos[v].members[model].ranges for v in videos]
            kept = [{(start, stop) for start, stop, _ in of_video} for of_video in ranges]
            done.append(tuple(sorted(set.intersection(*kept))))
        first = self.videos[videos[0]].video
        keyframes = cache(partial(known_keyframes, first))
        return PredictDemand(first.n_frames, models, tuple(done), keyframes, videos)


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long a plan may take.

    Attributes:
        seconds: wall time.
        source: what it is made from, in words.
        predictions_alone: whether it leaves out all that is made from the predictions.
    """

    seconds: float
    source: str
    predictions_alone: bool = False


@dataclass(frozen=True, repr=False)  # without slots, as above
class Plan:
    """What `run` or `smooth` would do. At a prompt and in a notebook it shows itself as a table.

    Attributes:
        models: those that predict; none where existing tables are smoothed.
        videos: every video that was found, usable or not.
        recordings: the usable ones.
        problems: errors and notes, in the order in which they were found.
        run_dir: where the run's log goes.
        estimate: how long it may take; None where that is unknown, and in a run.
        n_broken_links: links to videos that do not exist, which are not among `videos`.
    """

    config: RunConfig | SmoothConfig
    models: tuple[ModelSpec, ...]
    videos: tuple[VideoSpec | Unusable, ...]
    recordings: tuple[RecordingPlan, ...]
    problems: tuple[Problem, ...]
    run_dir: Path
    estimate: Estimate | None = None
    n_broken_links: int = 0

    def __str__(self) -> str:
        from raypose.report.tables import print_plan
        from raypose.report.terminal import as_text

        return as_text(lambda console: print_plan(console, self))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from raypose.report.tables import print_plan
        from raypose.report.terminal import as_html

        return as_html(lambda console: print_plan(console, self))

    @cached_property
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
    def n_given(self) -> int:
        """Videos that the arguments stand for, those that can't be processed included."""
        return max(len(self.videos), self.n_videos) + self.n_broken_links

    @property
    def n_unreadable(self) -> int:
        """Videos that can't be read, and broken links."""
        unusable = sum(isinstance(video, Unusable) for video in self.videos)
        return unusable + self.n_broken_links

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

    @cached_property
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
            recording.videos[v].video.n_frames * len(demand.models)
            for recording in self.pending
            for demand in recording.demands
            for v in demand.videos
        )

    @property
    def task_bytes(self) -> int:
        """Memory that the largest task of a CPU worker needs."""
        return max((step.memory_bytes for step in self.missing), default=0)

    @property
    def labeled_bytes(self) -> int:
        """Estimate of the disk that the labelled videos still to be drawn will take."""
        return int(sum(step.disk_bytes for step in self.missing))
