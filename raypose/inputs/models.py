"""Trained models: from a model directory of Lightning Pose to a `ModelSpec`.

Of the checkpoint only the bytes are read, for their digest: torch is not needed here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from typing import Any

from raypose import storage
from raypose.errors import ModelError, UsageError
from raypose.inference.exports import find_export
from raypose.inputs.model_config import MODEL_TYPES, Evaluation, read_config
from raypose.inputs.skeleton import as_skeleton
from raypose.specs import ExportedModel, ModelSpec
from raypose.storage import AnyPath, as_path
from raypose.storage.digests import digest_of_bytes, remembered_digest

_CONFIGS = ("config.yaml", os.path.join(".hydra", "config.yaml"))
# The config entries that decide about predictions; all others (training, losses, callbacks) may
# change without making predictions stale.
_DATA = "image_resize_dims keypoint_names num_keypoints view_names downsample_factor"
_INFERENCE_KEYS = {"data": _DATA.split(), "model": ["model_type", "backbone", "head"]}
_DATED = re.compile(r"\d{4}-\d{2}-\d{2}/\d{2}[-:]\d{2}[-:]\d{2}")


def open_model(
    directory: str | os.PathLike[str] | AnyPath,
    *,
    name: str = "",
    overrides: Sequence[str] = (),
    runtime: str = "torch",
    precision: str = "auto",
) -> ModelSpec:
    """Read a model directory of Lightning Pose.

    Args:
        directory: path or URL; it has `config.yaml` (or `.hydra/config.yaml`) and
            `tb_logs/<model_name>/version_*/checkpoints/*.ckpt`.
        name: the model's name in the run; by default what `shortest_names` makes of the directory.
        overrides: of the config, as in `read_config`.
        runtime: `torch`, or `onnx` or `tensorrt` for a model that Lightning Pose has exported.
        precision: which export; see `exports.find_export`.

    Raises:
        ModelError: its config is damaged, or its checkpoint or the export is missing, damaged or
            ambiguous.
        StorageError: the store refuses to answer.
        UsageError: it is no model directory, or an override is malformed or names a key that the
            config lacks.
    """
    path = as_path(directory)
    with storage.map_store_errors(path):
        return _open(path, name, overrides, runtime, precision)


def _open(
    path: AnyPath, name: str, overrides: Sequence[str], runtime: str, precision: str
) -> ModelSpec:
    config_path = find_config(path)
    config, values = read_config(config_path, overrides)
    model_type = config.model.model_type
    if model_type not in MODEL_TYPES:
        message = f"model.model_type is {model_type!r}, which raypose does not know"
        raise ModelError(message, path=config_path, hint=f"It knows {', '.join(MODEL_TYPES)}.")
    evaluation = config.eval or Evaluation()
    threshold = evaluation.confidence_thresh_for_vid
    size = config.data.image_resize_dims
    checkpoint = find_checkpoint(path, config.model.model_name)
    try:
        checkpoint_digest = remembered_digest(checkpoint)
    except OSError as error:
        message = f"the checkpoint can't be read ({error.strerror})"
        hint = "Check that the file is there and who may read it."
        raise ModelError(message, path=checkpoint, hint=hint) from error
    exported = None
    if runtime != "torch":
        exported = find_export(path, checkpoint, model_type, runtime, precision)
    return ModelSpec(
        name=name or shortest_names([path])[0],
        directory=str(path),
        config_path=str(config_path),
        checkpoint=str(checkpoint),
        fingerprint=_fingerprint(checkpoint_digest, values, exported),
        model_type=model_type,
        backbone=config.model.backbone,
        keypoint_names=config.keypoint_names,
        image_height=size.height,
        image_width=size.width,
        view_names=config.view_names,
        confidence_threshold=0.9 if threshold is None else threshold,
        colormap=evaluation.colormap or "cool",
        skeleton=as_skeleton(config.data.skeleton),
        losses=tuple(config.model.losses_to_use or ()),
        config=values,
        overrides=tuple(overrides),
        exported=exported,
        checkpoint_digest=checkpoint_digest,
    )


def find_checkpoint(directory: AnyPath, model_name: object = None) -> AnyPath:
    """The checkpoint that Lightning Pose itself would load from a model directory.

    In the highest `version_*` that holds any, files marked `-best` come before others, then the
    highest `step=` in the name decides.

    Raises:
        ModelError: there is none, or several qualify.
    """
    logs = directory / "tb_logs"
    folders = [logs / str(model_name)] if model_name else []
    if not any(map(_checkpoints, folders)):
        # The model was renamed in its config: take the only folder there is.
        try:
            folders = sorted(f for f in logs.iterdir() if f.is_dir() and _checkpoints(f))
        except OSError:
            folders = []
    if not folders:
        message = "this model directory has no checkpoint (tb_logs/*/version_*/checkpoints/*.ckpt)"
        hint = "Copy the whole directory from where the model was trained."
        raise ModelError(message, path=directory, hint=hint)
    if len(folders) > 1:
        raise _several("checkpoints of several models", folders, directory)
    _, newest = max(_checkpoints(folders[0]).items())
    candidates = [file for file in newest if "-best.ckpt" in file.name] or newest
    candidates = [file for file in candidates if _step(file) == max(map(_step, candidates))]
    if len(candidates) > 1:
        raise _several("several checkpoints, none of them marked -best", candidates, directory)
    return candidates[0]


def shortest_names(directories: Sequence[str | os.PathLike[str] | AnyPath]) -> list[str]:
    """Names for models: the shortest ends of their paths that tell them apart, joined by `_`.

    A date and the time below it, as Hydra names directories, stay together:
    `outputs/2026-11-01/10-00-00` becomes `2026-11-01_10-00-00`.
    """
    parts = [storage.parts(as_path(directory)) or ("model",) for directory in directories]
    lengths = [2 if _DATED.match("/".join(names[-2:])) else 1 for names in parts]
    for extra in range(max(len(names) for names in parts) + 1 if parts else 0):
        tails = [
            "_".join(names[-min(len(names), length + extra) :])
            for names, length in zip(parts, lengths, strict=True)
        ]
        # Colons (in old time stamps) and white space are awkward in file names.
        names = [re.sub(r"[:\s\\/]+", "-", tail).strip(".") or "model" for tail in tails]
        if len({name.casefold() for name in names}) == len(names):
            return names
    # The same directory twice, or paths that become equal when joined.
    return [f"{name}_{index}" for index, name in enumerate(names)] if parts else []


def find_config(directory: AnyPath) -> AnyPath:
    """The config of a model directory; raises ModelError where there is none."""
    for relative in _CONFIGS:
        if (directory / relative).is_file():
            return directory / relative
    if not directory.exists():
        message, hint = "there is no such model directory", "Check the path after -m."
    elif not directory.is_dir():
        message = "this is a file, not a model directory"
        hint = "Give the directory that holds config.yaml and tb_logs."
    else:
        message = "there is no config.yaml in this model directory"
        hint = "Give the directory that Lightning Pose made when it trained the model."
    raise UsageError(message, path=directory, hint=hint)


def _checkpoints(folder: AnyPath) -> dict[int, list[AnyPath]]:
    """The checkpoints in a model's log folder, by version."""
    found: dict[int, list[AnyPath]] = {}
    files: list[AnyPath] = [*folder.glob("version_*/checkpoints/*.ckpt")]
    for file in sorted(files, key=str):
        version = re.fullmatch(r"version_(\d+)", file.parents[1].name)
        if version and not file.name.startswith("."):
            found.setdefault(int(version[1]), []).append(file)
    return found


def _step(file: AnyPath) -> int:
    step = re.search(r"step=(\d+)", file.name)
    return int(step[1]) if step else -1


def _several(what: str, paths: Sequence[AnyPath], directory: AnyPath) -> ModelError:
    names = (str(path).removeprefix(f"{directory}/") for path in paths)
    hint = "Move all but the one to use elsewhere."
    return ModelError(f"there are {what}: {', '.join(names)}", path=directory, hint=hint)


def _fingerprint(checkpoint: str, config: dict[str, Any], exported: ExportedModel | None) -> str:
    """Digest of a checkpoint's digest, and of what else decides about predictions."""
    told = {}
    for section, keys in _INFERENCE_KEYS.items():
        told[section] = {key: (config.get(section) or {}).get(key) for key in keys}
    export = "" if exported is None else f"{exported.runtime} {exported.digest}"
    text = checkpoint + json.dumps(told, sort_keys=True, default=str) + export
    return digest_of_bytes(text.encode())
