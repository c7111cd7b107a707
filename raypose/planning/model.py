"""What a plan consists of: values that say what there is to make, and how it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raypose.config import RunConfig
from raypose.inputs.videos import Inspected
from raypose.planning.partition import PredictDemand
from raypose.specs import ModelSpec, Owner, VideoSpec
from raypose.storage import AnyPath, as_path
from raypose.storage.layout import frames_beside

EKS = "eks"
"""Name of the smoothed ensemble among the owners of outputs."""

_LABELED_BITS_PER_PIXEL = 0.12
"""Size of labelled videos for the estimate, from the bit rate of noisy laboratory videos."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong or odd that was found before the run.

    Attributes:
        subject: the file or model it is about.
        message: what is wrong.
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
class Step:
    """One thing to make of one video for one owner, and how it stands.

    Attributes:
        kind: `table`, `metrics`, `timestamps`, `label`, `snippet`.
        outputs: name → path of the files.
        recipe: what they are made from.
        done: True where all of them are there, verified.
        reason: why they must be made; empty where done.
        clash: path of an output that holds the results of another video, and that video.
        digest: of the bytes of the first output, where it is done.
        frames: of a finished table with frames that are not ok, the number of each status.
    """

    kind: str
    outputs: Mapping[str, str]
    recipe: Mapping[str, Any]
    done: bool
    reason: str = ""
    clash: tuple[str, str] | None = None
    digest: str = ""
    frames: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OwnerWork:
    """All steps of one owner for one video, the table first."""

    owner: Owner
    steps: tuple[Step, ...]

    @property
    def table(self) -> Step:
        return self.steps[0]

    @property
    def missing(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if not step.done)


@dataclass(frozen=True, slots=True)
class VideoPlan:
    """What one video takes: the models' steps and, for an ensemble, those of its smoothing.

    Attributes:
        video: the video.
        models: the models' work on it.
        eks: the smoothed ensemble's; the table of a recording's first video comes with what is
            of the whole recording: the smoothing parameters, and the points in space.
        done_ranges: for each model, the ranges of frames that an earlier run has finished.
        keyframes: frames at which the video can be cut without decoding anything twice.
        boxes: file that says where in the frame to look; empty for everywhere.
    """

    video: VideoSpec
    models: tuple[OwnerWork, ...]
    eks: OwnerWork | None
    done_ranges: tuple[tuple[tuple[int, int, str], ...], ...] = ()
    keyframes: tuple[int, ...] = field(default=(), repr=False)
    boxes: str = ""

    @property
    def works(self) -> tuple[OwnerWork, ...]:
        return self.models if self.eks is None else (*self.models, self.eks)


