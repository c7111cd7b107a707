"""The plan of a run: models × recordings, compared with what is finished."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from raypose.config import RunConfig
from raypose.errors import UsageError
from raypose.inference.exports import how_to_export, is_outdated
from raypose.inputs.ensembles import with_members
from raypose.inputs.models import open_model, shortest_names
from raypose.planning.builder import RecordingBuilder
from raypose.planning.checks import (
    check_models,
    check_options,
    check_smoothing,
    device_problems,
    disk_problems,
    read_labels,
)
from raypose.planning.drawing import plan_styles
from raypose.planning.model import Plan, Problem, RecordingPlan
from raypose.planning.recordings import find_files, find_recordings
from raypose.specs import EKS, ModelSpec
from raypose.storage import as_path
from raypose.storage.listing import Listing
from raypose.video.turns import Turns, map_in_turns

_AT_ONCE = 16


def plan_run(config: RunConfig, *, run_dir: Path, only: Collection[str] | None = None) -> Plan:
    """Open, look and compare; see `raypose.planning`.

    Args:
        config: what was asked for.
        run_dir: where the run's log goes.
        only: paths of the videos to plan, of those that the arguments stand for; None for all.

    Raises:
        UsageError: an argument stands for nothing, or does not fit the others.
        ModelError: a model can't be used: no run makes sense without it.
    """
    config = with_members(config)
    check_options(config)
    files, listed = find_files(config, may_lack=only is not None)
    models = _open_models(config)
    check_models(models, config)
    fitting, member_problems = _members(models, config)
    if fitting:
        check_smoothing(fitting[0], config)
    listing = Listing()
    groups, videos, found_problems = find_recordings(files, listed, config, models, only, listing)
    labels, label_problems = read_labels(models, config)
    ensemble = fitting[0] if fitting else None
    styles, style_problems = plan_styles(models, config)
    builder = RecordingBuilder(
        config, models, ensemble=ensemble, labels=labels, styles=styles, listing=listing
    )
    # A store, or a busy file system, takes its time to say which outputs are finished.
    built = map_in_turns(builder.build, groups, turns=Turns(_AT_ONCE), per_turn=8)
    usable, clashes = without_clashes([plan for made, _ in built for plan in made])
    problems = (
        *found_problems,
        *(problem for _, found in built for problem in found),
        *member_problems,
        *label_problems,
        *style_problems,
        *(
            Problem(
                model.name,
                "its export is older than its checkpoint, and may be of an earlier training",
                f"If so, make it again: {how_to_export(model)}.",
            )
            for model in models
            if is_outdated(model)
        ),
        *clashes,
    )
    told = {problem.subject for problem in found_problems}
    n_links = sum(os.path.islink(e.path) and e.path in told for e in files.broken)
    plan = Plan(config, models, tuple(videos), tuple(usable), problems, run_dir)
    more = (*device_problems(plan, config), *disk_problems(plan))
    return replace(plan, problems=(*problems, *more), n_broken_links=n_links)


def check_run(config: RunConfig) -> None:
    """Raises as `plan_run` where no run makes sense, whatever its videos are."""
    config = with_members(config)
    check_options(config)
    check_models(_open_models(config), config)


def _open_models(config: RunConfig) -> tuple[ModelSpec, ...]:
    directories = [as_path(model) for model in config.models]
    for directory in directories:
        if directories.count(directory) > 1:
            raise UsageError("is given twice as a model", path=directory, hint="Give it once.")
    # Below -o the smoothed ensemble has a directory of this name.
    names = [f"{n}_model" if n == EKS else n for n in shortest_names(directories)]
    return tuple(
        open_model(
            directory,
            name=name,
            overrides=config.overrides,
            runtime=config.runtime,
            precision=config.precision,
        )
        for directory, name in zip(directories, names, strict=True)
    )


def _members(
    models: Sequence[ModelSpec], config: RunConfig
) -> tuple[list[ModelSpec], list[Problem]]:
    """The members that EKS can smooth together, none where they are too few; and the others."""
    if not config.eks:
        return [], []
    chosen = set(config.eks_options.keypoints)
    what = "lacks keypoints that are to be smoothed"
    if not chosen:
        what = "has other keypoints than the other models"
    sets = {model.name: frozenset(model.keypoint_names) for model in models}
    usual = Counter(sets.values()).most_common(1)[0][0]
    odd = {name: sorted(chosen - s if chosen else usual ^ s) for name, s in sets.items()}
    fitting = [model for model in models if not odd[model.name]]
    enough = len(fitting) >= (config.eks_options.min_members or len(models))
    hint = "EKS leaves it out."
    if not enough:
        others = "name others" if chosen else "choose some with --eks-keypoints"
        hint = f"Give models with the same keypoints, {others}, or leave out --eks."
    problems = []
    for name, keypoints in odd.items():
        if keypoints:
            text = f"{', '.join(keypoints[:5])}{', …' if len(keypoints) > 5 else ''}"
            problems.append(Problem(name, f"{what} ({text})", hint, fatal=not enough))
    return (fitting if enough else []), problems


def without_clashes(
    recordings: Sequence[RecordingPlan],
) -> tuple[list[RecordingPlan], list[Problem]]:
    """Leave out recordings whose outputs would replace those of another video."""
    taken: dict[str, str] = {}
    usable, problems = [], []
    for recording in recordings:
        video = recording.videos[0].video
        steps = [planned for output in recording.outputs for planned in output.steps]
        paths = {path for planned in steps for path in planned.outputs.values()}
        clash = next(((path, taken[path]) for path in sorted(paths) if path in taken), None)
        hint = "Rename one of the two videos, or choose another -o."
        if clash is None:
            clash = next((planned.clash for planned in steps if planned.clash), None)
            hint = "Rename one of the two videos, or choose another -o; --overwrite replaces them."
        if clash is None:
            usable.append(recording)
            taken.update((path, video.path) for path in paths)
            continue
        path, other = clash
        message = f"its outputs would replace those of {other} ({path})"
        problems.append(Problem(video.path, message, hint, fatal=True))
    return usable, problems
