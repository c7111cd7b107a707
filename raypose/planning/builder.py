"""What one recording takes: its steps, compared with what is finished already."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from raypose.config import EksOptions, RunConfig
from raypose.eks import check_mode, mirrored_views, views_by_suffix
from raypose.eks.calibration import usable_cameras
from raypose.errors import SmoothingError, UsageError, VideoError
from raypose.inference.bbox import bbox_path, read_bboxes
from raypose.inference.device import PRECISIONS_OF_AUTO
from raypose.inputs.calibration import find_calibration
from raypose.metrics.compute import TEMPORAL_NORM, wanted_metrics
from raypose.planning.checks import check_lengths
from raypose.planning.contents import Contents
from raypose.planning.damage import damage_problems
from raypose.planning.model import (
    EKS,
    METHOD,
    OutputPlan,
    Planned,
    Problem,
    RecordingPlan,
    VideoPlan,
)
from raypose.planning.recordings import Group
from raypose.planning.status import planned
from raypose.specs import ModelSpec, Owner, VideoSpec
from raypose.steps import TABLE_STEPS, Smooth, Step, Table
from raypose.steps.base import OutputStep, TableSource
from raypose.steps.ranges import finished_ranges, range_folder
from raypose.storage import AnyPath, as_path, digests
from raypose.storage.digests import remembered_digest
from raypose.storage.layout import (
    OutputPaths,
    frames_beside,
    output_paths,
    owner_root,
    points_path,
    smooth_params_path,
)
from raypose.storage.provenance import Provenance, acceptable


class RecordingBuilder:
    """Builds the plan of each recording; holds what is the same for all of them.

    Args:
        config: what was asked for.
        models: the models, opened.
        ensemble: the model whose threshold, colours and metrics the smoothed ensemble has; None
            where there is nothing to smooth.
        labels: for each model a digest of the labels that its PCA is fitted on; empty where it
            has none that can be used.

    Raises:
        UsageError: the ensemble's outputs would lie among a member's.
    """

    def __init__(
        self,
        config: RunConfig,
        models: tuple[ModelSpec, ...],
        *,
        ensemble: ModelSpec | None,
        labels: Mapping[str, str],
    ) -> None:
        self.config = config
        self.owners = {
            model: Owner(
                model.name,
                str(owner_root(model.name, config.output_dir, as_path(model.directory))),
                model,
            )
            for model in models
        }
        self.labels = labels
        self.eks: tuple[Owner, ModelSpec] | None = None
        if ensemble is not None:
            # --eks-dir wins over -o: it names the place of these outputs alone.
            root = config.eks_dir or owner_root(EKS, config.output_dir, None)
            for owner in self.owners.values():
                if os.path.realpath(owner.root) == os.path.realpath(str(root)):
                    raise UsageError(
                        f"holds the outputs of the model {owner.name}",
                        path=root,
                        hint="Give another --eks-dir: tables of both have the same names.",
                    )
            self.eks = Owner(EKS, str(root), ensemble), ensemble

    def build(self, group: Group) -> tuple[list[RecordingPlan], list[Problem]]:
        """The plan of a recording, or one for each of its videos if it is not complete; and the
        errors of videos that have none."""
        problems: list[Problem] = []
        if group.complete:
            smooth = self.eks is not None
            plans = [self._recording(group.key, group.videos, smooth, problems)]
        else:
            plans = [self._recording(v.key, (v,), False, problems) for v in group.videos]
        return [plan for plan in plans if plan is not None], problems

    def _recording(
        self,
        key: str,
        specs: Sequence[VideoSpec],
        smooth: bool,
        problems: list[Problem],
    ) -> RecordingPlan | None:
        models = [m for m in self.owners if not m.takes_views or len(specs) > 1]
        contents = Contents(specs)
        videos = []
        for spec in specs:
            try:
                videos.append(self._video(spec, models, specs, contents))
            except VideoError as error:
                problems.append(Problem(spec.path, str(error), fatal=True))
        if len(videos) < len(specs) or not models:
            return None
        recording = RecordingPlan(key, tuple(videos))
        if smooth and len(models) == len(self.owners):
            try:
                recording = self._with_eks(recording, contents)
            except (SmoothingError, VideoError) as error:
                # Its members can be predicted all the same.
                problems.append(Problem(error.path or key, error.message, error.hint, fatal=True))
        damage = damage_problems(recording, strict=self.config.strict)
        problems += damage
        if any(problem.fatal for problem in damage):
            return None
        return _with_contents(recording, contents)

    def _video(
        self,
        video: VideoSpec,
        models: Sequence[ModelSpec],
        views: Sequence[VideoSpec],
        contents: Contents,
    ) -> VideoPlan:
        bbox = ""
        shared: dict[str, Any] = {"kind": "predictions", "method": METHOD}
        if self.config.bbox_dir is not None:
            path = bbox_path(self.config.bbox_dir, as_path(video.path).stem)
            read_bboxes(path)
            bbox = str(path)
            shared["boxes"] = digests.digest_of_file(path)
        members = tuple(self._member(model, video, views, shared, contents) for model in models)
        return VideoPlan(video, members, bbox=bbox)

    def _member(
        self,
        model: ModelSpec,
        video: VideoSpec,
        views: Sequence[VideoSpec],
        shared: Mapping[str, Any],
        contents: Contents,
    ) -> OutputPlan:
        """The outputs of one model for one video."""
        owner, paths = self.owners[model], self._paths(self.owners[model], video)
        provenance: dict[str, Any] = {
            **shared,
            "video": video.fingerprint,
            "model": model.fingerprint,
        }
        if model.takes_views:
            of_view = {other.view: other.fingerprint for other in views}
            provenance["views"] = [of_view[view] for view in model.view_names]
        if model.exported is not None:
            # It is in the model's fingerprint too; here for the reason why a table is stale.
            provenance["runtime"] = model.exported.runtime
        provenances = self._with_settings(model, provenance)
        table = Table(
            videos=(video,),
            owner=owner,
            outputs={"table": str(paths.predictions)},
            provenance=provenances[0],
            strict=self.config.strict,
        )
        source = self._source(video, owner, model, table.provenance)
        _check_names(table, [source])
        standing = planned(
            table,
            overwrite=self.config.overwrite,
            why_stale=contents.why_stale,
            alternatives=provenances[1:],
        )
        if isinstance(standing.step, Table):
            source = replace(source, provenance=standing.step.provenance)
        ranges: tuple[tuple[int, int, str], ...] = ()
        if not standing.done and not self.config.overwrite:
            ranges = finished_ranges(
                range_folder(paths), *provenances, why_stale=contents.why_stale
            )
        return self._output(source, standing, contents, ranges)

    def _with_settings(
        self, model: ModelSpec, provenance: Mapping[str, Any]
    ) -> tuple[Provenance, ...]:
        """The provenances of tables that what was asked for can lead to."""
        asked = self.config.precision
        precisions = PRECISIONS_OF_AUTO if asked == "auto" else (asked,)
        if model.exported is not None:
            precisions = (model.exported.precision,)
        return acceptable(provenance, precisions=precisions, decoder=self.config.decoder)

    def _paths(self, owner: Owner, video: VideoSpec) -> OutputPaths:
        return output_paths(as_path(owner.root), video.key, self.config.layout)

    def _source(
        self, video: VideoSpec, owner: Owner, model: ModelSpec, provenance: Provenance
    ) -> TableSource:
        """A table, for the steps that make something from it."""
        smoothed = self.eks is not None and owner is self.eks[0]
        metrics: tuple[str, ...] = ()
        if self.config.metrics:
            # PCA errors need all keypoints that the model has.
            some = smoothed and self.config.eks_options.keypoints
            known = self.labels[model.name] and not some
            metrics = wanted_metrics(model) if known else (TEMPORAL_NORM,)
        return TableSource(
            video=video,
            owner=owner,
            paths=self._paths(owner, video),
            provenance=provenance,
            config=self.config,
            metrics=metrics,
            labels=self.labels[model.name],
            smoothed=smoothed,
            stills=smoothed if self.eks else model is next(iter(self.owners)),
        )

    def _output(
        self,
        source: TableSource,
        table: Planned,
        contents: Contents,
        ranges: tuple[tuple[int, int, str], ...] = (),
    ) -> OutputPlan:
        """A table with what is made from it."""
        more = tuple(
            planned(step, overwrite=self.config.overwrite, why_stale=contents.why_stale)
            for step in _table_steps(source)
        )
        path = str(source.paths.predictions)
        return OutputPlan(source.owner, source.video, path, table, more, ranges)

    def _with_eks(self, recording: RecordingPlan, contents: Contents) -> RecordingPlan:
        """The recording with the outputs of the smoothed ensemble."""
        assert self.eks is not None
        owner, model = self.eks
        options = self.config.eks_options
        videos = [plan.video for plan in recording.videos]
        mirrored = () if len(videos) > 1 else _mirrored_keypoints(options, model)
        calibration = self._calibration(recording.key, videos)
        names = options.keypoints or model.keypoint_names
        check_mode(options.mode, names, bool(mirrored), len(videos) > 1, calibration)
        if calibration is not None:
            usable_cameras(calibration, [video.view for video in videos])
        root = as_path(owner.root)
        outputs: dict[str, AnyPath] = {
            Smooth.table_name(video): self._paths(owner, video).predictions for video in videos
        }
        outputs["params"] = smooth_params_path(root, recording.key)
        if calibration is not None:
            outputs["points"] = points_path(root, recording.key)
        smooth = Smooth(
            videos=tuple(videos),
            owner=owner,
            outputs={name: str(path) for name, path in outputs.items()},
            provenance=_smoothing_provenance(recording, options, mirrored, calibration),
            members=tuple(member.owner.name for member in recording.videos[0].members),
            options=options,
            mirrored=mirrored,
            calibration="" if calibration is None else str(calibration),
        )
        sources = [self._source(v, owner, model, smooth.provenance_of(v)) for v in videos]
        _check_names(smooth, sources)
        table = planned(smooth, overwrite=self.config.overwrite, why_stale=contents.why_stale)
        plans = [
            replace(plan, smoothed=self._output(source, table, contents))
            for plan, source in zip(recording.videos, sources, strict=True)
        ]
        return replace(recording, videos=tuple(plans))

    def _calibration(self, key: str, videos: Sequence[VideoSpec]) -> Path | None:
        if len(videos) < 2 or not self.config.eks_options.takes_calibration:
            return None
        return self.config.calibration or find_calibration([video.path for video in videos], key)


def _table_steps(source: TableSource) -> list[OutputStep]:
    steps = [kind.planned(source) for kind in TABLE_STEPS]
    return [step for step in steps if step is not None]


def _check_names(step: OutputStep, sources: Sequence[TableSource]) -> None:
    """Raises VideoError where the name of an output is too long."""
    steps = [step, *(more for source in sources for more in _table_steps(source))]
    check_lengths(as_path(path) for each in steps for path in each.outputs.values())
    check_lengths(frames_beside(as_path(path)) for path in step.tables)


def _with_contents(recording: RecordingPlan, contents: Contents) -> RecordingPlan:
    """The recording with the digests of its videos, as far as comparing outputs has told them."""
    videos = {
        plan.video: replace(plan.video, content=contents.content(plan.video))
        for plan in recording.videos
    }
    steps: dict[int, Step] = {}  # that of a smoothed recording belongs to all its videos

    def standing(old: Planned) -> Planned:
        step = steps.setdefault(
            id(old.step), replace(old.step, videos=tuple(videos[v] for v in old.step.videos))
        )
        return replace(old, step=step)

    def output(old: OutputPlan) -> OutputPlan:
        more = tuple(map(standing, old.more))
        return replace(old, video=videos[old.video], table=standing(old.table), more=more)

    plans = [
        replace(
            plan,
            video=videos[plan.video],
            members=tuple(map(output, plan.members)),
            smoothed=None if plan.smoothed is None else output(plan.smoothed),
        )
        for plan in recording.videos
    ]
    return replace(recording, videos=tuple(plans))


def _mirrored_keypoints(options: EksOptions, model: ModelSpec) -> tuple[tuple[str, ...], ...]:
    """The keypoints of each mirrored view, of those that are to be smoothed."""
    if options.mode not in ("auto", "mirrored") and not (
        options.mode is None and options.mirrored
    ):
        return ()
    try:
        views = (
            views_by_suffix(model.keypoint_names, options.mirrored)
            if options.mirrored
            else mirrored_views(model)
        )
    except SmoothingError as error:
        raise UsageError(f"--mirrored: {error.message}", hint=error.hint) from None
    if not options.keypoints:
        return views
    parts = [part for part in zip(*views, strict=True) if set(part) <= set(options.keypoints)]
    return tuple(zip(*parts, strict=True))


def _smoothing_provenance(
    recording: RecordingPlan,
    options: EksOptions,
    mirrored: Sequence[Sequence[str]],
    calibration: Path | None,
) -> dict[str, Any]:
    provenance: dict[str, Any] = {
        "kind": "smoothed",
        "method": METHOD,
        "members": [
            [
                digests.digest_of_json(member.table.step.provenance)
                for member in plan.members
                if isinstance(member.table.step, OutputStep)
            ]
            for plan in recording.videos
        ],
        "options": options.model_dump(mode="json"),
    }
    if mirrored:
        provenance["mirrored"] = [list(view) for view in mirrored]
    if len(recording.videos) > 1:
        provenance["views"] = [plan.video.view for plan in recording.videos]
    if calibration is not None:
        provenance["calibration"] = remembered_digest(calibration)
    return provenance
