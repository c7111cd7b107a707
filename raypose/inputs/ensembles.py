"""Ensembles on disk (`ensemble.yaml`), as the Lightning Pose app writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from raypose import storage
from raypose.config import EksOptions, RunConfig
from raypose.config.schemas import Allowed, finding, quoted
from raypose.config.types import EMPTY, Names, Percentage
from raypose.config.yaml_files import load_yaml
from raypose.errors import ModelError
from raypose.storage import AnyPath, as_path, local_path, write_text

NAME = "ensemble.yaml"
_OURS = "# Written by raypose"


def with_members(config: RunConfig) -> RunConfig:
    """The configuration with an ensemble, a directory with `ensemble.yaml`, replaced by its
    members. The smoothed tables then go into that directory; the views and options of the
    smoother come from the file unless they were given.

    Raises:
        ModelError: the file can't be read, or a member does not exist.
        UsageError: the file does not fit the other arguments.
    """
    folders = filter(None, map(local_path, config.models))
    ensembles = [folder for folder in folders if (folder / NAME).is_file()]
    if not ensembles:
        return config
    if len(config.models) > 1:
        message = "an ensemble can't be given together with other models"
        hint = "Give the ensemble alone, or its members one by one."
        raise ModelError(message, path=ensembles[0], hint=hint)
    (folder,) = ensembles
    content = _read(folder / NAME)
    given = config.eks_options
    options: dict[str, Any] = {}
    if given.smooth_param is None:
        options["smooth_param"] = _smooth_param(content, folder / NAME)
    if content.quantile_keep_pca is not None and "quantile_keep_pca" not in given.model_fields_set:
        options["quantile_keep_pca"] = content.quantile_keep_pca
    changes: dict[str, Any] = {
        "models": [_member(folder, name) for name in content.members],
        "eks": True,
        "eks_options": given.model_copy(update=options),
    }
    if not config.views and config.sessions is None and len(content.view_names) > 1:
        changes["views"] = content.view_names
    if config.output_dir is None and config.eks_dir is None:
        changes["eks_dir"] = folder
    return config.model_copy(update=changes)


def describe_ensemble(
    folder: AnyPath, members: Sequence[str], views: Sequence[str], options: EksOptions
) -> None:
    """Write `ensemble.yaml` beside smoothed tables, by which the Lightning Pose app finds them.

    `members` are directories of models; single videos have no `views`. A file that raypose did not
    write is left alone.
    """
    path = folder / NAME
    try:
        before = storage.read_bytes(path) if storage.exists(path) else None
    except OSError:
        return  # what can't be read may be anyone's
    if before is not None and not before.startswith(_OURS.encode()):
        return
    content = {
        "members": [_as_yaml(member) for member in members],
        "view_names": list(views),
        "smooth_param": options.smooth_param,
        "quantile_keep_pca": options.quantile_keep_pca,
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    text = f"{_OURS}\n{text}"
    if before != text.encode():
        write_text(path, text)


def _as_yaml(directory: str) -> str:
    """A directory as YAML can hold it: one whose name is not UTF-8 becomes a `file://` URL."""
    is_text = directory == directory.encode(errors="ignore").decode()
    return directory if is_text else Path(directory).as_uri()


_MEMBERS = Allowed("a list of model directories, in quotes where they are numbers")


class _Content(BaseModel):
    """What raypose reads of the file; the app may write more."""

    model_config = ConfigDict(frozen=True)

    members: Annotated[tuple[str, ...], Field(min_length=1), _MEMBERS]
    view_names: Annotated[Names, BeforeValidator(lambda value: value or ())] = EMPTY
    smooth_param: Any = None
    quantile_keep_pca: Percentage | None = None


def _read(path: Path) -> _Content:
    content = load_yaml(path, what="the ensemble", error=ModelError)
    content = content if isinstance(content, dict) else {}
    try:
        return _Content(**{str(key): value for key, value in content.items()})
    except ValidationError as error:
        message, _ = finding(error, _Content, given=content)
        hint = "" if content.get("members") else "List its models under `members:`."
        raise ModelError(message, path=path, hint=hint) from None


def _smooth_param(content: _Content, path: Path) -> float | dict[str, float] | None:
    """The file's parameter, or one per keypoint; None for null and words, which leave it open."""
    value = content.smooth_param
    if value is None or (isinstance(value, str) and math.isnan(_number(value))):
        return None
    if isinstance(value, dict) and value:
        each = {str(keypoint): _number(number) for keypoint, number in value.items()}
        if all(number > 0 for number in each.values()):
            return each
    if _number(value) > 0:
        return _number(value)
    hint = "Give a number above 0, or one for each keypoint by name; or null to choose it."
    raise ModelError(f"smooth_param is {quoted(value)}", path=path, hint=hint)


def _number(value: object) -> float:
    """A finite number, even if YAML reads it as text (`"1e-3"`); NaN for anything else."""
    with suppress(ValueError, OverflowError):
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return float(value) if math.isfinite(float(value)) else math.nan
    return math.nan


def _member(folder: Path, name: str) -> Path:
    """A member's directory: an absolute path, or one relative to the ensemble's directory, to a
    parent of it, or to `models` in one of these."""
    if name.startswith("file://"):
        name = str(as_path(name))
    places = [folder, *folder.resolve().parents]
    for candidate in [place / part / name for place in places for part in ("", "models")]:
        with suppress(OSError):  # a name that is too long
            if candidate.is_dir():
                return candidate
    hint = "Give the members one by one with -m."
    raise ModelError(f"the ensemble's member {name} does not exist", path=folder / NAME, hint=hint)
