"""The plan: models × videos − what is done → tasks with their dependencies.

`make_plan` opens the models, looks into the videos, and asks the ledger what is done; the result
is what `raypose plan` shows. `session_tasks` turns one session of it into a graph of tasks for a
number of GPUs. Nothing is written and nothing is computed here.

(The module is not called `plan` because `raypose.plan` is the function of that name.)
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raypose import ledger
from raypose.arrange import Work
from raypose.config import RunConfig
from raypose.errors import LabelsError, UsageError
from raypose.inputs.models import open_model, shortest_names
from raypose.inputs.videos import Inspected, find_videos, inspect_videos, name_videos
from raypose.layout import OutputPaths, output_paths, owner_root
from raypose.ranges import finished_ranges, range_folder
from raypose.stages.metrics import TEMPORAL_NORM, labels_path, wanted_metrics
from raypose.tasks import ModelSpec, Owner, VideoSpec

EKS = "eks"
"""Name of the smoothed ensemble among the owners of outputs."""

METHOD = 1
"""Version of the numerics; raised when equal inputs give other tables than before."""

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
    """

    subject: str
    message: str
    hint: str = ""
    fatal: bool = False


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
    """

    kind: str
    outputs: Mapping[str, str]
    recipe: Mapping[str, Any]
    done: bool
    reason: str = ""
    clash: tuple[str, str] | None = None


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
class SessionPlan:
    """What one video takes: the models' steps and, for an ensemble, those of its smoothing.

    Attributes:
        done_ranges: for each model, the ranges of frames that an earlier run has finished.
        keyframes: frames at which the video can be cut without decoding anything twice.
    """

    video: VideoSpec
    models: tuple[OwnerWork, ...]
    eks: OwnerWork | None
    done_ranges: tuple[tuple[tuple[int, int, str], ...], ...] = ()
    keyframes: tuple[int, ...] = field(default=(), repr=False)

    @property
    def works(self) -> tuple[OwnerWork, ...]:
        return self.models if self.eks is None else (*self.models, self.eks)

    @property
    def done(self) -> bool:
        return not any(work.missing for work in self.works)

    @property
    def to_predict(self) -> tuple[int, ...]:
        """Indices of the models that must predict this video."""
        return tuple(i for i, work in enumerate(self.models) if not work.table.done)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do.

    Attributes:
        config: what was asked for.
        models: the models, opened.
        videos: every video that was found, usable or not.
        sessions: one for each usable video.
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
    def labeled_bytes(self) -> int:
        """Estimate of the disk that the labelled videos still to be drawn will take."""
        total = 0.0
        for session in self.pending:
            video = session.video
            n_label = sum(s.kind == "label" for work in session.works for s in work.missing)
            n_snippet = sum(s.kind == "snippet" for work in session.works for s in work.missing)
            snippet_frames = min(self.config.snippet_s * video.fps, video.n_frames)
            frames = n_label * video.n_frames + 2 * n_snippet * snippet_frames
            total += frames * video.width * video.height * _LABELED_BITS_PER_PIXEL / 8
        return int(total)

    def work(self) -> list[Work]:
        """What the pending sessions ask of the GPUs, for `arrange`."""
        result = []
        for session in self.pending:
            models = session.to_predict
            done = tuple(
                tuple((start, stop) for start, stop, _ in session.done_ranges[i]) for i in models
            )
            result.append(Work(session.video.n_frames, models, done, session.keyframes))
        return result


def make_plan(config: RunConfig, *, run_dir: Path) -> Plan:
    """Open, look and compare; see the module's docstring.

    Raises:
        UsageError: an argument stands for nothing, or a model is given twice.
        ModelError: a model can't be used: no run makes sense without it.
    """
    found = find_videos(config.videos, recursive=config.recursive)
    models = _open_models(config)
    inspected = inspect_videos(found, name_videos(found))
    problems = [_video_problem(video) for video in inspected if video.spec is None]
    problems += [
        Problem(str(video.path), note) for video in inspected if video.spec for note in video.notes
    ]
    problems += _member_problems(models, config)
    problems += _label_problems(models, config)
    builder = _SessionBuilder(config, models)
    sessions = [builder.build(video) for video in inspected if video.spec is not None]
    usable, clashes = _without_clashes(sessions)
    return Plan(config, models, tuple(inspected), tuple(usable), (*problems, *clashes), run_dir)


def _open_models(config: RunConfig) -> tuple[ModelSpec, ...]:
    directories = [Path(os.path.abspath(Path(model).expanduser())) for model in config.models]
    for directory in directories:
        if directories.count(directory) > 1:
            raise UsageError("is given twice as a model", path=directory, hint="Give it once.")
    # Below -o the smoothed ensemble has a directory of this name.
    names = [f"{n}_model" if n == EKS else n for n in shortest_names(directories)]
    return tuple(
        open_model(directory, name=name, overrides=config.overrides)
        for directory, name in zip(directories, names, strict=True)
    )


def _video_problem(video: Inspected) -> Problem:
    assert video.error is not None
    return Problem(str(video.path), video.error.message, video.error.hint, fatal=True)


def _member_problems(models: Sequence[ModelSpec], config: RunConfig) -> list[Problem]:
    if not config.eks:
        return []
    first = models[0]
    problems = []
    for model in models[1:]:
        missing = sorted(set(first.keypoint_names) ^ set(model.keypoint_names))
        if missing:
            problems.append(
                Problem(
                    model.name,
                    f"has other keypoints than {first.name} ({', '.join(missing[:5])}"
                    f"{', …' if len(missing) > 5 else ''}), so EKS can't smooth them together",
                    "Give models with the same keypoints, or leave out --eks.",
                    fatal=True,
                )
            )
    return problems


def _label_problems(models: Sequence[ModelSpec], config: RunConfig) -> list[Problem]:
    problems: list[Problem] = []
    for model in models if config.metrics else ():
        try:
            _labels_fingerprint(model, config)
        except LabelsError as error:
            problems.append(
                Problem(
                    model.name,
                    f"PCA metrics are left out: {error.message} ({error.path})",
                    "Give the training data's directory with --data-dir.",
                )
            )
    return problems


def _labels_fingerprint(model: ModelSpec, config: RunConfig) -> str:
    """Digest of the labels that the model's PCA is fitted on; a word where it needs none."""
    if wanted_metrics(model) == (TEMPORAL_NORM,):
        return "none needed"
    return ledger.digest_file(labels_path(model, config.data_dir))


