"""Keypoints in the JSON of COCO: an image for every frame, an annotation for those with any.

A keypoint is `[x, y, v]`: v is 2 where there is a position, however low its likelihood, and 0,
with x and y 0 as COCO defines it, where there is none. Likelihoods are in `keypoint_scores`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from raypose._version import __version__
from raypose.tables.formats.base import Description, Format, has_position
from raypose.tables.keypoints import KeypointTable
from raypose.text import json_text

_DECIMALS = 4  # of pixels and likelihoods; float32 has no more of pixels in the hundreds
_BLOCK = 1 << 12  # frames at a time
_PRESENT = 2


def write(table: KeypointTable, path: Path, description: Description) -> None:
    head = {
        "info": {
            "description": f"Predictions of {description.owner} for the video {description.key}",
            "contributor": f"raypose {__version__}",
            "video": description.video,
        },
        "categories": [_category(table, description)],
    }
    with path.open("w", encoding="utf-8") as file:
        file.write(json_text(head)[:-1])
        _write_list(file, "images", _images(table, description))
        _write_list(file, "annotations", _annotations(table))
        file.write("}\n")


def _write_list(file: IO[str], name: str, items: Iterable[Any]) -> None:
    """One item per line: the list of a long video is never whole in memory."""
    file.write(f',\n"{name}": [')
    separator = "\n"
    for item in items:
        file.write(separator + json_text(item))
        separator = ",\n"
    file.write("\n]")


def _category(table: KeypointTable, description: Description) -> dict[str, Any]:
    names = list(table.keypoint_names)
    # COCO counts keypoints from 1 here.
    bones = [[names.index(name) + 1 for name in bone] for bone in description.skeleton]
    return {"id": 1, "name": "animal", "keypoints": names, "skeleton": bones}


def _images(table: KeypointTable, description: Description) -> Iterator[dict[str, Any]]:
    """Images need a name; that of a frame is the one that `raypose suggest` would give it."""
    width_height = () if description.size is None else description.size
    size = dict(zip(("width", "height"), width_height, strict=False))
    folder = description.key.replace("/", "_")
    for frame in range(table.n_frames):
        name = f"labeled-data/{folder}/img{frame:08d}.png"
        yield {"id": frame, "file_name": name, "frame": frame, **size}


def _annotations(table: KeypointTable) -> Iterator[dict[str, Any]]:
    for start in range(0, table.n_frames, _BLOCK):
        values = table.values[start : start + _BLOCK, :, :3].astype(np.float64)
        yield from _annotations_of(values, start)


def _annotations_of(values: NDArray[np.float64], start: int) -> Iterator[dict[str, Any]]:
    """Annotations of consecutive frames, (n_frames, n_keypoints, 3), the first of them `start`."""
    is_present = has_position(values[..., :2])
    xy = np.where(is_present[..., None], values[..., :2], 0).round(_DECIMALS)
    likelihood = np.where(is_present, np.nan_to_num(values[..., 2]), 0).round(_DECIMALS)
    low = np.where(is_present[..., None], xy, np.inf).min(axis=1)
    high = np.where(is_present[..., None], xy, -np.inf).max(axis=1)
    n_present = is_present.sum(axis=1)
    for i in np.flatnonzero(n_present).tolist():
        width, height = (high[i] - low[i]).round(_DECIMALS).tolist()
        yield {
            "id": start + i + 1,  # an annotation 0 is none to pycocotools, which scores it so
            "image_id": start + i,
            "category_id": 1,
            "keypoints": [
                number
                for (x, y), present in zip(xy[i].tolist(), is_present[i].tolist(), strict=True)
                for number in (x, y, _PRESENT if present else 0)
            ],
            "num_keypoints": int(n_present[i]),
            "keypoint_scores": likelihood[i].tolist(),
            "score": round(float(likelihood[i].sum() / n_present[i]), _DECIMALS),
            "bbox": [*low[i].tolist(), width, height],
            "area": round(width * height, _DECIMALS),
            "iscrowd": 0,
        }


FORMAT = Format(name="coco", suffix=".coco.json", writer=write, uses_video=True, has_skeleton=True)
