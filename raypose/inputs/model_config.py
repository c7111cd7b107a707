"""The config of a Lightning Pose model: read within bounds, checked once, never trusted.

All reading goes through `read_config`: YAML → overrides → references → schema. The schema names
every field that any module of raypose reads. A wrong type or a value out of range is refused here,
in one sentence: the field, its value and what is allowed. Other fields may hold anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from raypose.config.schemas import model_of, quoted
from raypose.config.yaml_files import load_yaml
from raypose.errors import ModelError, UsageError
from raypose.inputs.references import ReferenceBoundError, resolve
from raypose.storage import AnyPath

MODEL_TYPES = ("heatmap", "regression", "heatmap_mhcrnn", "heatmap_multiview_transformer")

_MAX_BYTES = 1 << 20
_MAX_NODES = 100_000
_MAX_SIDE = 4096


def _text(value: Any) -> str:
    """Text, or the digits of a number that was meant as text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    return value


def _word(value: Any) -> str:
    """Text that names something."""
    text = _text(value)
    if not text.strip() or not text.isprintable():
        raise ValueError
    return text


def _folder_name(value: Any) -> Any:
    if isinstance(value, str) and (value.startswith("/") or ".." in value.split("/")):
        raise ValueError
    return _word(value)


def _resolved_word(value: Any) -> Any:
    if isinstance(value, str) and "${" in value:
        raise ValueError
    return _word(value)


def _words(value: Any) -> Any:
    """A list of names, without empty ones (`losses_to_use: [""]`)."""
    if value == "":
        return None
    return [word for word in value if word not in ("", None)] if isinstance(value, list) else value


Word = Annotated[str, BeforeValidator(_word)]
Text = Annotated[str, BeforeValidator(_text)]
FolderName = Annotated[str, BeforeValidator(_folder_name)]
ResolvedWord = Annotated[str, BeforeValidator(_resolved_word)]
Side = Annotated[int, Field(gt=0, le=_MAX_SIDE)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Index = Annotated[int, Field(ge=0)]

_SECTION = "a section of its own"
_NAMES = "a list of names, each a word (write it in quotes)"


class _Section(BaseModel):
    """Strict: 5 is not text, "5" not a number, and yes neither."""

    model_config = ConfigDict(
        strict=True,
        extra="ignore",
        frozen=True,
        protected_namespaces=(),
        hide_input_in_errors=True,
    )


class ImageSize(_Section):
    """`data.image_resize_dims`."""

    height: Side = Field(description=f"a number of pixels up to {_MAX_SIDE}")
    width: Side = Field(description=f"a number of pixels up to {_MAX_SIDE}")


class Data(_Section):
    """`data`: what the network takes and gives, and where the labels are."""

    keypoint_names: list[ResolvedWord] | None = Field(default=None, description=_NAMES)
    keypoints: list[ResolvedWord] | None = Field(default=None, description=_NAMES)
    num_keypoints: int | None = Field(default=None, description="a number")
    view_names: list[ResolvedWord] | None = Field(default=None, description=_NAMES)
    image_resize_dims: ImageSize = Field(description="a section with height and width")
    downsample_factor: Annotated[int, Field(ge=1, le=3)] | None = Field(
        default=None, description="1, 2 or 3"
    )
    data_dir: Text | None = Field(default=None, description="a directory")
    csv_file: Text | list[Text] | None = Field(
        default=None, description="a file, or a list of files"
    )
    columns_for_singleview_pca: list[Index] | None = Field(
        default=None, description="a list of keypoints by their number, from 0"
    )
    mirrored_column_matches: list[list[Index]] | list[Index] | None = Field(
        default=None,
        description="a list of lists, for each view its keypoints by their number, from 0",
    )


class Network(_Section):
    """`model`: what the network is."""

    model_type: ResolvedWord = Field(description=f"one of {', '.join(MODEL_TYPES)}")
    backbone: ResolvedWord = Field(description="the name of a backbone")
    model_name: FolderName | None = Field(default=None, description="the name of a folder")
    losses_to_use: Annotated[list[Word] | None, BeforeValidator(_words)] = Field(
        default=None, description="a list of losses"
    )


class Evaluation(_Section):
    """`eval`: how predictions are drawn."""

    confidence_thresh_for_vid: Share | None = Field(
        default=None, description="a number from 0 to 1"
    )
    colormap: Word | None = Field(default=None, description="the name of a colormap of matplotlib")


class SingleviewPca(_Section):
    """`losses.pca_singleview`."""

    components_to_keep: (
        Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    ) | None = Field(default=0.99, description="a number of components, or a share from 0 to 1")
    centering_method: str | None = Field(
        default=None, description="mean or median", max_length=100
    )


class Losses(_Section):
    """`losses`: what the PCA errors take over from training."""

    pca_singleview: SingleviewPca | None = Field(default=None, description=_SECTION)


class Training(_Section):
    """`training`: which labels the model was trained on."""

    train_prob: Share = Field(default=0.8, description="a number from 0 to 1")
    val_prob: Share | None = Field(default=None, description="a number from 0 to 1")
    rng_seed_data_pt: Annotated[int, Field(ge=0, lt=1 << 32)] = Field(
        default=42, description="a whole number from 0 to 4294967295"
    )
    train_frames: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        default=None, description="a number of frames, or a share of them"
    )


