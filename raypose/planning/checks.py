"""What can be found before anything runs: options and models that can't lead to the outputs.

Asked by `plan_run`. What makes the whole run senseless is an error; what costs some of its
outputs is a `Problem`. Nothing here needs a GPU, or reads a checkpoint or a video.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from raypose import storage
from raypose.config import EksOptions, RunConfig, option_name
from raypose.eks.recording import check_names
from raypose.errors import LabelsError, ModelError, SmoothingError, UsageError, VideoError
from raypose.inference.device import visible_gpus
from raypose.metrics.compute import TEMPORAL_NORM, fit_and_digest, wanted_metrics
from raypose.metrics.labels import labels_path
from raypose.planning.model import Plan, Problem
from raypose.specs import ModelSpec
from raypose.steps.base import OutputStep
from raypose.storage import as_path, digests
from raypose.storage.layout import HIDDEN, frames_beside_name
from raypose.storage.records import SUFFIX
from raypose.tables.formats import formats_named
from raypose.text import data_size

_MOST_NAMED = 3


def check_options(config: RunConfig) -> None:
    """Raises UsageError where options contradict each other or name what does not exist, or a
    package is missing."""
    directories = (("training data", config.data_dir), ("bounding boxes", config.bbox_dir))
    for of, directory in directories:
        if directory is not None and not directory.is_dir():
            message = f"there is no such directory of {of}"
            raise UsageError(message, path=directory, hint="Check the path.")
    formats_named(config.formats)
    options, defaults = config.eks_options, EksOptions()
    given = [
        option_name(RunConfig, ("eks_options", name))
        for name in EksOptions.model_fields
        if getattr(options, name) != getattr(defaults, name)
    ]
    if given and not config.eks:
        raise UsageError(
            f"nothing is smoothed without --eks, and {', '.join(given)} "
            f"{'is' if len(given) == 1 else 'are'} given",
            hint="Add --eks, or leave out the options of smoothing.",
        )
    if not config.eks:
        return
    if len(config.models) < 2:
        raise UsageError("--eks smooths an ensemble: give two or more models with -m")
    if config.output_dir is None and config.eks_dir is None:
        raise UsageError(
            "--eks needs a place for its tables: give --eks-dir, or -o for all outputs"
        )
    if options.min_members is not None and options.min_members > len(config.models):
        raise UsageError(
            f"--min-members asks for {options.min_members} members, and there are "
            f"{len(config.models)} models"
        )


def check_models(models: Sequence[ModelSpec], config: RunConfig) -> None:
    """Raises ModelError where a model's config can't lead to labelled videos."""
    by_colormap = (config.label or config.worst) and config.colors == "colormap"
    for model in models if by_colormap else ():
        if model.colormap == "cool":  # without the time that matplotlib takes
            continue
        from matplotlib import colormaps

        if model.colormap not in colormaps:
            raise ModelError(
                f"eval.colormap is {model.colormap!r}, and matplotlib has no such colormap",
                path=model.config_path,
                hint="Choose another: --override +eval.colormap=cool.",
            )


def check_smoothing(ensemble: ModelSpec, config: RunConfig) -> None:
    """Raises UsageError where options of the smoother name keypoints that there are not."""
    options = config.eks_options
    try:
        check_names(options, options.keypoints or ensemble.keypoint_names)
    except SmoothingError as error:
        raise UsageError(error.message, hint=error.hint) from None


@dataclass(frozen=True, slots=True)
class Labels:
    """What the training labels of a model are good for.

    Attributes:
        digest: of what the PCA is fitted on; empty where they can't be used.
        metrics: names of the metrics that can be computed, none where none were asked for.
    """

    digest: str = ""
    metrics: tuple[str, ...] = ()


def read_labels(
    models: Sequence[ModelSpec], config: RunConfig
) -> tuple[dict[str, Labels], list[Problem]]:
    """The training labels of each model, by its name, and problems of these.

    PCA metrics that can't be fitted on them are left out.
    """
    found, problems = {}, []
    for model in models:
        metrics = (TEMPORAL_NORM,) if config.metrics else ()
        found[model.name] = Labels(metrics=metrics)
        try:
            if wanted_metrics(model) == (TEMPORAL_NORM,):
                found[model.name] = Labels("none needed", metrics)
            elif not config.metrics:
                path = labels_path(model, config.data_dir)
                found[model.name] = Labels(digests.digest_of_file(path))
            else:
                fit, digest = fit_and_digest(model, config.data_dir)
                found[model.name] = Labels(digest, fit.metrics)
                if out := fit.without_image:
                    problems.append(Problem(model.name, _without_images(out)))
                problems += [Problem(model.name, why, lasting=True) for why in fit.too_few]
        except LabelsError as error:
            if config.metrics:
                message = f"PCA metrics are left out: {error.message} ({error.path})"
                problems.append(Problem(model.name, message, error.hint, lasting=True))
    return found, problems


def _without_images(out: Sequence[str]) -> str:
    shown = f"{', '.join(out[:_MOST_NAMED])}{', …' if len(out) > _MOST_NAMED else ''}"
    count = "1 labelled image" if len(out) == 1 else f"{len(out)} labelled images"
    return f"PCA metrics are fitted without {count} that can't be read: {shown}"


def device_problems(plan: Plan, config: RunConfig) -> list[Problem]:
    """GPUs that are asked for and that this machine does not have.

    Only a cluster itself knows its GPUs.
    """
    on_a_cluster = config.address not in (None, "local") or (
        not config.inline and _has_joined_a_cluster()
    )
    if plan.done or on_a_cluster:
        return []
    predicts = plan.frames_to_predict > 0
    needs_encoder = config.gpu_encoder and plan.labeled_bytes > 0
    n_gpus = visible_gpus() if config.device != "cpu" else 0
    asked, problems = 0 if config.inline else config.gpus or 0, []
    if n_gpus == 0:
        where = "this machine has no GPU that NVIDIA's driver shows"
        if predicts and config.device == "cuda":
            hint = "Run on a machine with a GPU, or leave out --device."
            problems.append(Problem("--device cuda", where, hint, fatal=True))
        elif predicts and config.runtime == "tensorrt":
            hint = "Run on a machine with a GPU, or use --runtime onnx."
            problems.append(Problem("--runtime tensorrt", where, hint, fatal=True))
        elif predicts and asked and config.device == "auto":
            hint = f"{asked} workers compute on the CPU, which takes ten times as long and more."
            problems.append(Problem(f"--gpus {asked}", where, hint))
        if predicts and config.decoder == "nvdec" and config.device == "auto":
            problems.append(Problem("--decoder nvdec", where, "The CPU decodes."))
        if needs_encoder and config.device == "auto":
            hint = "Run on a machine with a GPU, or leave out --encoder."
            problems.append(Problem("--encoder nvenc", where, hint, fatal=True))
    elif predicts and asked > n_gpus:
        message = f"this machine shows {n_gpus} GPU{'s' if n_gpus > 1 else ''}"
        hint = "Ask for no more than that, or for none to use all there are."
        problems.append(Problem(f"--gpus {asked}", message, hint, fatal=True))
    return problems


def disk_problems(plan: Plan) -> list[Problem]:
    """A note where the videos to be drawn may not fit on the disk; their size is an estimate."""
    if not plan.labeled_bytes:
        return []
    folder = as_path(plan.pending[0].outputs[0].path).parent
    free = storage.store_of(folder).free_bytes(folder)  # None of an object store
    if free is None or plan.labeled_bytes <= free:
        return []
    message = (
        f"labelled videos and snippets may take about {data_size(plan.labeled_bytes)}, and "
        f"{data_size(free)} are free"
    )
    return [Problem(str(folder), message, "Free some space, or choose another -o.")]


def _has_joined_a_cluster() -> bool:
    """Whether this process, a notebook, is connected to a Ray cluster, where the run then goes.

    A Ray that the process has started is this machine alone, as in `execution.ray.connection`.
    """
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return False
    node = ray._private.worker._global_node  # None for a connection through Ray Client
    return node is None or not node.is_head()


def check_output_names(*steps: OutputStep) -> None:
    """Raises VideoError where the name of an output is longer than its place allows."""
    for step in steps:
        check_lengths(step.outputs.values())
        check_lengths(map(frames_beside_name, step.tables))


def check_lengths(outputs: Iterable[str]) -> None:
    """Raises VideoError where the name of an output is longer than its place allows.

    The longest names are those of records, which are an output's and a suffix.
    """
    for output in outputs:
        folder, _, name = output.rpartition("/")
        limits = _limits_below(f"{folder}/{HIDDEN}")
        if not limits.has_room:
            raise VideoError(
                "the path of its outputs would be too long for the file system",
                path=output,
                hint="Choose a place with a shorter path with -o.",
            )
        excess = len(os.fsencode(name)) + len(SUFFIX) - limits.name_bytes
        if excess > 0:
            raise VideoError(
                f"its name is too long by {excess} bytes for the outputs: {name} and its record",
                path=folder,
                hint="Rename the video.",
            )


class _Limits(NamedTuple):
    name_bytes: int
    has_room: bool


@cache  # every output of a large plan asks, and there are few folders
def _limits_below(folder: str) -> _Limits:
    path = as_path(folder)
    store = storage.store_of(path)
    return _Limits(store.longest_name(path), store.has_room_below(path / "ranges"))
