"""How bad each frame of a table looks, and which moments are the worst.

Nothing here knows the truth: a frame looks bad where the members of an ensemble disagree, where
keypoints jump (temporal norm), where the pose is unlike the training labels (PCA errors), and
where likelihoods are low. Each of these becomes a number from 0 to 1, and a frame's score is their
mean. Scores of different videos can be compared: distances are measured by the size of the animal.
Pure functions; `steps.worst` cuts clips, and `raypose suggest` picks frames to label, by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from raypose.tables.keypoints import FloatArray, KeypointTable

Float = TypeVar("Float", bound=np.floating[Any])

DISAGREEMENT = "disagreement"
LOW_LIKELIHOOD = "low_likelihood"

_HALF = 0.25
"""The distance that makes 0.5, in sizes of the animal; about a tenth of a mouse's length."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameScores:
    """How bad each frame looks, from 0 (good) to 1.

    Attributes:
        total: mean of the parts, (n_frames,); NaN in frames that are not ok.
        parts: what it is made of: `disagreement`, `low_likelihood`, and each metric by its name;
            (n_frames,) each. NaN where there is no value, as for the first frame's temporal norm.
        usual: median of each part over all frames.
    """

    total: FloatArray
    parts: Mapping[str, FloatArray]
    usual: Mapping[str, float]

    def main_part(self, frame: int) -> str:
        """The part that is highest above what is usual; empty where none is above it."""
        above = {name: part[frame] - self.usual[name] for name, part in self.parts.items()}
        known = {name: value for name, value in above.items() if value > 0}
        return max(known, key=lambda name: known[name]) if known else ""


def score_frames(
    table: KeypointTable,
    metrics: Mapping[str, npt.NDArray[np.floating]],
    threshold: float,
    *,
    size_px: float | None = None,
) -> FrameScores:
    """Score the frames of a table.

    Args:
        table: predictions of a model; for the members' disagreement, a smoothed ensemble's.
        metrics: name → values in pixels, (n_frames, n_keypoints), in the table's order of
            keypoints; NaN where there is no value.
        threshold: likelihood from which a keypoint counts as confident.
        size_px: size of the animal in pixels; by default as `animal_size` measures it.

    Raises:
        ValueError: the shape of a metric is not that of the table.
    """
    shape = table.likelihood.shape
    if misfits := [name for name, values in metrics.items() if values.shape != shape]:
        raise ValueError(f"{misfits[0]} is not of shape {shape}, as the table")
    half_px = _HALF * (animal_size(table, threshold) if size_px is None else size_px)
    parts = {LOW_LIKELIHOOD: means_of_rows(_unlikely(table.likelihood, threshold))}
    if (variance := table.ensemble_variance) is not None:
        parts[DISAGREEMENT] = means_of_rows(_far(np.sqrt(variance), half_px))
    for name, values in metrics.items():
        parts[name] = means_of_rows(_far(values, half_px))
    for part in parts.values():
        part[~table.is_ok] = np.nan
    usual = {name: _median(part) for name, part in parts.items()}
    return FrameScores(means_of_rows(np.stack(list(parts.values()), axis=1)), parts, usual)


def animal_size(table: KeypointTable, threshold: float) -> float:
    """Typical distance of a keypoint from the middle of the pose, in pixels; above 0.

    Taken of confident keypoints in frames that are ok. For a single keypoint it is the typical
    distance from its usual place.
    """
    known = np.isfinite(table.xy).all(axis=-1) & table.is_ok[:, None]
    confident = known & (table.likelihood >= threshold)
    known = confident if confident.any() else known
    if not known.any():
        return 1.0
    xy = np.where(known[..., None], table.xy, 0.0)
    several = known.sum(axis=1) > 1
    if several.any():
        weights = known[several][..., None]
        n = weights.sum(axis=1)
        middles = xy[several].sum(axis=1) / n
        squares = np.where(weights, np.square(xy[several] - middles[:, None]), 0.0)
        size = float(np.median(np.sqrt(squares.sum(axis=(1, 2)) / n[:, 0])))
    else:
        places = table.xy[known]
        size = float(np.median(np.linalg.norm(places - np.median(places, axis=0), axis=1)))
    return size if size > 0 else 1.0


def worst_moments(
    score: npt.NDArray[np.floating], n: int, min_distance: int
) -> npt.NDArray[np.int64]:
    """The frames with the highest scores that are not close to each other.

    Args:
        score: (n_frames,); frames with NaN or 0 are left out.
        n: how many to find at most.
        min_distance: frames between two of them at least.

    Returns:
        Frame numbers, the worst first; of equal scores, the earlier frame.
    """
    open_for_choice = score > 0  # NaN compares as False
    order = np.argsort(-np.where(open_for_choice, score, 0), kind="stable")
    chosen: list[int] = []
    for frame in order[: np.count_nonzero(open_for_choice)]:
        if len(chosen) == n:
            break
        if open_for_choice[frame]:
            chosen.append(int(frame))
            open_for_choice[max(0, frame - min_distance + 1) : frame + min_distance] = False
    return np.array(chosen, np.int64)


def _far(distance: npt.NDArray[np.floating], half: float) -> FloatArray:
    """From 0 for no distance to 1 for an infinite one; 0.5 at `half`.

    Without a bound, a single keypoint far away would outweigh a pose that is wrong altogether.
    """
    return np.asarray(1 - half / (distance + half), np.float32)


def _unlikely(likelihood: FloatArray, threshold: float) -> FloatArray:
    """From 0 at the threshold and above to 1 for a likelihood of 0 or none at all."""
    if threshold <= 0:
        return np.isnan(likelihood).astype(np.float32)
    known = np.nan_to_num(likelihood, nan=0.0)
    return np.asarray(np.clip(1 - known / np.float32(threshold), 0, 1), np.float32)


def _median(part: FloatArray) -> float:
    known = part[np.isfinite(part)]
    return float(np.median(known)) if known.size else 0.0


def means_of_rows(values: npt.NDArray[Float]) -> npt.NDArray[Float]:
    """Mean of each row's numbers, (n_rows,); NaN where a row has none."""
    known = np.isfinite(values)
    n = known.sum(axis=1)
    total = np.where(known, values, 0).sum(axis=1)
    return np.asarray(np.where(n > 0, total / np.maximum(n, 1), np.nan), values.dtype)