class Config(_Section):
    """What raypose reads of `config.yaml`."""

    data: Data = Field(description=_SECTION)
    model: Network = Field(description=_SECTION)
    eval: Evaluation | None = Field(default=None, description=_SECTION)
    losses: Losses | None = Field(default=None, description=_SECTION)
    training: Training | None = Field(default=None, description=_SECTION)

    @property
    def keypoint_names(self) -> tuple[str, ...]:
        """The keypoints, by their newer or their older name in the config."""
        return tuple(self.data.keypoint_names or self.data.keypoints or ())

    @property
    def view_names(self) -> tuple[str, ...]:
        """Camera views; none where there is only one."""
        views = tuple(self.data.view_names or ())
        return views if len(views) > 1 else ()


def read_config(path: AnyPath, overrides: Sequence[str] = ()) -> tuple[Config, dict[str, Any]]:
    """The checked fields of a config, and all of it as plain values.

    Args:
        path: the config's path or URL.
        overrides: Hydra-style changes, `key=value`; `+key=value` adds a key.

    Raises:
        ModelError: the config can't be read, or a field has a value that is not allowed.
        StorageError: it can't be read from its store.
        UsageError: an override is malformed or names a key that the config lacks.
    """
    content = load_yaml(
        path, what="the config", error=ModelError, max_bytes=_MAX_BYTES, max_nodes=_MAX_NODES
    )
    if not isinstance(content, dict):
        raise ModelError(
            "the config is empty or no mapping",
            path=path,
            hint="Copy the file again from where the model was trained.",
        )
    values: dict[str, Any] = _with_text_keys(content)
    for override in overrides:
        _apply_override(values, override)
    try:
        values = resolve(values)
    except ReferenceBoundError as error:
        raise ModelError(
            f"the config has {error}", path=path, hint="Write their values in their place."
        ) from error
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise _refused(error, values, path, overrides) from None
    _check_keypoints(config, path, overrides)
    values["data"]["keypoint_names"] = list(config.keypoint_names)
    return config, values


