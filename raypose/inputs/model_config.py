"""The config of a Lightning Pose model: read within bounds, checked once, never trusted.

All reading goes through `read_config`: YAML → overrides → references → schema. The schema names
every field that any module of raypose reads, and what is allowed; others may hold anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from raypose.config.schemas import did_you_mean, field_at, only, quoted
from raypose.config.yaml_files import load_yaml
from raypose.errors import ModelError, UsageError
from raypose.inputs.references import ReferenceBoundError, resolve
from raypose.limits import MAX_CONFIG_BYTES, MAX_CONFIG_VALUES, MAX_NETWORK_SIDE
from raypose.storage import AnyPath

MODEL_TYPES = ("heatmap", "regression", "heatmap_mhcrnn", "heatmap_multiview_transformer")


def _text(value: Any) -> str:
    """Text, or the digits of a number that was meant as text."""
    if type(value) in (int, float):
        value = str(value)
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    return value


def _words(value: Any) -> Any:
    """A list of names, without empty ones (`losses_to_use: [""]`)."""
    if value == "":
        return None
    return [word for word in value if word not in ("", None)] if isinstance(value, list) else value


Text = Annotated[str, BeforeValidator(_text)]
Word = Annotated[Text, only(str.isprintable), only(str.strip)]
FolderName = Annotated[Word, only(lambda name: name[0] != "/" and ".." not in name.split("/"))]
ResolvedWord = Annotated[Word, only(lambda word: "${" not in word)]
Side = Annotated[int, Field(gt=0, le=MAX_NETWORK_SIDE)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Index = Annotated[int, Field(ge=0)]
Bone = Annotated[list[ResolvedWord], Field(min_length=2, max_length=2)]

_SIDE = f"a number of pixels up to {MAX_NETWORK_SIDE}"
_SECTION = "a section of its own"
_NAMES = "a list of names, each a word (write it in quotes)"
_MIRRORED = "a list of lists, for each view its keypoints by their number, from 0"


def _optional(allowed: str, default: Any = None) -> Any:
    """A field that a config may lack."""
    return Field(default=default, description=allowed)


class _Section(BaseModel):
    """Strict: 5 is not text, "5" not a number, and yes neither."""

    model_config = ConfigDict(
        strict=True, frozen=True, protected_namespaces=(), hide_input_in_errors=True
    )


class ImageSize(_Section):
    height: Side = Field(description=_SIDE)
    width: Side = Field(description=_SIDE)


class Data(_Section):
    """`data`: what the network takes and gives, and where the labels are."""

    keypoint_names: list[ResolvedWord] | None = _optional(_NAMES)
    keypoints: list[ResolvedWord] | None = _optional(_NAMES)
    num_keypoints: int | None = _optional("a number")
    view_names: list[ResolvedWord] | None = _optional(_NAMES)
    image_resize_dims: ImageSize = Field(description="a section with height and width")
    downsample_factor: Annotated[int, Field(ge=1, le=3)] | None = _optional("1, 2 or 3")
    data_dir: Text | None = _optional("a directory")
    csv_file: Text | list[Text] | None = _optional("a file, or a list of files")
    columns_for_singleview_pca: list[Index] | None = _optional(
        "a list of keypoints by their number, from 0"
    )
    mirrored_column_matches: list[list[Index]] | list[Index] | None = _optional(_MIRRORED)
    skeleton: list[Bone] | None = _optional("a list of pairs of keypoints, by name")


class Network(_Section):
    model_type: ResolvedWord = Field(description=f"one of {', '.join(MODEL_TYPES)}")
    backbone: ResolvedWord = Field(description="the name of a backbone")
    model_name: FolderName | None = _optional("the name of a folder")
    losses_to_use: Annotated[list[Word] | None, BeforeValidator(_words)] = _optional(
        "a list of losses"
    )


class Evaluation(_Section):
    confidence_thresh_for_vid: Share | None = _optional("a number from 0 to 1")
    colormap: Word | None = _optional("the name of a colormap of matplotlib")


class SingleviewPca(_Section):
    components_to_keep: (
        Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    ) | None = _optional("a number of components, or a share from 0 to 1", 0.99)
    centering_method: Annotated[str, Field(max_length=100)] | None = _optional("mean or median")


class Losses(_Section):
    """`losses`: what the PCA errors take over from training."""

    pca_singleview: SingleviewPca | None = _optional(_SECTION)


class Training(_Section):
    """`training`: which labels the model was trained on."""

    train_prob: Share = _optional("a number from 0 to 1", 0.8)
    val_prob: Share | None = _optional("a number from 0 to 1")
    rng_seed_data_pt: Annotated[int, Field(ge=0, lt=1 << 32)] = _optional(
        "a whole number from 0 to 4294967295", 42
    )
    train_frames: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = _optional(
        "a number of frames, or a share of them"
    )


class Config(_Section):
    """What raypose reads of `config.yaml`."""

    data: Data = Field(description=_SECTION)
    model: Network = Field(description=_SECTION)
    eval: Evaluation | None = _optional(_SECTION)
    losses: Losses | None = _optional(_SECTION)
    training: Training | None = _optional(_SECTION)

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

    `overrides` are changes in the style of Hydra: `key=value`, and `+key=value` to add a key.

    Raises:
        ModelError: the config can't be read, or a field has a value that is not allowed.
        StorageError: it can't be read from its store.
        UsageError: an override is malformed or names a key that the config lacks.
    """
    content = load_yaml(
        path,
        what="the config",
        error=ModelError,
        max_bytes=MAX_CONFIG_BYTES,
        max_nodes=MAX_CONFIG_VALUES,
    )
    if not isinstance(content, dict):
        hint = "Copy the file again from where the model was trained."
        raise ModelError("the config is empty or no mapping", path=path, hint=hint)
    values: dict[str, Any] = _with_text_keys(content)
    for override in overrides:
        _apply_override(values, override)
    try:
        values = resolve(values)
        config = Config.model_validate(values)
    except ReferenceBoundError as error:
        hint = "Write their values in their place."
        raise ModelError(f"the config has {error}", path=path, hint=hint) from error
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
        hint = "Write it like model.backbone=resnet50."
        raise UsageError(f"the override {override!r} is not of the form key=value", hint=hint)
    what = f"the value of the override {override[:100]!r}"
    value = load_yaml(value_text, what=what, max_nodes=MAX_CONFIG_VALUES)
    section: Any = config
    for name in names[:-1]:
        if adds and isinstance(section, dict):
            section.setdefault(name, {})
        section = section.get(name) if isinstance(section, dict) else None
    if not isinstance(section, dict) or (names[-1] not in section and not adds):
        message = f"the override {override!r} names a key that the model's config does not have"
        guess = did_you_mean(key, _keys_of(config)) or "Check its spelling."
        raise UsageError(message, hint=guess if adds else f"{guess} Write +{override} to add it.")
    section[names[-1]] = _with_text_keys(value)


