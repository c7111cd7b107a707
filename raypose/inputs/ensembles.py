"""Ensembles on disk, as the Lightning Pose app writes them: one argument for several models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from raypose import storage
from raypose.config import EksOptions, RunConfig
from raypose.config.schemas import Allowed, finding, quoted
from raypose.config.types import Names, Percentage
from raypose.config.yaml_files import load_yaml
from raypose.errors import ModelError
from raypose.storage import AnyPath, as_path, local_path, write_text

NAME = "ensemble.yaml"
_OURS = "# Written by raypose"


def with_members(config: RunConfig) -> RunConfig:
    """The configuration with the members of an ensemble in its place.

    A model argument that is a directory with `ensemble.yaml` stands for the models that this
    names; the smoothed tables then belong into that directory, and views and options of the
    smoother that were not given come from the file.

    Raises:
        ModelError: the file can't be read, or a member is not there.
        UsageError: what it says does not fit the other arguments.
    """
    folders = filter(None, map(local_path, config.models))
    ensembles = [folder for folder in folders if (folder / NAME).is_file()]
    if not ensembles:
        return config
    if len(config.models) > 1:
        raise ModelError(
            "an ensemble can't be given together with other models",
            path=ensembles[0],
            hint="Give the ensemble alone, or its members one by one.",
        )
    (folder,) = ensembles
    content = _read(folder / NAME)
    members = [str(_member(folder, name)) for name in content.members]
    values = config.model_dump()
    options = values["eks_options"]
    if options["smooth_param"] is None:
        options["smooth_param"] = _smooth_param(content, folder / NAME)
    chosen = config.eks_options.model_fields_set
    if content.quantile_keep_pca is not None and "quantile_keep_pca" not in chosen:
        options["quantile_keep_pca"] = content.quantile_keep_pca
    views = content.view_names or ()
    if not config.views and config.sessions is None and len(views) > 1:
        values["views"] = views
    values.update(models=members, eks=True)
    if config.output_dir is None and config.eks_dir is None:
        values["eks_dir"] = folder
    return RunConfig(**values)


def describe_ensemble(
    folder: AnyPath, members: Sequence[str], views: Sequence[str], options: EksOptions
) -> None:
    """Leave `ensemble.yaml` beside smoothed tables, by which the Lightning Pose app knows them.

    A file that somebody else wrote is left alone.

    Args:
        folder: the ensemble's directory or URL.
        members: directories of the models.
        views: camera views of the recordings; none for single videos.
        options: of the smoother.
    """
    path = folder / NAME
    try:
        written = storage.read_bytes(path) if storage.exists(path) else None
    except OSError:
        return  # what can't be read may be anyone's
    if written is not None and not written.startswith(_OURS.encode()):
        return
    content = {
        "members": [_as_yaml(member) for member in members],
        "view_names": list(views),
        "smooth_param": options.smooth_param,
        "quantile_keep_pca": options.quantile_keep_pca,
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_text(path, f"{_OURS}\n{text}")


def _as_yaml(directory: str) -> str:
    """A directory as YAML can hold it: one whose name is not UTF-8 becomes a `file://` URL."""
    try:
        directory.encode()
    except UnicodeEncodeError:
        return Path(directory).as_uri()
    return directory


class _Content(BaseModel):
    """What raypose reads of the file; the app may write more."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    members: Annotated[
        tuple[str, ...],
        Field(min_length=1),
        Allowed("a list of model directories, in quotes where they are numbers"),
    ]
    view_names: Names | None = None
    smooth_param: Any = None
    quantile_keep_pca: Percentage | None = None


def _read(path: Path) -> _Content:
    content = load_yaml(path, what="the ensemble", error=ModelError)
    if not isinstance(content, dict):
        content = {}
    try:
        return _Content(**{str(key): value for key, value in content.items()})
    except ValidationError as error:
        message, _ = finding(error, _Content, given=content)
        hint = "List its models under `members:`." if not content.get("members") else ""
        raise ModelError(message, path=path, hint=hint) from None


def _smooth_param(content: _Content, path: Path) -> float | dict[str, float] | None:
    """The file's parameter, or one per keypoint; null and words mean that it is chosen.

    Raises:
        ModelError: it is something else, which another choice would silently replace.
    """
    value = content.smooth_param
    if value is None or (isinstance(value, str) and _number(value) is None):
        return None
    if isinstance(value, dict) and value:
        numbers = {str(keypoint): _number(v) for keypoint, v in value.items()}
        each = {keypoint: n for keypoint, n in numbers.items() if n is not None and n > 0}
        if len(each) == len(value):
            return each
    number = _number(value)
    if number is not None and number > 0:
        return number
    raise ModelError(
        f"smooth_param is {quoted(value)}",
        path=path,
        hint="Give a number above 0, or one for each keypoint by name; or null to choose it.",
    )


def _number(value: object) -> float | None:
    """A finite number, also one that YAML takes for a word (`1e-3`)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _member(folder: Path, name: str) -> Path:
    """A member's directory: an absolute path, or one below the ensemble's own or a parent of it,
    or below the `models` of such a parent."""
    if name.startswith("file://"):
        name = str(as_path(name))
    places = [folder, *folder.resolve().parents]
    candidates = [place / part / name for place in places for part in ("", "models")]
    for candidate in candidates:
        with suppress(OSError):  # a name too long is that of no directory
            if candidate.is_dir():
                return candidate
    raise ModelError(
        f"the ensemble's member {name} is not there",
        path=folder / NAME,
        hint="Give the members one by one with -m.",
    )