def _with_text_keys(node: Any) -> Any:
    """The same with every key as text; nested no deeper than `load_yaml` allows."""
    if isinstance(node, dict):
        return {str(key): _with_text_keys(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_with_text_keys(value) for value in node]
    return node


def _apply_override(config: dict[str, Any], override: str) -> None:
    key, equals, value_text = override.partition("=")
    adds = key.startswith("+")
    names = key.lstrip("+").split(".")
    if not equals or not all(names):
        raise UsageError(
            f"the override {override!r} is not of the form key=value",
            hint="Write it like model.backbone=resnet50.",
        )
    value = load_yaml(
        value_text, what=f"the value of the override {override[:100]!r}", max_nodes=_MAX_NODES
    )
    section: Any = config
    for name in names[:-1]:
        if adds and isinstance(section, dict):
            section.setdefault(name, {})
        section = section.get(name) if isinstance(section, dict) else None
    if not isinstance(section, dict) or (names[-1] not in section and not adds):
        raise UsageError(
            f"the override {override!r} names a key that the model's config does not have",
            hint=f"Check its spelling, or write +{override} to add it.",
        )
    section[names[-1]] = _with_text_keys(value)


def _check_keypoints(config: Config, path: AnyPath, overrides: Sequence[str]) -> None:
    """The rules that involve several fields."""
    names, data = config.keypoint_names, config.data
    if not names:
        raise _missing("data.keypoint_names", path)
    for option, given in (("keypoint_names", names), ("view_names", config.view_names)):
        twice = next((name for name, n in Counter(given).items() if n > 1), None)
        if twice is not None:
            raise ModelError(
                f"data.{option} names {twice!r} more than once",
                path=path,
                hint="Give each a name of its own.",
            )
    if config.view_names:
        return  # nothing reads the columns then
    matches = data.mirrored_column_matches or []
    columns = [("data.columns_for_singleview_pca", data.columns_for_singleview_pca or [])]
    for v, view in enumerate(matches):
        if not isinstance(view, list):
            allowed = str(Data.model_fields["mirrored_column_matches"].description)
            raise _not_allowed("data.mirrored_column_matches", matches, allowed, path, overrides)
        columns.append((f"data.mirrored_column_matches[{v}]", view))
    for option, numbers in columns:
        if any(number >= len(names) for number in numbers):
            allowed = f"numbers of keypoints from 0 to {len(names) - 1}"
            raise _not_allowed(option, numbers, allowed, path, overrides)
    if len({len(view) for _, view in columns[1:]}) > 1:
        allowed = "lists of equally many keypoints"
        raise _not_allowed("data.mirrored_column_matches", matches, allowed, path, overrides)


def _refused(
    error: ValidationError, values: Mapping[str, Any], path: AnyPath, overrides: Sequence[str]
) -> ModelError:
    """The schema's first finding in raypose's words."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    option, allowed, required = "", _SECTION, False
    model: Any = Config
    node: Any = values
    for part in first["loc"]:
        # Pydantic adds the branches of unions, which are no fields.
        if isinstance(part, int) and isinstance(node, list) and part < len(node):
            option, node = f"{option}[{part}]", node[part]
        elif isinstance(part, str) and model is not None and part in model.model_fields:
            field = model.model_fields[part]
            option = f"{option}.{part}" if option else part
            node = node.get(part) if isinstance(node, Mapping) else None
            allowed, required = str(field.description), field.is_required()
            model = model_of(field.annotation)
    if node is None and required:
        return _missing(option, path)
    return _not_allowed(option, node, allowed, path, overrides)


def _missing(option: str, path: AnyPath) -> ModelError:
    return ModelError(
        f"the config has no {option}, which inference needs",
        path=path,
        hint="Check that this is the config of a trained Lightning Pose model.",
    )


def _not_allowed(
    option: str, value: Any, allowed: str, path: AnyPath, overrides: Sequence[str]
) -> ModelError:
    field = option.partition("[")[0]
    keys = [override.partition("=")[0].lstrip("+") for override in overrides]
    overridden = any(f"{field}.".startswith(f"{key}.") for key in keys)
    return ModelError(
        f"{option} is {quoted(value)}, and must be {allowed}",
        path=path,
        hint=f"Correct the --override of {field}."
        if overridden
        else f"Correct it there, or give --override {field}=….",
    )
