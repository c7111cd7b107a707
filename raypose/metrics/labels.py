"""The training labels of a model, which the PCA errors are fitted on.

They are in the coordinates of the network's input, as in Lightning Pose, which depend on the size
of each image: the headers of the images are read, too. If an image is missing, the other images
of its folder (of one video) give its size, or its label is left out.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raypose.errors import LabelsError
from raypose.limits import MAX_LABEL_PIXELS
from raypose.specs import ModelSpec
from raypose.storage import regular_files
from raypose.tables.keypoints import FloatArray

_READERS = 8  # which wait for the disk
_OTHER_TABLE = "Check this table of labels, or name another with --override data.csv_file=…."


def labels_path(spec: ModelSpec, data_dir: Path | None = None) -> Path:
    """The file of training labels that the PCA errors are fitted on; a LabelsError without one.

    `data_dir` is where the user says that the training data is.
    """
    file = section(spec.config, "data").get("csv_file")
    if not isinstance(file, str):
        raise LabelsError("the config names no file of labels", path=spec.config_path)
    path = _directory(spec, data_dir) / file
    if not path.is_file():
        raise LabelsError("the training labels do not exist", path=path, hint=_hint(data_dir))
    return path


def _directory(spec: ModelSpec, data_dir: Path | None) -> Path:
    return Path(data_dir or section(spec.config, "data").get("data_dir") or "")


def _hint(data_dir: Path | None) -> str:
    if data_dir is None:
        return "Give the directory of the training labels with --data-dir."
    return "Check that this is the directory of the model's training data."


def read_training_labels(
    spec: ModelSpec, data_dir: Path | None
) -> tuple[FloatArray, tuple[str, ...]]:
    """Labels (n, n_keypoints, 2) of the training split, in pixels of the network's input.

    NaN where a keypoint is not labelled. Labels of images that can't be read are left out; their
    names are returned as well.
    """
    path = labels_path(spec, data_dir)
    file = read_label_file(path)
    images, labels = file.images, file.points
    if labels.shape[1] != len(spec.keypoint_names):
        raise LabelsError(
            f"it labels {labels.shape[1]} keypoints, the model has {len(spec.keypoint_names)}",
            path=path,
            hint=_hint(data_dir),
        )
    train = training_split(len(images), section(spec.config, "training"))
    if not train:
        message = f"{len(images)} labelled frames are too few"
        raise LabelsError(message, path=path, hint=_OTHER_TABLE)
    names = [images[i] for i in train]
    sizes = _image_sizes(path, _directory(spec, data_dir), names, data_dir)
    resized = np.array([spec.image_width, spec.image_height], dtype=np.float32)
    points = np.asarray(labels[train] / sizes[:, None] * resized, dtype=np.float32)
    if "heatmap" in spec.model_type:
        # There is no heatmap of a label outside the image: such models never saw these.
        points[((points < 0) | (points >= resized)).any(axis=2)] = np.nan
    known = np.isfinite(sizes[:, 0])
    return points[known], tuple(names[i] for i in np.flatnonzero(~known))


def _image_sizes(
    path: Path, directory: Path, names: Sequence[str], data_dir: Path | None
) -> FloatArray:
    """Width and height of each image, shape (n, 2); NaN where they can't be known."""
    with ThreadPoolExecutor(_READERS, thread_name_prefix="labels") as pool:
        sizes = list(pool.map(_image_size, (directory / name for name in names)))
    if not any(sizes):
        raise LabelsError(
            f"none of its {len(names)} images can be read, and their sizes are needed",
            path=path,
            hint=_hint(data_dir),
        )
    folders: defaultdict[Path, set[tuple[int, int]]] = defaultdict(set)
    for name, size in zip(names, sizes, strict=True):
        folders[Path(name).parent] |= {size} if size else set()
    found = np.full((len(names), 2), np.nan, dtype=np.float32)
    for i, (name, size) in enumerate(zip(names, sizes, strict=True)):
        of_folder = {size} if size else folders[Path(name).parent]
        if len(of_folder) == 1:
            (found[i],) = of_folder
    return found


