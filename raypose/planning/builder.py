"""What one recording takes: its steps, compared with what is finished already."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from raypose.config import EksOptions, RunConfig, SmoothConfig
from raypose.eks.calibration import usable_cameras
from raypose.eks.recording import check_mode, mirrored_views, views_by_suffix
from raypose.errors import SmoothingError, UsageError, VideoError
from raypose.inference.bbox import bbox_path, read_bboxes
from raypose.inference.device import PRECISIONS_OF_AUTO
from raypose.inputs.sessions import find_calibration
from raypose.metrics.compute import TEMPORAL_NORM
from raypose.planning.checks import Labels, check_output_names
from raypose.planning.contents import Contents
from raypose.planning.drawing import plan_skeletons
from raypose.planning.model import (
    METHOD,
    OutputPlan,
    Planned,
    Problem,
    RecordingPlan,
    VideoPlan,
)
from raypose.planning.recordings import Group, eks_root
from raypose.planning.status import damage_problems, planned
from raypose.rendering.style import Style
from raypose.specs import EKS, ModelSpec, Owner, VideoSpec
from raypose.steps import TABLE_STEPS, Smooth, Table
from raypose.steps.base import OutputStep, TableSource
from raypose.steps.ranges import finished_ranges
from raypose.storage import AnyPath, as_path, digests, layout
from raypose.storage.listing import Kind, Listing, NoListing
from raypose.storage.provenance import Provenance, acceptable


class RecordingBuilder:
    """Builds the plan of each recording; holds what is the same for all of them.

    Args:
        ensemble: the model whose threshold, colours and metrics the smoothed ensemble has; None
            where there is nothing to smooth.
        labels: by model, as from `checks.read_labels`.
        styles: how the videos of each model look, by its name.
        listing: what lies in the output folders.

    Raises:
        UsageError: the ensemble's outputs would lie among a member's.
    """

    def __init__(
        self,
        config: RunConfig,
        models: tuple[ModelSpec, ...],
        *,
        ensemble: ModelSpec | None,
        labels: Mapping[str, Labels],
        styles: Mapping[str, Style],
        listing: Listing,
    ) -> None:
        self.config = config
        self.owners = {
            model: Owner(
                model.name,
                str(layout.owner_root(model.name, config.output_dir, as_path(model.directory))),
                model,
            )
            for model in models
        }
        self.labels, self.styles, self.listing = labels, styles, listing
        self.skeletons = plan_skeletons(models, config) if config.formats else {}
        self.eks: Owner | None = None
        if ensemble is not None:
            root = eks_root(config)
            for owner in self.owners.values():
                if os.path.realpath(owner.root) == os.path.realpath(str(root)):
                    raise UsageError(
                        f"holds the outputs of the model {owner.name}",
                        path=root,
                        hint="Give another --eks-dir: tables of both have the same names.",
                    )
            self.eks = Owner(EKS, str(root), ensemble)

    def build(self, group: Group) -> tuple[list[RecordingPlan], list[Problem]]:
        """The plan of a recording, or one for each of its videos if it is not complete; and the
        errors of videos that have none."""
        if group.wrong:
            made = [self._recording(video.key, (video,), False) for video in group.videos]
        else:
            made = [self._recording(group.key, group.videos, self.eks is not None)]
        plans = [plan for plan, _ in made if plan is not None]
        return plans, [problem for _, found in made for problem in found]

    def _recording(
        self, key: str, specs: Sequence[VideoSpec], smooth: bool
    ) -> tuple[RecordingPlan | None, list[Problem]]:
        problems: list[Problem] = []
        models = [m for m in self.owners if not m.takes_views or len(specs) > 1]
        smooth = smooth and len(models) == len(self.owners)
        contents = Contents(specs)
        videos = []
        for spec in specs:
            try:
                videos.append(self._video(spec, models, specs, contents, smooth))
            except VideoError as error:
                problems.append(Problem(spec.path, str(error), fatal=True))
        if len(videos) < len(specs) or not models:
            return None, problems
        recording = RecordingPlan(key, tuple(videos))
        if smooth:
            try:
                recording = self._with_eks(recording, contents)
            except (SmoothingError, VideoError) as error:
                # Its members can be predicted all the same, and get all that a smoothed table has.
                problems.append(Problem(error.path or key, error.message, error.hint, fatal=True))
                members, more = self._recording(key, specs, False)
                return members, [*problems, *more]
        damage = damage_problems(recording, strict=self.config.strict)
        problems += damage
        if any(problem.fatal for problem in damage):
            return None, problems
        again = partial(self._later._recording, key, specs, smooth)
        return replace(recording, contents=contents.known, look_again=again), problems

    @cached_property
    def _later(self) -> RecordingBuilder:
        """For later in the run: it asks for each output anew, and keeps finished ones. The plan
        holds it, but not the listing of all output folders."""
        if isinstance(self.listing, NoListing):
            return self
        builder = copy(self)
        builder.config = self.config.model_copy(update={"overwrite": False})
        builder.listing = NoListing()
        return builder

    def _video(
        self,
        video: VideoSpec,
        models: Sequence[ModelSpec],
        views: Sequence[VideoSpec],
        contents: Contents,
        smooth: bool,
    ) -> VideoPlan:
        bbox = ""
        shared: dict[str, Any] = {"kind": "predictions", "method": METHOD}
        if self.config.bbox_dir is not None:
            path = bbox_path(self.config.bbox_dir, as_path(video.path).stem)
            read_bboxes(path)
            bbox = str(path)
            shared["boxes"] = digests.digest_of_file(path)
        tables = [self._table(model, video, views, shared) for model in models]
        members = tuple(
            self._member(table, others, contents, is_member=smooth, stills=not smooth and i == 0)
            for i, (table, others) in enumerate(tables)
        )
        return VideoPlan(video, members, bbox=bbox)

    def _table(
        self,
        model: ModelSpec,
        video: VideoSpec,
        views: Sequence[VideoSpec],
        shared: Mapping[str, Any],
    ) -> tuple[Table, tuple[Provenance, ...]]:
        """The step that makes a model's table, and other provenances that are as good."""
        owner, paths = self.owners[model], self._paths(self.owners[model], video)
        provenance: dict[str, Any] = {
            **shared,
            "video": video.fingerprint,
            "model": model.fingerprint,
        }
        if model.takes_views:
            of_view = {other.view: other.fingerprint for other in views}
            provenance["views"] = [of_view[view] for view in model.view_names]
        asked = self.config.precision
        precisions = PRECISIONS_OF_AUTO if asked == "auto" else (asked,)
        if model.exported is not None:
            # It is in the model's fingerprint too; here for the reason why a table is stale.
            provenance["runtime"] = model.exported.runtime
            precisions = (model.exported.precision,)
        provenances = acceptable(provenance, precisions=precisions, decoder=self.config.decoder)
        table = Table(
            videos=(video,),
            owner=owner,
            outputs={"table": paths.predictions},
            provenance=provenances[0],
            strict=self.config.strict,
        )
        return table, tuple(provenances[1:])

    def _member(
        self,
        table: Table,
        alternatives: Sequence[Provenance],
        contents: Contents,
        *,
        is_member: bool,
        stills: bool,
    ) -> OutputPlan:
        """The outputs of a model."""
        check_output_names(table)
        standing = self._planned(table, contents, alternatives)
        assert isinstance(standing.step, Table)
        source = self._source(
            table.video,
            table.owner,
            standing.step.provenance,
            is_member=is_member,
            stills=stills,
        )
        ranges: tuple[tuple[int, int, str], ...] = ()
        if not standing.done and not self.config.overwrite:
            ranges = self._finished_ranges(source.paths, contents, table.provenance, *alternatives)
        return self._output(source, standing, contents, ranges)

    def _finished_ranges(
        self, paths: layout.OutputPaths[str], contents: Contents, *provenances: Provenance
    ) -> tuple[tuple[int, int, str], ...]:
        folder = paths.beside(f"{layout.HIDDEN}/ranges/{paths.stem}")
        if self.listing.kind(folder) is Kind.MISSING:
            return ()
        return finished_ranges(as_path(folder), *provenances, why_stale=contents.why_stale)

    def _paths(self, owner: Owner, video: VideoSpec) -> layout.OutputPaths[str]:
        return layout.output_paths(owner.root, video.key, self.config.layout)

    def _planned(
        self, step: OutputStep, contents: Contents, alternatives: Sequence[Provenance] = ()
    ) -> Planned:
        return planned(
            step,
            overwrite=self.config.overwrite,
            listing=self.listing,
            why_stale=contents.why_stale,
            alternatives=alternatives,
        )

    def _source(
        self,
        video: VideoSpec,
        owner: Owner,
        provenance: Provenance,
        *,
        is_member: bool = False,
        stills: bool = True,
    ) -> TableSource:
        """A table, for the steps that make something from it."""
        smoothed, model = owner is self.eks, owner.model
        assert model is not None
        labels = self.labels[model.name]
        metrics = labels.metrics
        if smoothed and self.config.eks_options.keypoints:
            # PCA errors need all keypoints that the model has.
            metrics = tuple(name for name in metrics if name == TEMPORAL_NORM)
        return TableSource(
            video=video,
            owner=owner,
            paths=self._paths(owner, video),
            provenance=provenance,
            config=self.config,
            metrics=metrics,
            labels=labels.digest,
            style=self.styles[model.name],
            skeleton=self.skeletons.get(model.name, ()),
            smoothed=smoothed,
            is_member=is_member,
            stills=stills,
        )

    def _output(
        self,
        source: TableSource,
        table: Planned,
        contents: Contents,
        ranges: tuple[tuple[int, int, str], ...] = (),
    ) -> OutputPlan:
        steps = [step for kind in TABLE_STEPS if (step := kind.planned(source)) is not None]
        check_output_names(*steps)
        more = tuple(self._planned(step, contents) for step in steps)
        path = source.paths.predictions
        return OutputPlan(source.owner, source.video, path, table, more, ranges)

    def _with_eks(self, recording: RecordingPlan, contents: Contents) -> RecordingPlan:
        owner, options = self.eks, self.config.eks_options
        assert owner is not None and owner.model is not None
        model = owner.model
        videos = [plan.video for plan in recording.videos]
        mirrored = () if len(videos) > 1 else _mirrored_keypoints(options, model)
        calibration = None
        if len(videos) > 1 and options.takes_calibration:
            paths = [video.path for video in videos]
            calibration = self.config.calibration or find_calibration(paths, recording.key)
        names = options.keypoints or model.keypoint_names
        check_mode(options.mode, names, bool(mirrored), len(videos) > 1, calibration)
        if calibration is not None:
            usable_cameras(calibration, [video.view for video in videos])
        tables = [[m.table.step for m in plan.members] for plan in recording.videos]
        smooth = smooth_step(
            recording.key,
            videos,
            owner,
            self.config,
            members=[member.owner.name for member in recording.videos[0].members],
            digests_of_members=[
                [digests.digest_of_json(t.provenance) for t in of_video if isinstance(t, Table)]
                for of_video in tables
            ],
            views=[video.view for video in videos] if len(videos) > 1 else (),
            mirrored=mirrored,
            calibration=calibration,
        )
        check_output_names(smooth)
        table = self._planned(smooth, contents)
        plans = []
        for plan in recording.videos:
            source = self._source(plan.video, owner, smooth.provenance_of(plan.video))
            plans.append(replace(plan, smoothed=self._output(source, table, contents)))
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


