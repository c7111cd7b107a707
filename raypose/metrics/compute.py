"""Metrics of a table of predictions that need no ground truth.

The temporal norm, and the PCA errors where the model's config asks for them and its training
labels are available. The numbers are those of `lightning_pose.metrics.compute_metrics_single` and
`lightning_pose.utils.pca.KeypointPCA` (2.4.3), without importing either: the fit is in the
coordinates of the network's input, while errors are in pixels of the frame, as upstream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from raypose.errors import LabelsError
from raypose.metrics.labels import labels_path, read_training_labels, section
from raypose.specs import ModelSpec
from raypose.storage import digests
from raypose.storage.digests import verified
from raypose.tables.keypoints import FloatArray, KeypointTable

TEMPORAL_NORM = "temporal_norm"
PCA_SINGLEVIEW = "pca_singleview_error"
PCA_MULTIVIEW = "pca_multiview_error"

# A 3-D keypoint has three coordinates, however many cameras see it.
_MULTIVIEW_COMPONENTS = 3


@dataclass(frozen=True, eq=False)
class Subspace:
    """An affine subspace that poses lie in: (n_dims,) mean and orthonormal rows, by PCA."""

    mean: FloatArray
    components: FloatArray

    def residuals(self, points: FloatArray) -> FloatArray:
        """Distance (n, n_dims / 2) of points (n, n_dims) x, y, x, y, … to their projection."""
        centred = points - self.mean
        rest = centred - (centred @ self.components.T) @ self.components
        return _norm(rest.reshape(len(rest), -1, 2))


@dataclass(frozen=True, eq=False)
class PcaMetrics:
    """What the PCA errors of a model need, fitted on its training labels.

    There is no subspace where the config asks for none or labels are too few. `too_few` says which
    metrics are left out for that, in sentences.
    """

    columns: tuple[int, ...] = ()  # keypoints of the single-view error, as in the table
    singleview: Subspace | None = None  # of poses
    centering: str = ""  # `mean` or `median` if poses are relative to their centre
    views: tuple[tuple[int, ...], ...] = ()  # keypoints of each mirrored view, by position
    multiview: Subspace | None = None  # of one body part in all views
    without_image: tuple[str, ...] = ()  # names of images that can't be read: not in the fit
    too_few: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that can be computed, in the order of `wanted_metrics`."""
        subspaces = {PCA_SINGLEVIEW: self.singleview, PCA_MULTIVIEW: self.multiview}
        return (TEMPORAL_NORM, *(name for name, found in subspaces.items() if found is not None))

    @classmethod
    def fit(cls, spec: ModelSpec, data_dir: Path | None = None) -> PcaMetrics:
        """Fits what the config asks for on the labels, by default those that it names."""
        wanted = wanted_metrics(spec)
        data = section(spec.config, "data")
        columns = tuple(data.get("columns_for_singleview_pca") or ())
        views = tuple(tuple(view) for view in data.get("mirrored_column_matches") or ())
        if wanted == (TEMPORAL_NORM,):
            return cls()
        labels, without_image = read_training_labels(spec, data_dir)
        loss = section(section(spec.config, "losses"), "pca_singleview")
        singleview = multiview = None
        too_few = []
        centering = loss.get("centering_method") or ""
        try:
            if PCA_SINGLEVIEW in wanted:
                poses = _poses(labels, columns, centering)
                # Upstream leaves this metric out where there are fewer labels than coordinates.
                if len(poses) >= poses.shape[1]:
                    singleview = _fit(poses, loss.get("components_to_keep", 0.99))
                else:
                    too_few.append(_lacking(PCA_SINGLEVIEW, "labelled frames", poses))
            if PCA_MULTIVIEW in wanted:
                points = _points_in_views(labels, views)
                if len(points) >= points.shape[1]:
                    multiview = _fit(points, _MULTIVIEW_COMPONENTS)
                else:
                    too_few.append(_lacking(PCA_MULTIVIEW, "labelled keypoints", points))
        except (IndexError, ValueError) as error:
            raise LabelsError(
                f"PCA can't be fitted on the labels: {error}",
                path=spec.config_path,
                hint="Check columns_for_singleview_pca, mirrored_column_matches and "
                "components_to_keep in this config.",
            ) from error
        return cls(columns, singleview, centering, views, multiview, without_image, tuple(too_few))

    def errors(self, xy: FloatArray) -> dict[str, FloatArray]:
        """The PCA errors of keypoints (n_frames, n_keypoints, 2), by name."""
        errors = {}
        unknown = np.full(xy.shape[:2], np.nan, dtype=np.float32)
        if self.singleview is not None:
            # Upstream compares a centred reconstruction with positions that are not centred; here
            # both are centred, so that the error is the distance to the subspace.
            residuals = self.singleview.residuals(_poses(xy, self.columns, self.centering))
            errors[PCA_SINGLEVIEW] = unknown.copy()
            errors[PCA_SINGLEVIEW][:, list(self.columns)] = residuals
        if self.multiview is not None:
            residuals = self.multiview.residuals(_points_in_views(xy, self.views))
            by_frame = residuals.reshape(len(xy), -1, len(self.views))
            errors[PCA_MULTIVIEW] = unknown
            for v, columns in enumerate(self.views):
                errors[PCA_MULTIVIEW][:, list(columns)] = by_frame[:, :, v]
        return errors


