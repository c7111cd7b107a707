"""How the labelled videos of a run look: one palette for all its models, and their skeletons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raypose.config import RunConfig
from raypose.inputs.skeleton import read_skeleton
from raypose.planning.model import Problem
from raypose.rendering.style import PLAIN, Style
from raypose.specs import ModelSpec, Skeleton


def plan_skeletons(models: Sequence[ModelSpec], config: RunConfig) -> Mapping[str, Skeleton]:
    """The skeleton of each model by its name: that of `--skeleton`, or of its config.

    Raises:
        UsageError: the file of the skeleton can't be used.
    """
    given = () if config.skeleton is None else read_skeleton(config.skeleton)
    return {model.name: given or model.skeleton for model in models}


def plan_styles(
    models: Sequence[ModelSpec], config: RunConfig
) -> tuple[Mapping[str, Style], list[Problem]]:
    """The style of each model's videos, by its name; and what of its skeleton can't be drawn.

    The palette is shared by the keypoints of all models and of the skeleton's file, so that the
    same file gives the same colours in another run whose models have other keypoints.

    Raises:
        UsageError: the file of the skeleton can't be used.
    """
    if not config.label and config.worst is None:
        return {model.name: PLAIN for model in models}, []
    skeletons = plan_skeletons(models, config)
    given = config.skeleton is not None
    known = {name for model in models for name in model.keypoint_names}
    in_file: set[str] = set()
    if given:
        in_file = {name for bones in skeletons.values() for bone in bones for name in bone}
    styles, problems = {}, []
    for model in models:
        skeleton = skeletons[model.name]
        by_colormap = config.colors == "colormap"
        styles[model.name] = Style(
            names=() if by_colormap else tuple(sorted(known | in_file)),
            colormap=model.colormap if by_colormap else "",
            skeleton=skeleton,
            trail=config.trail,
            legend=config.legend,
        )
        has = set(model.keypoint_names)
        unknown = sorted({name for bone in skeleton for name in bone} - has)
        if unknown:
            where = str(config.skeleton) if given else model.config_path
            message = f"the skeleton names {', '.join(unknown)}, which {model.name} does not have"
            hint = "Lines to them are left out."
            problems.append(Problem(where, message, hint))
    return styles, problems