def _keys_of(section: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """All keys as an override names them: `model.backbone`."""
    for name, value in section.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _keys_of(value, f"{prefix}{name}.")


def _check_keypoints(config: Config, path: AnyPath, overrides: Sequence[str]) -> None:
    """The rules that involve several fields."""
    names, data = config.keypoint_names, config.data
    if not names:
        raise _missing("data.keypoint_names", path)
    for option, given in (("keypoint_names", names), ("view_names", config.view_names)):
        twice = next((name for name, n in Counter(given).items() if n > 1), None)
        if twice is not None:
            message = f"data.{option} names {twice!r} more than once"
            raise ModelError(message, path=path, hint="Give each a name of its own.")
    if config.view_names:
        return  # nothing reads the columns then
    matches = data.mirrored_column_matches or []
    columns = [("data.columns_for_singleview_pca", data.columns_for_singleview_pca or [])]
    mirrored = "data.mirrored_column_matches"
    for v, view in enumerate(matches):
        if not isinstance(view, list):
            raise _not_allowed(mirrored, matches, _MIRRORED, path, overrides)
        columns.append((f"{mirrored}[{v}]", view))
    for option, numbers in columns:
        if any(number >= len(names) for number in numbers):
            allowed = f"numbers of keypoints from 0 to {len(names) - 1}"
            raise _not_allowed(option, numbers, allowed, path, overrides)
    if len({len(view) for _, view in columns[1:]}) > 1:
        raise _not_allowed(mirrored, matches, "lists of equally many keypoints", path, overrides)


def _refused(
    error: ValidationError, values: Any, path: AnyPath, overrides: Sequence[str]
) -> ModelError:
    """The schema's first finding in raypose's words."""
    loc = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
    names, field = field_at(Config, loc)
    assert field is not None, "the schema ignores what it does not know"
    option, node = ".".join(names), values
    for name in names:
        node = node.get(name) if isinstance(node, Mapping) else None
    if node is None and field.is_required():
        return _missing(option, path)
    for part in loc[len(names) :]:
        # Pydantic adds the branches of unions, which are no items.
        if isinstance(part, int) and isinstance(node, list) and part < len(node):
            option, node = f"{option}[{part}]", node[part]
    return _not_allowed(option, node, str(field.description), path, overrides)


def _missing(option: str, path: AnyPath) -> ModelError:
    hint = "Check that this is the config of a trained Lightning Pose model."
    return ModelError(f"the config has no {option}, which inference needs", path=path, hint=hint)


def _not_allowed(
    option: str, value: Any, allowed: str, path: AnyPath, overrides: Sequence[str]
) -> ModelError:
    field = option.partition("[")[0]
    keys = [override.partition("=")[0].lstrip("+") for override in overrides]
    overridden = any(f"{field}.".startswith(f"{key}.") for key in keys)
    there = f"Correct it there, or give --override {field}=…."
    hint = f"Correct the --override of {field}." if overridden else there
    return ModelError(f"{option} is {quoted(value)}, and must be {allowed}", path=path, hint=hint)
