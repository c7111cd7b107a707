"""The skeleton of a project: which keypoints a line joins in labelled videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raypose.config.yaml_files import load_yaml
from raypose.errors import UsageError
from raypose.specs import Skeleton

_FORM = "Write it as in DeepLabCut's config.yaml: skeleton: [[nose, neck], [neck, tail]]"


def read_skeleton(path: Path) -> Skeleton:
    """The pairs of keypoints in a YAML file: a list, alone or named `skeleton`.

    Raises:
        UsageError: the file can't be read, or holds no such list.
    """
    content = load_yaml(path, what="the skeleton")
    if isinstance(content, dict):
        content = content.get("skeleton")
    bones = as_skeleton(content)
    if not bones:
        raise UsageError("holds no skeleton, a list of pairs of keypoints", path=path, hint=_FORM)
    return bones


def as_skeleton(value: Any) -> Skeleton:
    """A list of pairs as a skeleton; empty where it is none."""
    if not isinstance(value, list):
        return ()
    bones = []
    for bone in value:
        if not isinstance(bone, list) or len(bone) != 2:
            return ()
        a, b = map(str, bone)
        bones.append((a, b))
    return tuple(bones)
