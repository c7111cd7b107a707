"""Metrics of a table of predictions that need no ground truth.

After inference (or smoothing), in memory: the temporal norm, and the PCA errors where the model's
config asks for them and its training labels are at hand. A fit of the labels is made once a model
and used for every video. Writing the tables is the caller's.

The numbers are those of `lightning_pose.metrics.compute_metrics_single` and
`lightning_pose.utils.pca.KeypointPCA` (2.4.3), without importing either: the fit sees the same
labelled frames (the training split) in the coordinates of the network's input, while errors are
taken in pixels of the frame. That mixture is upstream's; the numbers are comparable with its own.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raypose.errors import LabelsError
from raypose.predictions import FloatArray, KeypointTable
from raypose.tasks import ModelSpec

TEMPORAL_NORM = "temporal_norm"
PCA_SINGLEVIEW = "pca_singleview_error"
PCA_MULTIVIEW = "pca_multiview_error"

# A point in space has three coordinates, however many cameras see it.
_MULTIVIEW_COMPONENTS = 3
_DATA_DIR_HINT = "Give the directory of the training labels with --data-dir."


@dataclass(frozen=True, eq=False)
class Subspace:
    """An affine subspace that poses lie in, by PCA.

    Attributes:
        mean: shape (n_dims,), float32.
        components: orthonormal rows, shape (n_kept, n_dims), float32.
    """

    mean: FloatArray
    components: FloatArray

    def residuals(self, points: FloatArray) -> FloatArray:
        """Distance of each point to its projection.

        Args:
            points: shape (n, n_dims): x and y of one point after another.

        Returns:
            shape (n, n_dims / 2), in the unit of `points`.
        """
        centred = points - self.mean
        rest = centred - (centred @ self.components.T) @ self.components
        return _norm(rest.reshape(len(rest), -1, 2))


@dataclass(frozen=True, eq=False)
class PcaMetrics:
    """What the PCA errors of a model need, fitted on its training labels.

    Attributes:
        columns: keypoints of the single-view error, in their order in the table.
        singleview: subspace of poses; None where the config asks for none or labels are too few.
        centering: `mean` or `median` where poses are taken relative to their centre, else empty.
        views: for each mirrored view its keypoints, matched by position.
        multiview: subspace of one body part in all views; None where the config asks for none.
    """

    columns: tuple[int, ...] = ()
    singleview: Subspace | None = None
    centering: str = ""
    views: tuple[tuple[int, ...], ...] = ()
    multiview: Subspace | None = None

    @classmethod
    def fit(cls, spec: ModelSpec, data_dir: Path | None = None) -> PcaMetrics:
        """Fits what the model's config asks for on its training labels.

        Args:
            spec: the model.
            data_dir: where the labels are; by default where the config says.

        Raises:
            LabelsError: the labels are missing or can't be used.
        """
        wanted = wanted_metrics(spec)
        data = _section(spec.config, "data")
        columns = tuple(data.get("columns_for_singleview_pca") or ())
        views = tuple(tuple(view) for view in data.get("mirrored_column_matches") or ())
        if PCA_SINGLEVIEW not in wanted and PCA_MULTIVIEW not in wanted:
            return cls()
        labels = _training_labels(spec, data_dir)
        loss = _section(_section(spec.config, "losses"), "pca_singleview")
        singleview = multiview = None
        centering = loss.get("centering_method") or ""
        try:
            if PCA_SINGLEVIEW in wanted:
                poses = _poses(labels, columns, centering)
                # Upstream leaves this metric out where there are fewer labels than coordinates.
                if len(poses) >= poses.shape[1]:
                    singleview = _fit(poses, loss.get("components_to_keep", 0.99))
            if PCA_MULTIVIEW in wanted:
                points = _points_in_views(labels, views)
                if len(points) >= points.shape[1]:
                    multiview = _fit(points, _MULTIVIEW_COMPONENTS)
        except (IndexError, ValueError) as error:
            raise LabelsError(
                f"PCA can't be fitted on the labels: {error}",
                path=spec.config_path,
                hint="Check columns_for_singleview_pca, mirrored_column_matches and "
                "components_to_keep in this config.",
            ) from error
        return cls(columns, singleview, centering, views, multiview)


def wanted_metrics(spec: ModelSpec) -> tuple[str, ...]:
    """Names of the metrics that a model's config asks for on videos.

    PCA errors come from the columns that the config names, whatever losses the model was trained
    with; a multi-view model has none, as upstream.
    """
    data = _section(spec.config, "data")
    names = [TEMPORAL_NORM]
    if len(spec.view_names) < 2:
        if data.get("columns_for_singleview_pca"):
            names.append(PCA_SINGLEVIEW)
        if data.get("mirrored_column_matches"):
            names.append(PCA_MULTIVIEW)
    return tuple(names)


def compute_metrics(
    table: KeypointTable, spec: ModelSpec, pca: PcaMetrics | None
) -> dict[str, FloatArray]:
    """The metrics of a table, by name.

    Args:
        table: predictions of the model, or of an ensemble of such models.
        spec: the model, in whose order the table's keypoints are brought.
        pca: the fit on its labels; None where there are none, and then no PCA errors.

    Returns:
        for each metric an array of shape (n_frames, n_keypoints), in pixels; NaN where a keypoint
        has none.

    Raises:
        TableError: the table lacks keypoints that the fit needs.
    """
    names = spec.keypoint_names
    if pca is None:  # some of the keypoints will do
        names = tuple(name for name in names if name in table.keypoint_names)
    table = table.select(names)
    metrics = {TEMPORAL_NORM: temporal_norm(table)}
    if pca is not None and pca.singleview is not None:
        metrics[PCA_SINGLEVIEW] = _singleview_error(table.xy, pca)
    if pca is not None and pca.multiview is not None:
        metrics[PCA_MULTIVIEW] = _multiview_error(table.xy, pca)
    return metrics


def temporal_norm(table: KeypointTable) -> FloatArray:
    """Distance from each keypoint to where it was a frame before.

    Returns:
        shape (n_frames, n_keypoints), in pixels; NaN in the first frame.
    """
    norm = np.full(table.xy.shape[:2], np.nan, dtype=np.float32)
    norm[1:] = _norm(np.diff(table.xy, axis=0))
    return norm


def _singleview_error(xy: FloatArray, pca: PcaMetrics) -> FloatArray:
    error = np.full(xy.shape[:2], np.nan, dtype=np.float32)
    # Upstream measures a centred reconstruction against positions that are not centred; both
    # sides are centred here, so that the error is the distance to the subspace.
    assert pca.singleview is not None
    error[:, list(pca.columns)] = pca.singleview.residuals(_poses(xy, pca.columns, pca.centering))
    return error


def _multiview_error(xy: FloatArray, pca: PcaMetrics) -> FloatArray:
    error = np.full(xy.shape[:2], np.nan, dtype=np.float32)
    assert pca.multiview is not None
    residuals = pca.multiview.residuals(_points_in_views(xy, pca.views))
    by_frame = residuals.reshape(len(xy), -1, len(pca.views))
    for v, columns in enumerate(pca.views):
        error[:, list(columns)] = by_frame[:, :, v]
    return error


def _norm(vectors: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(np.square(vectors).sum(axis=-1)), dtype=np.float32)


def _poses(xy: FloatArray, columns: Sequence[int], centering: str) -> FloatArray:
    """One row a frame: x and y of the chosen keypoints."""
    chosen = xy[:, list(columns)]
    if centering == "mean":
        chosen = chosen - chosen.mean(axis=1, keepdims=True)
    elif centering == "median":
        chosen = chosen - np.median(chosen, axis=1, keepdims=True)
    elif centering:
        raise ValueError(f"unknown centering_method {centering}")
    return chosen.reshape(len(chosen), -1)


def _points_in_views(xy: FloatArray, views: Sequence[Sequence[int]]) -> FloatArray:
    """One row a frame and body part: its x and y in one view after another."""
    if len({len(view) for view in views}) != 1:
        raise ValueError("mirrored views have different numbers of keypoints")
    stacked = np.stack([xy[:, list(view)] for view in views], axis=2)
    return stacked.reshape(-1, 2 * len(views))


def _fit(points: FloatArray, keep: int | float | None) -> Subspace:
    """PCA of points with gaps: every covariance from the rows that have both coordinates."""
    covariance = _covariance(points.astype(np.float64))
    variances, vectors = np.linalg.eigh(covariance)
    variances = np.clip(variances[::-1], 0.0, None)
    if isinstance(keep, int):
        if keep > len(variances):
            raise ValueError(f"{keep} components of {len(variances)} can't be kept")
        kept = keep
    elif keep is None or keep == 1.0:
        kept = len(variances)
    else:
        explained = np.cumsum(variances / variances.sum())
        kept = min(int(np.searchsorted(explained, keep)) + 1, len(variances))
    mean = np.nanmean(points.astype(np.float64), axis=0)
    components = vectors[:, ::-1].T[:kept]
    return Subspace(np.asarray(mean, np.float32), np.asarray(components, np.float32))


def _covariance(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    known = ~np.isnan(points)
    n_pairs = known.T.astype(np.float64) @ known
    if (n_pairs < 2).any():
        raise ValueError("two keypoints are hardly ever labelled in the same frame")
    centred = np.where(known, points - np.nanmean(points, axis=0), 0.0)
    return np.asarray(centred.T @ centred / (n_pairs - 1))


def labels_path(spec: ModelSpec, data_dir: Path | None = None) -> Path:
    """The file of training labels that the PCA errors are fitted on.

    Raises:
        LabelsError: the config names none, or it is not there.
    """
    data = _section(spec.config, "data")
    file = data.get("csv_file")
    if not isinstance(file, str):
        raise LabelsError("the config names no file of labels", path=spec.config_path)
    path = _data_dir(spec, data_dir) / file
    if not path.is_file():
        raise LabelsError("the training labels are not there", path=path, hint=_DATA_DIR_HINT)
    return path


def _data_dir(spec: ModelSpec, data_dir: Path | None) -> Path:
    return Path(data_dir or _section(spec.config, "data").get("data_dir") or "")


def _training_labels(spec: ModelSpec, data_dir: Path | None) -> FloatArray:
    """Labels of the training split in the network's input, shape (n, n_keypoints, 2), pixels."""
    path = labels_path(spec, data_dir)
    directory = _data_dir(spec, data_dir)
    images, labels = _read_labels(path)
    if labels.shape[1] != len(spec.keypoint_names):
        raise LabelsError(
            f"it labels {labels.shape[1]} keypoints, the model has {len(spec.keypoint_names)}",
            path=path,
            hint=_DATA_DIR_HINT,
        )
    train = training_split(len(images), _section(spec.config, "training"))
    sizes = np.array([_image_size(directory / images[i]) for i in train], dtype=np.float32)
    resized = np.array([spec.image_width, spec.image_height], dtype=np.float32)
    points = np.asarray(labels[train] / sizes[:, None] * resized, dtype=np.float32)
    if "heatmap" in spec.model_type:
        # There is no heatmap of a label outside the image: such models never saw these.
        points[((points < 0) | (points >= resized)).any(axis=2)] = np.nan
    return points


