"""What one recording takes, compared with what the ledger says is done."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from raypose import storage
from raypose.config import RunConfig
from raypose.eks import check_mode, mirrored_views, views_by_suffix
from raypose.eks.calibration import usable_cameras
from raypose.errors import SmoothingError, UsageError, VideoError
from raypose.inference.boxes import boxes_path, read_boxes
from raypose.inference.device import PRECISIONS_OF_AUTO
from raypose.inputs.calibration import find_calibration
from raypose.inputs.videos import Inspected
from raypose.metrics.compute import TEMPORAL_NORM, wanted_metrics
from raypose.planning.checks import check_lengths
from raypose.planning.contents import Contents
from raypose.planning.damage import damage_problems
from raypose.planning.model import EKS, OwnerWork, Problem, SessionPlan, Step, VideoPlan
from raypose.planning.recordings import Group
from raypose.specs import ModelSpec, Owner, VideoSpec
from raypose.steps.frame_files import frames_recipe, recorded_damage
from raypose.steps.ranges import finished_ranges, range_folder
from raypose.storage import AnyPath, as_path, digests, records
from raypose.storage.digests import remembered_digest
from raypose.storage.layout import (
    OutputPaths,
    frames_beside,
    output_paths,
    owner_root,
    points_path,
    smooth_params_path,
)
from raypose.storage.recipes import acceptable

METHOD = 2
"""Version of the numerics; raised when equal inputs give other tables than before."""


class SessionBuilder:
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
        self.owners = tuple(
            Owner(m.name, str(owner_root(m.name, config.output_dir, as_path(m.directory))), m)
            for m in models
        )
        self.eks: Owner | None = None
        if ensemble is not None:
            # --eks-dir wins over -o: it names the place of these outputs alone.
            root = config.eks_dir or owner_root(EKS, config.output_dir, None)
            self.eks = Owner(EKS, str(root), ensemble)
            for owner in self.owners:
                if os.path.realpath(owner.root) == os.path.realpath(self.eks.root):
                    raise UsageError(
                        f"holds the outputs of the model {owner.name}",
                        path=root,
                        hint="Give another --eks-dir: tables of both have the same names.",
                    )
        self.labels = labels

    def _metric_names(self, owner: Owner) -> tuple[str, ...]:
        if not self.config.metrics:
            return ()
        # Those of PCA need all keypoints that the model has.
        some = owner is self.eks and self.config.eks_options.keypoints
        known = self.labels[owner.model.name] and not some
        return wanted_metrics(owner.model) if known else (TEMPORAL_NORM,)

    def build(self, group: Group) -> tuple[list[SessionPlan], list[Problem]]:
        """The plan of a recording, one for each of its videos where it is not complete; and what
        is wrong with videos that have none."""
        problems: list[Problem] = []
        if group.complete:
            smooth = self.eks is not None
            plans = [self._session(group.key, group.views, group.videos, smooth, problems)]
        else:
            plans = [self._session(v.key, ("",), (v,), False, problems) for v in group.videos]
        return [plan for plan in plans if plan is not None], problems

    def _session(
        self,
        key: str,
        views: Sequence[str],
        looks: Sequence[Inspected],
        smooth: bool,
        problems: list[Problem],
    ) -> SessionPlan | None:
        owners = [o for o in self.owners if not o.model.takes_views or len(views) > 1]
        specs = [
            replace(look.spec, view=view)
            for view, look in zip(views, looks, strict=True)
            if look.spec is not None
        ]
        contents = Contents(specs)
        videos = []
        for spec, look in zip(specs, looks, strict=True):
            try:
                videos.append(self._video(spec, owners, look.keyframes, specs, contents))
            except VideoError as error:
                problems.append(Problem(spec.path, str(error), fatal=True))
        if len(videos) < len(looks) or not owners:
            return None
        session = SessionPlan(key, tuple(videos))
        if smooth and len(owners) == len(self.owners):
            try:
                session = self._with_eks(session, contents)
            except (SmoothingError, VideoError) as error:
                # Its members can be predicted all the same.
                problems.append(Problem(error.path or key, error.message, error.hint, fatal=True))
        damage = damage_problems(session, strict=self.config.strict)
        problems += damage
        if any(problem.fatal for problem in damage):
            return None
        told = [
            replace(plan, video=replace(plan.video, content=contents.content(plan.video)))
            for plan in session.videos
        ]
        return replace(session, videos=tuple(told))

    def _video(
        self,
        video: VideoSpec,
        owners: Sequence[Owner],
        keyframes: tuple[int, ...],
        session: Sequence[VideoSpec],
        contents: Contents,
    ) -> VideoPlan:
        boxes = ""
        recipe: dict[str, Any] = {"kind": "predictions", "method": METHOD}
        if self.config.bbox_dir is not None:
            path = boxes_path(self.config.bbox_dir, as_path(video.path).stem)
            read_boxes(path)
            boxes = str(path)
            recipe["boxes"] = digests.digest_of_file(path)
        works = []
        done_ranges = []
        for owner in owners:
            made_from = {
                **recipe,
                "video": video.fingerprint,
                "model": owner.model.fingerprint,
            }
            if owner.model.takes_views:
                of_view = {other.view: other.fingerprint for other in session}
                made_from["views"] = [of_view[view] for view in owner.model.view_names]
            if owner.model.engine is not None:
                # It is in the model's fingerprint too; here for the reason why a table is stale.
                made_from["runtime"] = owner.model.engine.runtime
            paths = self._paths(owner, video)
            check_lengths(_all_names(paths, self._metric_names(owner), self.config))
            outputs = {"table": paths.predictions}
            table = self._step(
                "table", outputs, video, contents, *self._with_settings(owner, made_from)
            )
            works.append(self._owner_work(owner, video, table, contents))
            done_ranges.append(
                ()
                if table.done or self.config.overwrite
                else finished_ranges(
                    range_folder(paths),
                    *self._with_settings(owner, made_from),
                    why_stale=contents.why_stale,
                )
            )
        return VideoPlan(video, tuple(works), None, tuple(done_ranges), keyframes, boxes)

    def _with_settings(
        self, owner: Owner, made_from: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], ...]:
        """The recipes of tables that what was asked for can lead to.

        Args:
            owner: whose tables.
            made_from: the recipe without settings.
        """
        asked, engine = self.config.precision, owner.model.engine
        precisions = PRECISIONS_OF_AUTO if asked == "auto" else (asked,)
        if engine is not None:
            precisions = (engine.precision,)
        return acceptable(made_from, precisions=precisions, decoder=self.config.decoder)

    def _with_eks(self, session: SessionPlan, contents: Contents) -> SessionPlan:
        """The session with the smoothed ensemble's work."""
        assert self.eks is not None
        options = self.config.eks_options
        videos = [plan.video for plan in session.videos]
        several = len(videos) > 1
        mirrored: tuple[tuple[str, ...], ...] = ()
        asked = options.mode in ("auto", "mirrored") or (options.mode is None and options.mirrored)
        if not several and asked:
            try:
                mirrored = (
                    views_by_suffix(self.eks.model.keypoint_names, options.mirrored)
                    if options.mirrored
                    else mirrored_views(self.eks.model)
                )
            except SmoothingError as error:
                raise UsageError(f"--mirrored: {error.message}", hint=error.hint) from None
        if options.keypoints:
            mirrored = _among(mirrored, options.keypoints)
        calibration: Path | None = None
        if several and options.takes_calibration:
            calibration = self.config.calibration or find_calibration(
                [video.path for video in videos], session.key
            )
        names = options.keypoints or self.eks.model.keypoint_names
        check_mode(options.mode, names, bool(mirrored), several, calibration)
        if calibration is not None:
            usable_cameras(calibration, [video.view for video in videos])
        shared: dict[str, Any] = {
            "kind": "smoothed",
            "method": METHOD,
            "members": [
                [digests.digest_of_json(work.table.recipe) for work in plan.models]
                for plan in session.videos
            ],
            "options": options.model_dump(mode="json"),
        }
        if mirrored:
            shared["mirrored"] = [list(view) for view in mirrored]
        if several:
            shared["views"] = [video.view for video in videos]
        if calibration is not None:
            shared["calibration"] = remembered_digest(calibration)
        root = as_path(self.eks.root)
        plans = []
        for i, plan in enumerate(session.videos):
            outputs: dict[str, AnyPath] = {"table": self._paths(self.eks, plan.video).predictions}
            if i == 0:
                outputs["params"] = smooth_params_path(root, session.key)
            if i == 0 and calibration is not None:
                outputs["points"] = points_path(root, session.key)
            recipe = {**shared, "video": plan.video.fingerprint}
            check_lengths(outputs.values())
            table = self._step("table", outputs, plan.video, contents, recipe)
            work = self._owner_work(self.eks, plan.video, table, contents)
            plans.append(replace(plan, eks=work))
        return replace(
            session,
            videos=tuple(plans),
            mirrored=mirrored,
            calibration="" if calibration is None else str(calibration),
        )

    def _paths(self, owner: Owner, video: VideoSpec) -> OutputPaths:
        return output_paths(as_path(owner.root), video.key, self.config.layout)

    def _owner_work(
        self, owner: Owner, video: VideoSpec, table: Step, contents: Contents
    ) -> OwnerWork:
        """The table, and what is made of it."""
        config, paths, model = self.config, self._paths(owner, video), owner.model
        steps = [table]
        below: dict[str, Any] = {
            "table": digests.digest_of_json(table.recipe),
            "video": video.fingerprint,
        }
        drawn: dict[str, Any] = {
            "threshold": model.confidence_threshold,
            "colormap": model.colormap,
            "encoder": config.encoder,
        }
        made_from: dict[str, Any]
        names = self._metric_names(owner)
        measured: dict[str, Any] = {"metrics": list(names), "labels": self.labels[model.name]}
        if names:
            outputs: dict[str, AnyPath] = {name: paths.metric(name) for name in names}
            made_from = {"kind": "metrics", **below, **measured}
            steps.append(self._step("metrics", outputs, video, contents, made_from))
        if config.timestamps and owner is not self.eks:
            outputs = {"frames": paths.frames}
            made_from = frames_recipe(table.recipe)
            steps.append(self._step("timestamps", outputs, video, contents, made_from))
        if "full" in config.label:
            made_from = {"kind": "label", **below, **drawn}
            outputs = {"labeled": paths.labeled}
            steps.append(self._step("label", outputs, video, contents, made_from))
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
            steps.append(self._step("snippet", outputs, video, contents, made_from))
        return OwnerWork(owner, tuple(steps))

    def _step(
        self,
        kind: str,
        outputs: Mapping[str, AnyPath],
        video: VideoSpec,
        contents: Contents,
        *recipes: Mapping[str, Any],
    ) -> Step:
        """How a step stands; `recipes` are those that will do, the first that of a new output."""
        expected = recipes[0]
        paths = {name: str(path) for name, path in outputs.items()}
        if self.config.overwrite:
            return Step(kind, paths, expected, False, "--overwrite")
        reason, digest, clash = "", "", None
        frames: Mapping[str, int] = {}
        for name, path in outputs.items():
            verdict = records.check(path, *recipes, why_stale=contents.why_stale)
            reason = reason or verdict.reason
            if verdict.recipe is not None:
                recipes = (verdict.recipe,)  # the others must be of the same
            digest = digest or verdict.digest
            if "video" in verdict.changed and _is_other_video(verdict.source, video.path):
                clash = clash or (str(path), verdict.source)
            if (kind, name) == ("table", "table") and verdict.recipe is not None:
                frames = recorded_damage(verdict.facts)
                # Without the file that says which rows to trust, the table is not complete.
                if frames and not reason:
                    beside = records.check(frames_beside(path), frames_recipe(verdict.recipe))
                    reason = beside.reason and f"its file of frames is {beside.reason}"
        if reason:
            return Step(kind, paths, expected, False, reason, clash)
        return Step(kind, paths, recipes[0], True, digest=digest, frames=frames)


def _all_names(paths: OutputPaths, metrics: Sequence[str], config: RunConfig) -> Iterator[AnyPath]:
    """Every output that a video may have."""
    yield paths.predictions
    yield paths.frames
    yield from (paths.metric(name) for name in metrics)
    if "full" in config.label:
        yield paths.labeled
    if "snippet" in config.label:
        yield paths.snippet_labeled
        yield from (paths.snippet_metric(name) for name in metrics)


def _among(
    views: tuple[tuple[str, ...], ...], keypoints: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    """Mirrored views of the body parts that are among the keypoints in every view."""
    parts = [part for part in zip(*views, strict=True) if set(part) <= set(keypoints)]
    return tuple(zip(*parts, strict=True))


def _is_other_video(source: str, path: str) -> bool:
    """True where an output belongs to another video that is still there."""
    return bool(source) and source != path and storage.exists(as_path(source))