class _SessionBuilder:
    """Builds the plan of each session; holds what is the same for all of them."""

    def __init__(self, config: RunConfig, models: tuple[ModelSpec, ...]) -> None:
        self.config = config
        self.owners = tuple(
            Owner(m.name, str(owner_root(m.name, config.output_dir, Path(m.directory))), m)
            for m in models
        )
        same = all(set(m.keypoint_names) == set(models[0].keypoint_names) for m in models)
        self.eks: Owner | None = None
        if config.eks and same:
            # --eks-dir wins over -o: it names the place of these outputs alone.
            root = config.eks_dir or owner_root(EKS, config.output_dir, None)
            self.eks = Owner(EKS, os.path.abspath(root), models[0])
            for owner in self.owners:
                if os.path.realpath(owner.root) == os.path.realpath(self.eks.root):
                    raise UsageError(
                        f"holds the outputs of the model {owner.name}",
                        path=root,
                        hint="Give another --eks-dir: tables of both have the same names.",
                    )
        self.labels: dict[str, str] = {}
        for model in models:
            try:
                self.labels[model.name] = _labels_fingerprint(model, config)
            except LabelsError:
                self.labels[model.name] = ""
        self.metric_names = {m.name: self._metric_names(m) for m in models}

    def _metric_names(self, model: ModelSpec) -> tuple[str, ...]:
        if not self.config.metrics:
            return ()
        return wanted_metrics(model) if self.labels[model.name] else (TEMPORAL_NORM,)

    def build(self, inspected: Inspected) -> SessionPlan:
        video = inspected.spec
        assert video is not None
        works = []
        done_ranges = []
        for owner in self.owners:
            recipe = {
                "kind": "predictions",
                "method": METHOD,
                "video": video.fingerprint,
                "model": owner.model.fingerprint,
                "precision": self.config.precision,
            }
            work = self._owner_work(owner, video, recipe)
            works.append(work)
            paths = self._paths(owner, video)
            done_ranges.append(
                ()
                if work.table.done or self.config.overwrite
                else finished_ranges(range_folder(paths), recipe)
            )
        eks = None
        if self.eks is not None:
            recipe = {
                "kind": "smoothed",
                "method": METHOD,
                "video": video.fingerprint,
                "members": [ledger.digest_of(work.table.recipe) for work in works],
                "options": self.config.eks_options.model_dump(),
            }
            eks = self._owner_work(self.eks, video, recipe)
        return SessionPlan(video, tuple(works), eks, tuple(done_ranges), inspected.keyframes)

    def _paths(self, owner: Owner, video: VideoSpec) -> OutputPaths:
        return output_paths(Path(owner.root), video.key, self.config.layout)

    def _owner_work(self, owner: Owner, video: VideoSpec, recipe: dict[str, Any]) -> OwnerWork:
        config, paths, model = self.config, self._paths(owner, video), owner.model
        table = {"table": paths.predictions}
        if owner is self.eks:
            table["params"] = paths.smooth_params
        steps = [self._step("table", table, recipe, video)]
        below: dict[str, Any] = {"table": ledger.digest_of(recipe), "video": video.fingerprint}
        drawn: dict[str, Any] = {
            "threshold": model.confidence_threshold,
            "colormap": model.colormap,
        }
        made_from: dict[str, Any]
        labels = self.labels[model.name]
        names = self.metric_names[model.name]
        measured: dict[str, Any] = {"metrics": list(names), "labels": labels}
        if names:
            outputs = {name: paths.metric(name) for name in names}
            made_from = {"kind": "metrics", **below, **measured}
            steps.append(self._step("metrics", outputs, made_from, video))
        if config.timestamps and owner is not self.eks:
            made_from = {"kind": "timestamps", "video": video.fingerprint}
            times = {"timestamps": paths.timestamps}
            steps.append(self._step("timestamps", times, made_from, video))
        if "full" in config.label:
            made_from = {"kind": "label", **below, **drawn}
            steps.append(self._step("label", {"labeled": paths.labeled}, made_from, video))
        if "snippet" in config.label:
            outputs = {
                "clip": paths.snippet,
                "table": paths.snippet_predictions,
                "labeled": paths.snippet_labeled,
                **{name: paths.snippet_metric(name) for name in names},
            }
            made_from = {
                "kind": "snippet",
                **below,
                **drawn,
                **measured,
                "duration_s": config.snippet_s,
            }
            steps.append(self._step("snippet", outputs, made_from, video))
        return OwnerWork(owner, tuple(steps))

    def _step(
        self, kind: str, outputs: Mapping[str, Path], recipe: Mapping[str, Any], video: VideoSpec
    ) -> Step:
        paths = {name: str(path) for name, path in outputs.items()}
        if self.config.overwrite:
            return Step(kind, paths, recipe, False, "--overwrite")
        reason, clash = "", None
        for path in outputs.values():
            verdict = ledger.check(path, recipe)
            reason = reason or verdict.reason
            if "video" in verdict.changed and _is_other_video(verdict.source, video.path):
                clash = clash or (str(path), verdict.source)
        return Step(kind, paths, recipe, not reason, reason, clash)


def _is_other_video(source: str, path: str) -> bool:
    """True where an output belongs to another video that is still there."""
    return bool(source) and source != path and os.path.exists(source)


def _without_clashes(
    sessions: Sequence[SessionPlan],
) -> tuple[list[SessionPlan], list[Problem]]:
    """Leave out sessions whose outputs would replace those of another video."""
    taken: dict[str, str] = {}
    usable, problems = [], []
    for session in sessions:
        video = session.video
        steps = [step for work in session.works for step in work.steps]
        paths = [path for step in steps for path in step.outputs.values()]
        clash = next(((path, taken[path]) for path in paths if path in taken), None)
        hint = "Rename one of the two videos, or choose another -o."
        if clash is None:
            clash = next((step.clash for step in steps if step.clash), None)
            hint = "Rename one of the two videos, or choose another -o; --overwrite replaces them."
        if clash is None:
            usable.append(session)
            taken.update((path, video.path) for path in paths)
            continue
        path, other = clash
        message = f"its outputs would replace those of {other} ({path})"
        problems.append(Problem(video.path, message, hint, fatal=True))
    return usable, problems