@dataclass(frozen=True, eq=False)
class LabelFile:
    """What a file of labels holds.

    Attributes:
        images: paths of the images, as written, with slashes: `labeled-data/cam/img00000042.png`.
        keypoint_names: in the order of `points`.
        points: (n, n_keypoints, 2), in pixels of each image; NaN where a keypoint is not labelled.
    """

    images: tuple[str, ...]
    keypoint_names: tuple[str, ...]
    points: FloatArray


def read_label_file(path: Path) -> LabelFile:
    """Read labels of Lightning Pose or DeepLabCut.

    Newer versions of DeepLabCut write an image's folders and name in columns of their own.

    Raises:
        LabelsError: it is no file of labels, or is damaged or empty.
    """
    try:
        text = regular_files.read_file(path).decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline="")))
        if len(rows) < 3:
            raise LabelsError("no table of labels", path=path, hint=_OTHER_TABLE)
        coords = rows[2]
        x_columns = [i for i, coord in enumerate(coords) if coord == "x"]
        columns = [j for i in x_columns for j in (i, i + 1)]
        names = tuple(rows[1][i] for i in x_columns)
        if not columns or any(coords[i + 1] != "y" for i in x_columns):
            raise LabelsError(
                "no table of labels: its third row is not x, y, …", path=path, hint=_OTHER_TABLE
            )
        body = [row for row in rows[3:] if any(row)]
        values = [[float(row[j] or "nan") for j in columns] for row in body]
    except (OSError, ValueError, IndexError, csv.Error) as error:
        reason = (error.strerror or error) if isinstance(error, OSError) else error
        raise LabelsError(
            f"the labels can't be read: {reason}", path=path, hint=_OTHER_TABLE
        ) from error
    if not values:
        raise LabelsError("there is no labelled frame in it", path=path, hint=_OTHER_TABLE)
    array = np.array(values, dtype=np.float64).reshape(len(body), -1, 2)
    if not (np.isnan(array) | (np.abs(array) < MAX_LABEL_PIXELS)).all():
        raise LabelsError("a label in it is no position in an image", path=path, hint=_OTHER_TABLE)
    images = tuple("/".join(row[: x_columns[0]]) for row in body)
    return LabelFile(images, names, np.asarray(array, dtype=np.float32))


def _image_size(path: Path) -> tuple[int, int] | None:
    """Width and height from the header of an image file, of which no pixel is read."""
    from PIL import Image, UnidentifiedImageError

    try:
        regular_files.check(path)  # reading from a pipe would wait for a writer
        with Image.open(path) as image:
            width, height = image.size
            return width, height
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        return None


def training_split(n_labels: int, training: Mapping[str, Any]) -> list[int]:
    """The labelled frames that a model was trained on, as Lightning Pose divides them, if any."""
    train_share = float(training.get("train_prob", 0.8))
    val_share = training.get("val_prob")
    if val_share is None:
        val_share = round((1.0 - train_share) / 2, 5)
    n_train = int(np.floor(train_share * n_labels))
    n_val = int(np.floor(float(val_share) * n_labels))
    rest = n_labels - n_train - n_val
    if rest < 5:
        n_train += rest
    if n_val == 0:
        n_train -= 1
    if n_train < 1:
        return []
    order = torch_permutation(n_labels, int(training.get("rng_seed_data_pt", 42)))
    frames = training.get("train_frames")
    if frames is not None and frames != 1 and frames < n_train:
        n_train = int(frames) if frames > 1 else int(frames * n_train)
    return order[:n_train]


def torch_permutation(n: int, seed: int) -> list[int]:
    """What `torch.randperm` gives on the CPU for this seed, without importing torch.

    Both draw from a 32-bit Mersenne twister; torch then shuffles from the front (Fisher-Yates).
    """
    draws = np.random.RandomState(seed).randint(0, 1 << 32, size=max(n - 1, 0), dtype=np.uint32)
    order = list(range(n))
    for i, draw in enumerate(draws.tolist()):
        j = i + draw % (n - i)
        order[i], order[j] = order[j], order[i]
    return order


def section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A section of a config; empty where there is none."""
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}