def _read_labels(path: Path) -> tuple[list[str], FloatArray]:
    """Image names, and labels of shape (n, n_keypoints, 2) in pixels of each image."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
        coords = rows[2]
        x_columns = [i for i, coord in enumerate(coords) if coord == "x"]
        columns = [j for i in x_columns for j in (i, i + 1)]
        if not columns or any(coords[i + 1] != "y" for i in x_columns):
            raise LabelsError("no table of labels: its third row is not x, y, …", path=path)
        body = [row for row in rows[3:] if any(row)]
        values = [[float(row[j] or "nan") for j in columns] for row in body]
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise LabelsError(f"the training labels can't be read: {error}", path=path) from error
    array = np.array(values, dtype=np.float32).reshape(len(body), -1, 2)
    return [row[0] for row in body], array


def _image_size(path: Path) -> tuple[int, int]:
    """Width and height from the header of an image file; no pixel is read."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            width, height = image.size
            return width, height
    except (OSError, UnidentifiedImageError) as error:
        raise LabelsError(
            "the size of a labelled image can't be read", path=path, hint=_DATA_DIR_HINT
        ) from error


def training_split(n_labels: int, training: Mapping[str, Any]) -> list[int]:
    """Labelled frames that a model was trained on, as Lightning Pose divides them.

    Args:
        n_labels: number of labelled frames.
        training: the `training` section of the config.

    Raises:
        LabelsError: fewer than two labels.
    """
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
        raise LabelsError(f"{n_labels} labelled frames are too few")
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


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}
