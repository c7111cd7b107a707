"""The names of settings: the fields of `RunConfig`, the command line's options, a file's keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raypose.errors import UsageError

FieldPath = tuple[str, ...]

_OPTIONS: Mapping[FieldPath, str] = {
    ("models",): "--model",
    ("overrides",): "--override",
    ("videos",): "videos",
    ("tables",): "tables",
    ("stall_timeout_s",): "--stall-timeout",
    ("eks_options",): "eks_options",
    ("eks_options", "mode"): "--eks-mode",
    ("eks_options", "keypoints"): "--eks-keypoints",
    ("eks_options", "blocks"): "--block",
}
"""Fields that the command line calls by another name; the videos have none."""

_IN_FILES_ALONE = {"snippet_s", "n_latent"}

_EKS_OPTIONS = (
    *("mode", "smooth_param", "s_frames", "blocks", "keypoints", "mirrored", "avg_mode"),
    *("var_mode", "inflate_vars", "quantile_keep_pca", "min_members"),
)


def option_name(field: FieldPath) -> str:
    """What the command line calls a field: `("eks_options", "mode")` is `--eks-mode`."""
    if not field or field[-1] in _IN_FILES_ALONE:
        return ".".join(field)
    return _OPTIONS.get(field, f"--{field[-1].replace('_', '-')}")


def _keys() -> dict[str, FieldPath]:
    """What a file may call a field beside its own name: what the command line calls it."""
    fields = [*_OPTIONS, *(("eks_options", name) for name in _EKS_OPTIONS)]
    fields.remove(("eks_options",))
    return {option_name(field).lstrip("-").replace("-", "_"): field for field in fields}


_KEYS = _keys()


def fields_of(content: Mapping[Any, Any], path: object) -> dict[str, Any]:
    """The settings in a file by the names of `RunConfig`, those of EKS in their own mapping.

    Raises:
        UsageError: a setting comes twice, under two names.
    """
    values: dict[str, Any] = {}
    smoothing: dict[str, Any] = {}

    def put(place: dict[str, Any], name: str, value: Any) -> None:
        if name in place:
            raise UsageError(
                f"{name} is set twice, under two names", path=path, hint="Set it once."
            )
        place[name] = value

    for key, value in content.items():
        if _plain(key) == "eks_options" and isinstance(value, Mapping):
            for inner, option in value.items():
                put(smoothing, _KEYS.get(_plain(inner), (_plain(inner),))[-1], option)
            continue
        *section, name = _KEYS.get(_plain(key), (_plain(key),))
        put(smoothing if section else values, name, value)
    if smoothing:
        put(values, "eks_options", smoothing)
    return values


def _plain(key: object) -> str:
    return str(key).replace("-", "_")