@dataclass(frozen=True, slots=True)
class PredictGroup:
    """What goes through a GPU together.

    Attributes:
        videos: indices of the session's videos: one, or the views that a model takes at once.
        models: indices of the models that must predict them.
    """

    videos: tuple[int, ...]
    models: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """What one recording takes.

    Attributes:
        key: its name, unique in the plan.
        videos: its video, or a video for each view.
        calibration: the cameras' calibration, for EKS; empty where there is none.
        mirrored: keypoints of each mirrored view, for EKS.
    """

    key: str
    videos: tuple[VideoPlan, ...]
    calibration: str = ""
    mirrored: tuple[tuple[str, ...], ...] = ()

    @property
    def works(self) -> tuple[OwnerWork, ...]:
        return tuple(work for video in self.videos for work in video.works)

    @property
    def done(self) -> bool:
        return not any(work.missing for work in self.works)

    @property
    def to_smooth(self) -> bool:
        """Whether the ensemble's tables must be made: all views of a recording, or none."""
        return any(v.eks is not None and not v.eks.table.done for v in self.videos)

    @property
    def units(self) -> tuple[PredictGroup, ...]:
        """What the GPUs must do, those with all views at once last."""
        models = [work.owner.model for work in self.videos[0].models]
        alone = [i for i, model in enumerate(models) if not model.takes_views]
        groups: list[tuple[tuple[int, ...], list[int]]]
        groups = [((v,), alone) for v in range(len(self.videos))]
        names = [video.video.view for video in self.videos]
        together: dict[tuple[int, ...], list[int]] = {}
        for i, model in enumerate(models):
            if model.takes_views:
                order = tuple(names.index(view) for view in model.view_names)
                together.setdefault(order, []).append(i)
        groups += together.items()
        units = [
            PredictGroup(videos, tuple(i for i in indices if not self._predicted(videos, i)))
            for videos, indices in groups
        ]
        return tuple(unit for unit in units if unit.models)

    def _predicted(self, videos: tuple[int, ...], model: int) -> bool:
        return all(self.videos[v].models[model].table.done for v in videos)

    def work(self, unit: PredictGroup) -> PredictDemand:
        """What a group still has to predict, for `partition`."""
        first = self.videos[unit.videos[0]]
        done = tuple(
            tuple(
                (start, stop)
                for start, stop, _ in self.ranges(unit.videos[0], model)
                if all((start, stop) in self._spans(v, model) for v in unit.videos)
            )
            for model in unit.models
        )
        return PredictDemand(first.video.n_frames, unit.models, done, first.keyframes)

    def ranges(self, video: int, model: int) -> tuple[tuple[int, int, str], ...]:
        """The finished ranges of a video and a model, with their files."""
        kept = self.videos[video].done_ranges
        return kept[model] if kept else ()

    def _spans(self, video: int, model: int) -> set[tuple[int, int]]:
        return {(start, stop) for start, stop, _ in self.ranges(video, model)}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do.

    Attributes:
        config: what was asked for.
        models: the models, opened.
        videos: every video that was found, usable or not.
        sessions: one for each usable recording.
        problems: what is wrong or odd.
        run_dir: where the ledger of the run goes.
    """

    config: RunConfig
    models: tuple[ModelSpec, ...]
    videos: tuple[Inspected, ...]
    sessions: tuple[SessionPlan, ...]
    problems: tuple[Problem, ...]
    run_dir: Path

    @property
    def pending(self) -> tuple[SessionPlan, ...]:
        return tuple(session for session in self.sessions if not session.done)

    @property
    def done(self) -> bool:
        return not self.pending

    @property
    def n_videos(self) -> int:
        return sum(len(session.videos) for session in self.sessions)

    @property
    def n_pending_videos(self) -> int:
        return sum(len(session.videos) for session in self.pending)

    @property
    def output_folders(self) -> set[AnyPath]:
        """The folders that something is written to."""
        paths = [as_path(p) for _, _, step in self.steps() for p in step.outputs.values()]
        tables = [as_path(work.table.outputs["table"]) for _, work, _ in self.steps()]
        return {path.parent for path in (*paths, *map(frames_beside, tables))}

    @property
    def damaged(self) -> Mapping[str, Mapping[str, int]]:
        """Videos with frames that are not ok in a finished table: path → number of each status."""
        found: dict[str, Mapping[str, int]] = {}
        for video, _, step in self.steps():
            if step.frames:
                known = found.get(video.path, step.frames)
                found[video.path] = min(known, step.frames, key=lambda n: n.get("ok", 0))
        return found

    @property
    def frames_to_predict(self) -> int:
        """Frames that go through networks, counted once a model."""
        return sum(
            session.videos[v].video.n_frames * len(unit.models)
            for session in self.pending
            for unit in session.units
            for v in unit.videos
        )

    @property
    def labeled_bytes(self) -> int:
        """Estimate of the disk that the labelled videos still to be drawn will take."""
        total = 0.0
        for plan in (video for session in self.pending for video in session.videos):
            video = plan.video
            n_label = sum(s.kind == "label" for work in plan.works for s in work.missing)
            n_snippet = sum(s.kind == "snippet" for work in plan.works for s in work.missing)
            snippet_frames = min(self.config.snippet_s * video.fps, video.n_frames)
            frames = n_label * video.n_frames + 2 * n_snippet * snippet_frames
            total += frames * video.width * video.height * _LABELED_BITS_PER_PIXEL / 8
        return int(total)

    def steps(self) -> Iterator[tuple[VideoSpec, OwnerWork, Step]]:
        """Every step with what it belongs to."""
        for session in self.sessions:
            for video in session.videos:
                for work in video.works:
                    for step in work.steps:
                        yield video.video, work, step