def fit_and_digest(spec: ModelSpec, data_dir: Path | None = None) -> tuple[PcaMetrics, str]:
    """The PCA of a model, and a digest of what it was fitted on, for records."""
    path = labels_path(spec, data_dir)
    digest = digests.digest_of_file(path)
    with verified(path, digest, "the file of training labels"):
        fit = PcaMetrics.fit(spec, data_dir)
    if fit.without_image:
        digest = digests.digest_of_json({"labels": digest, "without": list(fit.without_image)})
    return fit, digest


def wanted_metrics(spec: ModelSpec) -> tuple[str, ...]:
    """Names of the metrics that a model's config asks for on videos.

    PCA errors come from the columns that the config names, whatever losses the model was trained
    with; a multi-view model has none, as upstream.
    """
    data = section(spec.config, "data")
    names = [TEMPORAL_NORM]
    if len(spec.view_names) < 2:
        if data.get("columns_for_singleview_pca"):
            names.append(PCA_SINGLEVIEW)
        if data.get("mirrored_column_matches"):
            names.append(PCA_MULTIVIEW)
    return tuple(names)


def keypoints_of(table: KeypointTable, spec: ModelSpec) -> KeypointTable:
    """The keypoints of a table that the model has, in the model's order."""
    return table.select([name for name in spec.keypoint_names if name in table.keypoint_names])


def compute_metrics(
    table: KeypointTable, spec: ModelSpec, pca: PcaMetrics | None
) -> dict[str, FloatArray]:
    """The metrics of predictions of a model, or of an ensemble of such models, by name.

    Without `pca`, the fit on the model's labels, there are no PCA errors; with it, a table that
    lacks keypoints is a TableError. Metrics have the shape (n_frames, n_keypoints), in
    pixels, of the keypoints of `keypoints_of`; NaN where a keypoint has no value, and in frames
    that are not ok.
    """
    # Without PCA some of the keypoints will do.
    table = table.select(spec.keypoint_names) if pca else keypoints_of(table, spec)
    metrics = {TEMPORAL_NORM: temporal_norm(table)} | (pca.errors(table.xy) if pca else {})
    damaged = ~table.is_ok
    if damaged.any():
        for values in metrics.values():
            values[damaged] = np.nan
    return metrics


def temporal_norm(table: KeypointTable) -> FloatArray:
    """Distance of each keypoint from the frame before, in pixels.

    NaN in the first frame, and in one after a frame that is damaged.
    """
    norm = np.full(table.xy.shape[:2], np.nan, dtype=np.float32)
    norm[1:] = _norm(np.diff(table.xy, axis=0))
    norm[1:][~table.is_ok[:-1]] = np.nan
    return norm


def _norm(vectors: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(np.square(vectors).sum(axis=-1)), dtype=np.float32)


def _lacking(metric: str, what: str, points: FloatArray) -> str:
    n, needed = points.shape
    return f"{metric} is left out: its fit needs {needed} {what}, and there are {n}"


def _poses(xy: FloatArray, columns: Sequence[int], centering: str) -> FloatArray:
    """One row per frame: x and y of the chosen keypoints."""
    chosen = xy[:, list(columns)]
    if centering == "mean":
        chosen = chosen - chosen.mean(axis=1, keepdims=True)
    elif centering == "median":
        chosen = chosen - np.median(chosen, axis=1, keepdims=True)
    elif centering:
        raise ValueError(f"unknown centering_method {centering}")
    return chosen.reshape(len(chosen), -1)


def _points_in_views(xy: FloatArray, views: Sequence[Sequence[int]]) -> FloatArray:
    """One row per frame and body part: its x and y in one view after another."""
    if len({len(view) for view in views}) != 1:
        raise ValueError("mirrored views have different numbers of keypoints")
    stacked = np.stack([xy[:, list(view)] for view in views], axis=2)
    return stacked.reshape(-1, 2 * len(views))


def _fit(points: npt.NDArray[np.floating], keep: int | float | None) -> Subspace:
    """PCA of points with gaps: every covariance from the rows that have both coordinates."""
    points = points.astype(np.float64)
    mean = np.nanmean(points, axis=0)
    known = ~np.isnan(points)
    n_pairs = known.T.astype(np.float64) @ known
    if (n_pairs < 2).any():
        raise ValueError("two keypoints are hardly ever labelled in the same frame")
    centred = np.where(known, points - mean, 0.0)
    variances, vectors = np.linalg.eigh(np.asarray(centred.T @ centred / (n_pairs - 1)))
    variances = np.clip(variances[::-1], 0.0, None)
    if isinstance(keep, int):
        if keep > len(variances):
            raise ValueError(f"{keep} components of {len(variances)} can't be kept")
        kept = keep
    elif keep is None or keep == 1.0:
        kept = len(variances)
    elif not variances.sum() > 0:
        raise ValueError("the labels are the same in every frame")
    else:
        explained = np.cumsum(variances / variances.sum())
        kept = min(int(np.searchsorted(explained, keep)) + 1, len(variances))
    components = vectors[:, ::-1].T[:kept]
    return Subspace(np.asarray(mean, np.float32), np.asarray(components, np.float32))