def smooth_step(
    key: str,
    videos: Sequence[VideoSpec],
    owner: Owner,
    config: RunConfig | SmoothConfig,
    *,
    members: Sequence[str],
    digests_of_members: Sequence[Sequence[str]],
    views: Sequence[str],
    mirrored: Sequence[Sequence[str]] = (),
    calibration: Path | None = None,
    final: bool = False,
) -> Smooth:
    """The step that smooths a recording.

    Args:
        digests_of_members: for each video, what tells the table of each member.
        views: as far as their names count for what is smoothed.
    """
    root, options = as_path(owner.root), config.eks_options
    outputs: dict[str, AnyPath] = {
        Smooth.table_name(video): layout.output_paths(root, video.key, config.layout).predictions
        for video in videos
    }
    outputs["params"] = layout.smooth_params_path(root, key)
    provenance: dict[str, Any] = {
        "kind": "smoothed",
        "method": METHOD,
        "members": [list(of_video) for of_video in digests_of_members],
        "options": options.model_dump(mode="json"),
    }
    if mirrored:
        provenance["mirrored"] = [list(view) for view in mirrored]
    if views:
        provenance["views"] = list(views)
    if calibration is not None:
        provenance["calibration"] = digests.remembered_digest(calibration)
        if len(videos) > 1 and options.takes_calibration:
            outputs["points"] = layout.points_path(root, key)
    return Smooth(
        videos=tuple(videos),
        owner=owner,
        outputs={name: str(path) for name, path in outputs.items()},
        provenance=provenance,
        members=tuple(members),
        options=options,
        mirrored=tuple(map(tuple, mirrored)),
        calibration="" if calibration is None else str(calibration),
        final=final,
    )
